"""Splits GGUF files as llama-gguf-split does; that llama.cpp agrees is for tests/live/test_split_live.py."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

from modelforge.gguf import padded, read_layout
from tests.ggufs import TYPE_NUMBERS, Typed, string_bytes, value_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def split_gguf(
    whole: Path, stem: Path, at: Sequence[int], *, keys: Mapping[int, Mapping[str, object]] | None = None
) -> list[Path]:
    """Writes the parts of a file beside `stem`, cut before the tensors with these indices.

    `keys` stands for what the parts with these numbers, from 0 on, say of the split; None leaves a key out.
    """
    layout, data = read_layout(whole), whole.read_bytes()
    tensors = layout.header.tensors
    own = b"".join(data[start:end] for start, end in layout.keys.values())
    bounds = [0, *at, len(tensors)]
    places = [layout.data]
    for tensor in tensors:
        places.append(places[-1] + padded(tensor.bytes, layout.alignment))
    files = []
    for number, (start, end) in enumerate(pairwise(bounds)):
        said: dict[str, object] = {
            "split.no": Typed("u16", number),
            "split.tensors.count": Typed("i32", len(tensors)),
            "split.count": Typed("u16", len(bounds) - 1),
            **((keys or {}).get(number, {})),
        }
        told = {key: value for key, value in said.items() if value is not None}
        alignment = layout.alignment if number == 0 else 32
        pieces, offset = [], 0
        for tensor in tensors[start:end]:
            dims = struct.pack(f"<I{len(tensor.dims)}Q", len(tensor.dims), *tensor.dims)
            pieces += [string_bytes(tensor.name), dims, struct.pack("<IQ", TYPE_NUMBERS[tensor.type], offset)]
            offset += padded(tensor.bytes, alignment)
        count = len(told) + (len(layout.keys) if number == 0 else 0)
        head = b"GGUF" + struct.pack("<IQQ", 3, end - start, count) + (own if number == 0 else b"")
        head += b"".join(string_bytes(key) + value_bytes(value) for key, value in told.items()) + b"".join(
            pieces
        )
        body = b"".join(
            data[place : place + tensor.bytes].ljust(padded(tensor.bytes, alignment), b"\0")
            for place, tensor in zip(places[start:end], tensors[start:end], strict=True)
        )
        file = stem.with_name(f"{stem.name}-{number + 1:05d}-of-{len(bounds) - 1:05d}.gguf")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(head.ljust(padded(len(head), alignment), b"\0") + body)
        files.append(file)
    return files
