"""Which profiles there are, by name, and where their files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge import resources
from modelforge.errors import UsageProblem, did_you_mean

if TYPE_CHECKING:
    from modelforge.project import Project

FRAGMENT = "_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A profile's file. `file` is its path as people read it, `root` what paths inside it are relative to."""

    path: Path
    file: str
    root: Path


def profile_names(project: Project) -> tuple[str, ...]:
    """The project's own profiles, in alphabetical order; fragments (`_name.toml`) are none."""
    return tuple(name for name in _stems(project.profiles) if not name.startswith(FRAGMENT))


def shipped_names() -> tuple[str, ...]:
    """The profiles that come with modelforge, in alphabetical order."""
    return tuple(name for name in _stems(resources.profiles()) if not name.startswith(FRAGMENT))


def known_names(project: Project) -> tuple[str, ...]:
    """Everything that `extends` may name: own and shipped profiles, and fragments."""
    return tuple(sorted({*_stems(project.profiles), *_stems(resources.profiles())}))


def find(project: Project, name: str, *, shipped_only: bool = False) -> Source | None:
    """The file of a profile or fragment: the project's own, else the shipped one; None if there is none."""
    if not shipped_only and name in _stems(project.profiles):
        path = project.profiles / f"{name}.toml"
        return Source(path=path, file=_shown(path, project.root), root=project.root)
    if name in _stems(resources.profiles()):
        path = resources.profiles() / f"{name}.toml"
        return Source(path=path, file=_shown(path, project.root), root=resources.profiles().parent)
    return None


def require(project: Project, name: str) -> Source:
    """The file of a profile that somebody asked for.

    Raises:
        UsageProblem: there is none of that name, or it is a fragment.
    """
    if name.startswith(FRAGMENT):
        raise UsageProblem(f"'{name}' is a fragment for 'extends', not a profile to build")
    found = find(project, name)
    if found is not None:
        return found
    names = {*profile_names(project), *shipped_names()}
    near = did_you_mean(name, names) or did_you_mean(Path(name).stem, names)
    there_are = f"profiles: {', '.join(sorted(names))}" if names else f"there are none in {project.profiles}"
    hint = f"{near} (modelforge list shows all)" if near else f"{there_are} (modelforge list)"
    raise UsageProblem(f"there is no profile '{name}'", hint=hint)


def _stems(folder: Path) -> tuple[str, ...]:
    """Names of the TOML files in a folder, as they are really spelled: some file systems ignore case."""
    try:
        files = [entry for entry in folder.iterdir() if entry.suffix == ".toml"]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise UsageProblem(
            f"the profiles in {folder} cannot be read ({error.strerror})", hint="check its permissions"
        ) from error
    return tuple(sorted(file.stem for file in files if not file.name.startswith(".")))


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
