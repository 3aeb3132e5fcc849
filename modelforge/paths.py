"""Paths that a project's files name: relative to the project's root, and never out of it."""

from __future__ import annotations

import posixpath
import stat
from typing import TYPE_CHECKING

from modelforge.errors import nearest
from modelforge.units import size_text

if TYPE_CHECKING:
    from pathlib import Path

_MOST_NEIGHBOURS = 1000


class UnfitPath(ValueError):
    """A path that will not do: why, as the end of a sentence about it, and what to do."""

    def __init__(self, reason: str, *, hint: str | None = None) -> None:
        self.reason = reason
        self.hint = hint
        super().__init__(reason)


def leaves_root(text: str) -> str | None:
    """Why the path, as it is written, does not stay inside the project; None if it does."""
    if text.startswith(("/", "\\", "~")) or text[1:3] in (":\\", ":/"):
        return "expected a path relative to the project's root"
    if posixpath.normpath(text).split("/")[0] == "..":
        return "expected a path inside the project"
    return None


def inside(root: Path, text: str) -> Path:
    """The absolute path that `text` means, whether something is there or not.

    Raises:
        UnfitPath: it is absolute, or leads out of `root`, through links as well.
    """
    reason = leaves_root(text)
    if reason is not None:
        raise UnfitPath(reason)
    path = root / text
    try:
        stays = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL
        raise UnfitPath("which cannot be followed to a file") from None
    if not stays:
        raise UnfitPath("expected a path inside the project", hint="a link on the way leads out of it")
    return path


def file_inside(root: Path, text: str, *, most: int | None = None) -> Path:
    """The file that `text` means; `most` is the most bytes that it may have.

    Raises:
        UnfitPath: it leads out of `root`, is not there, is no file or is too large.
    """
    path = inside(root, text)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        near = _neighbour(root, text)
        raise UnfitPath("which is not there", hint=f"did you mean '{near}'?" if near else None) from None
    except OSError as error:
        raise UnfitPath(f"which cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise UnfitPath("which is a folder, expected a file")
    if not stat.S_ISREG(status.st_mode):
        raise UnfitPath("which is no regular file")
    if most is not None and status.st_size > most:
        raise UnfitPath(
            f"which has {size_text(status.st_size)}, more than the {size_text(most)} that are allowed"
        )
    return path


def _neighbour(root: Path, text: str) -> str | None:
    """What is really there and has nearly the same path."""
    folder = root / posixpath.dirname(text)
    while folder != root and not folder.is_dir():
        folder = folder.parent
    try:
        near = [entry for entry, _ in zip(folder.iterdir(), range(_MOST_NEIGHBOURS), strict=False)]
    except OSError:
        return None
    found = {
        path.relative_to(root).as_posix()
        for entry in near
        if not entry.name.startswith(".")
        for path in ([entry] if entry.is_file() else _files_in(entry))
    }
    return nearest(posixpath.normpath(text), sorted(found))


def _files_in(folder: Path) -> list[Path]:
    try:
        return [
            path for path, _ in zip(folder.iterdir(), range(_MOST_NEIGHBOURS), strict=False) if path.is_file()
        ]
    except OSError:
        return []
