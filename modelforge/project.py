"""A project: its root, its folders, its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.errors import ProfileProblem
from modelforge.paths import UnfitPath, inside
from modelforge.project_settings import Settings, Value, settings_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelforge.profile.document import Document

__all__ = ["FILE", "Project", "Settings", "find_project"]

FILE = "modelforge.toml"
PROFILES = "profiles"


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """A project's root and folders, absolute; whether the folders exist is another matter."""

    root: Path
    profiles: Path
    templates: Path
    hardware: Path
    settings: Settings


def find_project(
    start: Path, *, environment: Mapping[str, str], flags: Mapping[str, object] | None = None
) -> Project:
    """The project that `start` lies in: the nearest folder upward with modelforge.toml, else with profiles/.

    Args:
        start: an absolute folder; it is the root where nothing upward is one.
        environment: variables as the process has them.
        flags: settings that the command line gave, by their dotted names; they win.

    Raises:
        ProfileProblem: everything that is wrong with modelforge.toml.
        UsageProblem: an environment variable that does not say something valid.
    """
    root = _root(start)
    given: dict[str, Value] = {}
    if _is(root / FILE, Path.is_file):
        from modelforge.project_file import read_project_file  # noqa: PLC0415 (slow to import: the schema)

        document, given = read_project_file(root / FILE, root=root)
        folders = {key: _folder(root, key, given, document) for key in _FOLDERS}
    else:
        folders = {key: root / key for key in _FOLDERS}
    set_here = {key: value for key, value in given.items() if key not in _FOLDERS}
    settings = settings_from(set_here, environment, root=root, start=start, flags=flags)
    return Project(root=root, settings=settings, **folders)


_FOLDERS = (PROFILES, "templates", "hardware")


def _root(start: Path) -> Path:
    upward = (start, *start.parents)
    by_file = (folder for folder in upward if _is(folder / FILE, Path.is_file))
    by_folder = (folder for folder in upward if _is(folder / PROFILES, Path.is_dir))
    return next(by_file, None) or next(by_folder, None) or start


def _is(path: Path, kind: Callable[[Path], bool]) -> bool:
    try:
        return kind(path)
    except OSError:  # a folder above that may not be looked into
        return False


def _folder(root: Path, key: str, given: Mapping[str, Value], document: Document) -> Path:
    if key not in given:
        return root / key
    try:
        return inside(root, given[key].value)
    except UnfitPath as error:
        expected = error.reason.removeprefix("expected ")
        problem = document.problem(
            (key,),
            f"'{key}' is \"{given[key].value}\", {error.reason}",
            kind="path",
            expected=expected,
            hint=error.hint,
        )
        raise ProfileProblem(problems=[problem]) from None
