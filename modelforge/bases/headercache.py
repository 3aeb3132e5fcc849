"""Headers of GGUF files, kept from one run to the next: most of reading one is skipping its vocabulary."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from modelforge.filehash import identity_of, keep, kept
from modelforge.gguf import Header, LongArray, Tensor, read_header

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
_LARGEST = 1 << 20
"""Characters of metadata beyond which reading the file anew costs no more."""


def kept_header(path: Path, name: str, folder: Path) -> Header:
    """The header of a file; from `folder` as long as the file is surely the same.

    Raises:
        BaseProblem: as `read_header` does.
    """
    try:
        identity = identity_of(path)
    except (OSError, RuntimeError):  # a loop of links
        return read_header(path, name)  # which has the words for it
    found = from_json(kept(folder, identity, "header"), identity.size)
    if found is not None:
        return found
    began = time.time_ns()
    header = read_header(path, name)
    if is_small(header) and identity.rested(began) and _same(path, identity):
        keep(folder, identity, header=to_json(header))
    return header


def _same(path: Path, identity: object) -> bool:
    try:
        return identity_of(path) == identity
    except (OSError, RuntimeError):
        return False


def is_small(header: Header) -> bool:
    """Whether keeping it is worth it."""
    texts = sum(len(value) for value in header.metadata.values() if isinstance(value, str | tuple))
    return texts <= _LARGEST


def to_json(header: Header) -> dict[str, Any]:
    """What JSON can hold of a header: arrays that were skipped are objects, the others lists."""
    return {
        "format": FORMAT,
        "metadata": {
            key: asdict(value) if isinstance(value, LongArray) else value
            for key, value in header.metadata.items()
        },
        "tensors": [[one.name, one.dims, one.type, one.bytes] for one in header.tensors],
    }


def from_json(data: Any, file_bytes: int) -> Header | None:  # noqa: ANN401 (whatever the file holds)
    """The header that `to_json` made this of; None if it is anything else. `file_bytes` is the whole file's size."""
    try:
        if data["format"] != FORMAT:
            return None
        metadata = {key: _value(value) for key, value in data["metadata"].items()}
        tensors = tuple(
            Tensor(name=name, dims=tuple(dims), type=kind, bytes=size)
            for name, dims, kind, size in data["tensors"]
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return Header(metadata=metadata, tensors=tensors, file_bytes=file_bytes)


def _value(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return LongArray(**value)
    return tuple(value) if isinstance(value, list) else value
