"""A TOML file as it was read: its data, its text, and the place of anything in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import tomli

from modelforge.errors import Problem, ProfileProblem
from modelforge.paths import UnfitPath, file_inside
from modelforge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelforge.profile.positions import KeyPath, Position

MOST_BYTES = 16 * MIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A valid TOML file. `file` is its path as people read it; paths inside it are relative to `root`.

    `text` has no byte order mark. A parser of TOML makes CRLF inside a multi-line string LF, so that a
    checkout with other line ends still is the same profile.
    """

    file: str
    root: Path
    text: str
    data: Mapping[str, Any]

    def place(self, path: KeyPath) -> Position:
        """Where the key stands, or the nearest table around it; the file's start if there is none."""
        from modelforge.profile.positions import TOP, positions  # noqa: PLC0415 (only where something is wrong)

        found = positions(self.text)
        while path and path not in found:
            path = path[:-1]
        return found.get(path, TOP)

    def problem(  # the fields of a Problem, its place apart
        self,
        path: KeyPath,
        message: str,
        *,
        kind: str,
        on: Literal["key", "value"] = "value",
        expected: str | None = None,
        hint: str | None = None,
    ) -> Problem:
        """What is wrong with a key or its value, with the line that it stands in."""
        from modelforge.profile.positions import TOP  # noqa: PLC0415 (only where something is wrong)

        place = self.place(path)
        line, column, width = (
            (place.line, place.column, place.width)
            if on == "key"
            else (place.value_line, place.value_column, place.value_width)
        )
        return Problem(
            message=message,
            kind=kind,
            file=self.file,
            line=line,
            column=column,
            expected=expected,
            hint=hint,
            source=None if place is TOP else source_line(self.text, line),
            width=width,
        )


def source_line(text: str, line: int) -> str:
    """The text of a line, counted from 1, without its end."""
    return text.split("\n")[line - 1].rstrip("\r")


def read_document(path: Path, *, file: str, root: Path) -> Document:
    """Reads a TOML file; a byte order mark at its start is left out.

    Raises:
        ProfileProblem: it cannot be read, is no UTF-8 or no TOML.
    """
    raw = _read(path, file, root)
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ProfileProblem(problems=[not_utf8(file, error)]) from None
    return Document(file=file, root=root, text=text, data=_parsed(text, file))


def _read(path: Path, file: str, root: Path) -> bytes:
    try:
        return _real(path, root).read_bytes()
    except UnfitPath as error:
        reason = error.reason.removeprefix("which ")
        said = reason if reason != error.reason else f"is a link that cannot be followed: {reason}"
        problem = Problem(
            message=f"this file {said}", kind="path", file=file, line=1, column=1, hint=error.hint
        )
    except OSError as error:
        message = f"this file cannot be read: {error.strerror}"
        problem = Problem(message=message, kind="path", file=file, line=1, column=1)
    raise ProfileProblem(problems=[problem])


def _real(path: Path, root: Path) -> Path:
    """The file, which may be a link inside its own folder or inside `root`."""
    try:
        return file_inside(path.parent, path.name, most=MOST_BYTES)
    except UnfitPath:
        if not path.is_relative_to(root):
            raise
        return file_inside(root, path.relative_to(root).as_posix(), most=MOST_BYTES)


def _parsed(text: str, file: str) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        problem = _not_toml(error, text, file)
    except RecursionError:
        problem = Problem(
            message="lists or tables are nested too deep", kind="toml", file=file, line=1, column=1
        )
    raise ProfileProblem(problems=[problem])


def _not_toml(error: tomli.TOMLDecodeError, text: str, file: str) -> Problem:
    from modelforge.profile.positions import unclosed  # noqa: PLC0415 (only where something is wrong)

    line, column = error.lineno, error.colno
    message = f"this is not TOML: {error.msg[:1].lower()}{error.msg[1:]}"
    start = unclosed(text) if error.pos >= len(error.doc.rstrip()) else None
    if start is not None:
        line, column = start
        message = "this is not TOML: what begins here is not closed before the file ends"
    source = source_line(text, line)
    return Problem(message=message, kind="toml", file=file, line=line, column=column, source=source)


_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def not_utf8(file: str, error: UnicodeDecodeError) -> Problem:
    """The problem of a file whose bytes are not UTF-8, at the first byte that is not."""
    raw = bytes(error.object)
    before = raw[: error.start].decode("utf-8").removeprefix("\ufeff")
    line = before.count("\n") + 1
    shown = raw.split(b"\n")[line - 1].decode("utf-8", errors="replace").removeprefix("\ufeff")
    return Problem(
        message=f"not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start}",
        kind="encoding",
        file=file,
        line=line,
        column=len(before.rpartition("\n")[2]) + 1,
        expected="UTF-8 text",
        hint="it is UTF-16: save the file as UTF-8" if raw[:2] in _UTF16 else "save the file as UTF-8",
        source=shown.rstrip("\r"),
    )
