"""The header of a GGUF file somewhere else, read by ranges: the weights stay where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.errors import BaseProblem
from modelforge.gguf import parse_header
from modelforge.gguf_cursor import NeedMore
from modelforge.units import MIB, size_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelforge.gguf import Header

FIRST = 4 * MIB
"""Bytes that are asked for first: most headers have 1 to 8 MiB, nearly all of it their vocabulary."""
FIRST_OF_REST = 64 << 10
"""The same for further parts of a split model, whose headers have a table of tensors and no vocabulary."""
LARGEST = 256 * MIB
"""Bytes of a header beyond which nobody reads on."""


def read_by_ranges(
    read: Callable[[int, int], bytes], file_bytes: int, name: str, first: int = FIRST
) -> Header:
    """Reads a header in a few steps, each up to the end that the parser needs, or twice as far as the last.

    Args:
        read: gives bytes from an offset on, as many as it is asked for.
        file_bytes: size of the whole file.
        name: what errors call it.
        first: how many bytes are asked for first.

    Raises:
        BaseProblem: it is no whole, sound GGUF.
    """
    data, end = b"", min(first, file_bytes)
    while True:
        if end > len(data):
            data += read(len(data), end - len(data))
        if len(data) < end:
            raise BaseProblem(f"{name} ends at byte {len(data)}, not at {file_bytes} as its manifest says")
        try:
            return parse_header(data, file_bytes, name)
        except NeedMore as more:
            if more.end > LARGEST:
                raise BaseProblem(f"{name} has a header of more than {size_text(LARGEST)}") from None
            end = min(max(more.end, 2 * len(data)), file_bytes)
