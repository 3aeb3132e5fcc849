"""A place in a GGUF file that is read from front to back, and what is believed of the lengths that it announces."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelforge.units import MIB, size_text

if TYPE_CHECKING:
    import mmap

U64 = struct.Struct("<Q")
ELEMENT = 32
"""Bytes that an array's element costs in memory, about."""
NOT_WHOLE = "the download or copy is not whole: do it again"

_DAMAGED = "the file is damaged: download or copy it again"
_MAX_TEXT = 16 * MIB
"""Texts are chat templates at the most; Ollama 0.32 takes no longer ones."""
_MAX_KEPT = 64 * MIB


class NeedMore(Exception):
    """The header goes on behind the bytes that are there; at least the file's first `end` bytes are needed."""

    def __init__(self, end: int) -> None:
        self.end = end
        super().__init__(end)


class Malformed(Exception):
    """What is wrong with the file, and what to do."""

    def __init__(self, message: str, hint: str = _DAMAGED) -> None:
        self.hint = hint
        super().__init__(message)


@dataclass(slots=True)
class Cursor:
    """A place in the file. `size` is the whole file's, `kept` and `walked` count towards the limits.

    `keys` are the metadata keys that were passed, each with where it begins and where its value ends, in bytes.
    """

    data: bytes | mmap.mmap
    size: int
    at: int = 0
    kept: int = 0
    walked: int = 0
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    def skip(self, count: int) -> int:
        """Moves on by `count` bytes, which need not be there yet but must be in the file; tells where they begin."""
        start = self.at
        if count > self.size - start:
            raise Malformed(
                f"cut inside its header: it ends at byte {self.size}, but {count} more are announced at byte {start}",
                NOT_WHOLE,
            )
        self.at = start + count
        return start

    def take(self, count: int) -> int:
        """The same for bytes that must be there."""
        start = self.skip(count)
        if self.at > len(self.data):
            raise NeedMore(self.at)
        return start

    def number(self, form: struct.Struct) -> int:
        """One integer."""
        (value,) = form.unpack_from(self.data, self.take(form.size))
        return int(value)

    def keep(self, count: int) -> None:
        """Counts memory that the header will take."""
        self.kept += count
        if self.kept > _MAX_KEPT:
            raise Malformed(f"its metadata takes more than {size_text(_MAX_KEPT)}")

    def text(self, what: str) -> str:
        """A length and that much UTF-8; `what` names it in errors."""
        at = self.at
        length = self.number(U64)
        if length > _MAX_TEXT:
            raise Malformed(f"{what} at byte {at} is said to have {length} bytes")
        self.keep(length + ELEMENT)
        start = self.take(length)
        try:
            return self.data[start : self.at].decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"{what} is not UTF-8 at byte {start + error.start}") from None
