"""A model in several GGUF files, and the one file that they were split from.

llama.cpp reads a model from its parts; Ollama before 0.30 does not, and its store has one file for a model. So parts
are joined: the first one's metadata without the keys that tell of the split, then all tensors in the order of the
parts, each at the next multiple of the alignment. That is the very file that was split, where llama.cpp had written
it. Format: llama.cpp tools/gguf-split/gguf-split.cpp (b10488).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from modelforge import ggml
from modelforge.errors import BaseProblem, BuildFailed, Problem
from modelforge.gguf import padded, read_layout
from modelforge.units import MIB, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from modelforge.gguf import Header, Layout, Tensor

NAME = re.compile(r"-(\d{5})-of-(\d{5})(\.gguf)$", re.IGNORECASE)
"""How llama.cpp calls parts: NAME-00001-of-00003.gguf."""

_NUMBER, _COUNT, _TENSORS = "split.no", "split.count", "split.tensors.count"
_KEYS = frozenset({_NUMBER, _COUNT, _TENSORS})
_TYPE_NUMBERS = {kind.name: number for number, kind in ggml.TYPES.items()}
_VERSION = 3
_PIECE = 4 * MIB
_MOST_PARTS = 4096


def stem(name: str) -> str:
    """A file's name without `.gguf`, and without what says which part it is."""
    last = name.rpartition("/")[2]
    if NAME.search(last):
        return NAME.sub("", last)
    return last[: -len(".gguf")] if last.casefold().endswith(".gguf") else last


def parts_of(name: str) -> tuple[str, ...]:
    """The names of all parts of the model that a file belongs to, in their order; just `name` where it is no part.

    Raises:
        BaseProblem: it says that there are impossibly many, or is none of them.
    """
    found = NAME.search(name)
    if found is None:
        return (name,)
    number, count = int(found[1]), int(found[2])
    if not 1 <= number <= count <= _MOST_PARTS:
        problem = Problem(
            message=f"its name says part {number} of {count}",
            kind=BaseProblem.kind,
            file=name,
            expected="NAME-00001-of-00003.gguf and so on",
            hint="give it the name that it had",
        )
        raise BaseProblem(problems=(problem,))
    start = name[: found.start()]
    return tuple(f"{start}-{part:05d}-of-{found[2]}{found[3]}" for part in range(1, count + 1))


def is_first(name: str) -> bool:
    """Whether a file is a whole model, or that part of one which has its metadata."""
    found = NAME.search(name)
    return found is None or int(found[1]) <= 1


def why_part(header: Header) -> str | None:
    """What is wrong with a file that is taken for a whole model, though its header says that it is a part."""
    count = header.metadata.get(_COUNT)
    if not isinstance(count, int) or count <= 1:
        return None
    return f"a part of a model that is split in {count}, and its name does not say which"


def joined_header(headers: Sequence[Header], names: Sequence[str]) -> Header:
    """The header of the whole model, from those of its parts in their order; `file_bytes` is the sum of the parts'.

    Raises:
        BaseProblem: they are not the parts of one model; names the one that is wrong.
    """
    whole = headers[0].metadata.get(_TENSORS)
    for number, (header, name) in enumerate(zip(headers, names, strict=True)):
        _check_part(header, name, number=number, count=len(headers), whole=whole)
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors) or len(tensors) != whole:
        message = f"the {len(headers)} parts have {len(tensors)} tensors, and should have {whole}, each once"
        hint = "they are of different models, or one is damaged: download or copy them again"
        problem = Problem(message=message, kind=BaseProblem.kind, file=names[0], hint=hint)
        raise BaseProblem(problems=(problem,))
    metadata = {key: value for key, value in headers[0].metadata.items() if key not in _KEYS}
    return replace(
        headers[0],
        metadata=metadata,
        tensors=tensors,
        file_bytes=sum(header.file_bytes for header in headers),
    )


def _check_part(header: Header, name: str, *, number: int, count: int, whole: object) -> None:
    wanted = {_NUMBER: number, _COUNT: count, _TENSORS: whole}
    for key, value in wanted.items():
        if header.metadata.get(key) != value or value is None:
            said = header.metadata.get(key, "not there")
            message = f"is no part {number + 1} of {count}: its {key} is {said}"
            problem = Problem(
                message=message,
                kind=BaseProblem.kind,
                file=name,
                expected=f"{key} {value}" if value is not None else f"the key {key}",
                hint="llama-gguf-split numbers them so: download or copy the parts again, under the names they had",
            )
            raise BaseProblem(problems=(problem,))


def join(paths: Sequence[Path], target: Path, told: Callable[[int, int], None]) -> str:
    """Writes the whole model to `target`, in a folder that nobody else writes to; its digest, `sha256:<hex>`.

    It is not at `target` before all of it is there and on the disk. `told` hears how many bytes are done, of how many.

    Raises:
        BaseProblem: a part cannot be read, or they are not the parts of one model.
        BuildFailed: it cannot be written.
    """
    layouts = [read_layout(path) for path in paths]
    joined_header([layout.header for layout in layouts], [str(path) for path in paths])
    alignment = layouts[0].alignment
    head = _head(paths[0], layouts, alignment)
    whole = len(head) + sum(
        padded(tensor.bytes, alignment) for layout in layouts for tensor in layout.header.tensors
    )
    part = target.with_name(target.name + ".joining")
    try:
        free = shutil.disk_usage(target.parent).free
        if free < whole:
            raise _too_small(target, f"{size_text(whole)} are needed, {size_text(free)} are free")
        with part.open("wb") as file:
            digest = _write(file, head, zip(paths, layouts, strict=True), alignment, lambda n: told(n, whole))
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise _too_small(target, error.strerror or type(error).__name__) from error
    finally:
        part.unlink(missing_ok=True)
    return digest


def _head(first: Path, layouts: Sequence[Layout], alignment: int) -> bytes:
    """All before the first tensor: the first part's metadata byte by byte, and the table of all tensors."""
    spans = [span for key, span in layouts[0].keys.items() if key not in _KEYS]
    with first.open("rb") as file:
        data = file.read(max((end for _, end in layouts[0].keys.values()), default=0))
    table = [tensor for layout in layouts for tensor in layout.header.tensors]
    pieces = [b"GGUF", struct.pack("<IQQ", _VERSION, len(table), len(spans))]
    pieces += [data[start:end] for start, end in spans]
    offset = 0
    for tensor in table:
        pieces.append(_table_line(tensor, offset))
        offset += padded(tensor.bytes, alignment)
    head = b"".join(pieces)
    return head.ljust(padded(len(head), alignment), b"\0")


def _table_line(tensor: Tensor, offset: int) -> bytes:
    name = tensor.name.encode()
    dims = struct.pack(f"<I{len(tensor.dims)}Q", len(tensor.dims), *tensor.dims)
    return struct.pack("<Q", len(name)) + name + dims + struct.pack("<IQ", _TYPE_NUMBERS[tensor.type], offset)


def _write(
    file: BinaryIO,
    head: bytes,
    parts: Iterator[tuple[Path, Layout]],
    alignment: int,
    told: Callable[[int], None],
) -> str:
    sha, done = hashlib.sha256(), 0

    def put(piece: bytes) -> None:
        nonlocal done
        file.write(piece)
        sha.update(piece)
        done += len(piece)

    put(head)
    for path, layout in parts:
        with path.open("rb") as source:
            at = layout.data
            for tensor in layout.header.tensors:
                source.seek(at)
                at += padded(tensor.bytes, layout.alignment)
                for piece in _pieces(source, tensor.bytes, path):
                    put(piece)
                    told(done)
                put(bytes(padded(tensor.bytes, alignment) - tensor.bytes))
    return f"sha256:{sha.hexdigest()}"


def _pieces(source: BinaryIO, count: int, path: Path) -> Iterator[bytes]:
    while count:
        piece = source.read(min(_PIECE, count))
        if not piece:
            problem = Problem(
                message="became shorter while it was read", kind=BaseProblem.kind, file=str(path)
            )
            raise BaseProblem(problems=(problem,))
        count -= len(piece)
        yield piece


def _too_small(target: Path, why: str) -> BuildFailed:
    return BuildFailed(
        f"the parts of {target.name} cannot be joined in {target.parent}: {why}",
        hint="make room there and run the same command again",
    )
