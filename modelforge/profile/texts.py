"""The files that a profile names: prompts and licences, read byte for byte, and adapters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelforge.errors import Problem
from modelforge.paths import UnfitPath, file_inside
from modelforge.profile.document import MOST_BYTES, not_utf8
from modelforge.profile.words import name_text, value_text

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.profile.merge import Merged
    from modelforge.profile.positions import KeyPath

GO_TEMPLATE = "chat_template_file"
TEXT_KEYS = ("system_file", "license_file", GO_TEMPLATE)


@dataclass(kw_only=True, slots=True)
class Files:
    """What a profile's files hold; what is wrong with them is collected in `problems`.

    `texts` has the text for each key that names a file, exactly as it is there: no line end changed, nothing
    stripped, a byte order mark kept.
    """

    texts: dict[str, str] = field(default_factory=dict)
    adapters: tuple[Path, ...] = ()
    problems: list[Problem] = field(default_factory=list)


def read_files(merged: Merged) -> Files:
    """Reads the files that the data names. Wrong types are left to the schema."""
    files = Files()
    for key in TEXT_KEYS:
        text = _text(merged, key, files.problems)
        if text is not None:
            files.texts[key] = text
            files.problems += _go_problems(str(merged.data[key]), text) if key == GO_TEMPLATE else ()
    listed = merged.data.get("adapters")
    entries = listed if isinstance(listed, list) else []
    paths = [_file(merged, ("adapters", index), entry, files.problems) for index, entry in enumerate(entries)]
    files.adapters = tuple(path for path in paths if path is not None)
    return files


def _text(merged: Merged, key: str, problems: list[Problem]) -> str | None:
    name = merged.data.get(key)
    path = _file(merged, (key,), name, problems, most=MOST_BYTES)
    if path is None:
        return None
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        problems.append(not_utf8(str(name), error))
    except OSError as error:
        problems.append(_problem(merged, (key,), name, f"which cannot be read: {error.strerror}", None))
    return None


def _go_problems(name: str, text: str) -> tuple[Problem, ...]:
    """What keeps every server from taking a chat template."""
    from modelforge.gotemplate import GoTemplateProblem, parse  # noqa: PLC0415 (few profiles have one)

    try:
        parse(text)
    except GoTemplateProblem as problem:
        line = text.split("\n")[problem.line - 1]
        return (
            Problem(
                message=f"no chat template in Go's language: {problem}",
                kind="template",
                file=name,
                line=problem.line,
                column=problem.column,
                source=line,
            ),
        )
    return ()


def _file(
    merged: Merged, path: KeyPath, name: object, problems: list[Problem], *, most: int | None = None
) -> Path | None:
    if not isinstance(name, str) or not name:
        return None
    document, _ = merged.locate(path)
    try:
        return file_inside(document.root, name, most=most)
    except UnfitPath as error:
        problems.append(_problem(merged, path, name, error.reason, error.hint))
        return None


def _problem(merged: Merged, path: KeyPath, name: object, reason: str, hint: str | None) -> Problem:
    document, place = merged.locate(path)
    expected = reason.rpartition("expected ")[2] if "expected " in reason else "a file in the project"
    return document.problem(
        place,
        f"{name_text(place)} is {value_text(name)}, {reason}",
        kind="path",
        expected=expected,
        hint=hint,
    )
