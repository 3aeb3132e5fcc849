"""The header of a GGUF file: metadata and tensor table, without the weights.

Own code because vocabularies make gguf-py's reader take seconds for a usual model. The parser works on the
file's beginning alone and says with `NeedMore` how far it has to reach, so that a file may also be read by
ranges. A header may come from anywhere: every count and length is checked before it is believed, and what
is kept or walked is limited. Format: ggml docs/gguf.md; what is refused: llama.cpp ggml/src/gguf.cpp.
"""

from __future__ import annotations

import math
import mmap
import stat
import struct
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, TypeAlias

from modelforge import foreign, ggml
from modelforge.errors import BaseProblem, Problem
from modelforge.gguf_cursor import ELEMENT, NOT_WHOLE, U64, Cursor, Malformed, NeedMore
from modelforge.units import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Scalar: TypeAlias = bool | int | float | str


@dataclass(frozen=True, kw_only=True, slots=True)
class LongArray:
    """An array that was skipped: a vocabulary, its merges or scores. Only its element type and length are kept."""

    type: str
    length: int


Value: TypeAlias = Scalar | tuple[Scalar, ...] | LongArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """A line of the tensor table. `dims` innermost first, `type` as ggml spells it (`Q4_K`), `bytes` unpadded."""

    name: str
    dims: tuple[int, ...]
    type: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What the resolver needs of a model. `file_bytes` is the whole file's size.

    `projector_bytes`: of image or sound encoders in a file of their own, where a runtime tells the header of a model
    that has both.
    """

    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    file_bytes: int
    projector_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A file's header, and where things lie in the file, in bytes.

    `keys`: of each metadata key where it begins and where its value ends. `data` is where the first tensor begins, or
    would if there were one; each begins at a multiple of `alignment`.
    """

    header: Header
    keys: Mapping[str, tuple[int, int]]
    data: int
    alignment: int


LONG = 1024
"""Arrays of this many elements are skipped."""

_STRING, _ARRAY = 8, 9
_NUMBERS = {
    0: ("u8", struct.Struct("<B")),
    1: ("i8", struct.Struct("<b")),
    2: ("u16", struct.Struct("<H")),
    3: ("i16", struct.Struct("<h")),
    4: ("u32", struct.Struct("<I")),
    5: ("i32", struct.Struct("<i")),
    6: ("f32", struct.Struct("<f")),
    7: ("bool", struct.Struct("<?")),
    10: ("u64", struct.Struct("<Q")),
    11: ("i64", struct.Struct("<q")),
    12: ("f64", struct.Struct("<d")),
}
_U32 = _NUMBERS[4][1]
_TYPE_AND_OFFSET = struct.Struct("<IQ")
_NEWEST_VERSION = 3
_MAX_DIMS = 4
_MAX_NAME = 63
_MAX_ELEMENTS = (1 << 63) - 1
_DEFAULT_ALIGNMENT = 32
_HEAD = 256

# Limits of what a sound file has, with room: the largest vocabularies have 0.3 M tokens and 0.5 M merges, models
# with a tensor per expert 50 k tensors.
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 17
_MAX_STRINGS = 1 << 22


def read_header(path: Path, name: str | None = None) -> Header:
    """Reads the header of a file on this machine; `name` is what errors call it, its path by default.

    Raises:
        BaseProblem: it is not there, is no regular file, or no whole, sound GGUF v2 or v3.
    """
    return read_layout(path, name).header


def read_layout(path: Path, name: str | None = None) -> Layout:
    """The same with where things lie in the file."""
    name = str(path) if name is None else name
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise _problem(name, f"{what}, not a GGUF file", "name the .gguf file itself")
        if status.st_size == 0:
            return _parse(b"", 0, name)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(data, len(data), name)
    except FileNotFoundError:
        raise _problem(name, "there is no such file", "check the path") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _problem(name, f"cannot be read: {reason}", "check its permissions and its disk") from None


def parse_header(data: bytes | mmap.mmap, file_bytes: int, file: str) -> Header:
    """Parses a file's beginning.

    Args:
        data: the file from its first byte on, as much as is there.
        file_bytes: size of the whole file.
        file: its name, for errors.

    Raises:
        NeedMore: `data` ends inside the header.
        BaseProblem: the file is no whole, sound GGUF v2 or v3.
    """
    return _parse(data, file_bytes, file).header


def _parse(data: bytes | mmap.mmap, file_bytes: int, file: str) -> Layout:
    try:
        return _layout(Cursor(data=data, size=file_bytes))
    except Malformed as error:
        raise _problem(file, str(error), error.hint) from None


def _layout(cursor: Cursor) -> Layout:
    _check_magic(cursor)
    _check_version(cursor.number(_U32))
    tensor_count, key_count = cursor.number(U64), cursor.number(U64)
    _check_count("tensors", tensor_count, _MAX_TENSORS)
    _check_count("metadata keys", key_count, _MAX_KEYS)
    metadata = _metadata(cursor, key_count)
    alignment = _alignment(metadata)
    table = tuple(_tensor_lines(cursor, tensor_count))
    start = padded(cursor.at, alignment)
    _check_layout(table, start, alignment, cursor.size)
    header = Header(metadata=metadata, tensors=tuple(tensor for tensor, _ in table), file_bytes=cursor.size)
    return Layout(header=header, keys=cursor.keys, data=start, alignment=alignment)


def _check_magic(cursor: Cursor) -> None:
    if not cursor.size:
        raise Malformed("not a GGUF file: it is empty", "download or copy it again")
    cursor.take(min(_HEAD, cursor.size))
    cursor.at = 0
    head = bytes(cursor.data[:_HEAD])
    if not head.startswith(b"GGUF"[: cursor.size]):
        what, hint = foreign.looks_like(head)
        raise Malformed(f"not a GGUF file: it is {what}", hint)
    cursor.take(4)


def _check_version(version: int) -> None:
    if version and not version & 0xFFFF:
        raise Malformed(
            "a big-endian GGUF, which llama.cpp does not load on this machine",
            "convert it with llama.cpp's gguf_convert_endian.py, or take the little-endian file",
        )
    if version == 1:
        raise Malformed("GGUF version 1, which nothing reads any more", "download or convert the model again")
    if not 1 < version <= _NEWEST_VERSION:
        raise Malformed(
            f"GGUF version {version}; versions 2 and 3 can be read", "a newer modelforge may read it"
        )


def _check_count(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise Malformed(f"{count} {what} are announced, {limit} are the most that can be read")


def _metadata(cursor: Cursor, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for _ in range(count):
        start = cursor.at
        key = cursor.text("a metadata key")
        if not key:
            raise Malformed("a metadata key is empty")
        if key in metadata:
            raise Malformed(f"the metadata key {_quoted(key)} is there twice")
        metadata[key] = _value(cursor, key)
        cursor.keys[key] = (start, cursor.at)
    return metadata


def _value(cursor: Cursor, key: str) -> Value:
    kind = cursor.number(_U32)
    if kind == _STRING:
        return cursor.text(f"the value of {_quoted(key)}")
    if kind == _ARRAY:
        return _array(cursor, key)
    form = _number_type(kind, key)[1]
    value: bool | int | float = form.unpack_from(cursor.data, cursor.take(form.size))[0]
    return value


def _array(cursor: Cursor, key: str) -> tuple[Scalar, ...] | LongArray:
    kind, count = cursor.number(_U32), cursor.number(U64)
    if kind == _ARRAY:
        raise Malformed(
            f"{_quoted(key)} is an array of arrays, which llama.cpp does not load", "convert the model again"
        )
    if kind == _STRING:
        return _strings(cursor, count, key)
    name, form = _number_type(kind, key)
    start = cursor.skip(count * form.size)
    if count >= LONG:
        return LongArray(type=name, length=count)
    if cursor.at > len(cursor.data):
        raise NeedMore(cursor.at)
    cursor.keep(count * ELEMENT)
    return struct.unpack_from(f"<{count}{form.format[1:]}", cursor.data, start)


def _number_type(kind: int, key: str) -> tuple[str, struct.Struct]:
    try:
        return _NUMBERS[kind]
    except KeyError:
        raise Malformed(f"{_quoted(key)} has the unknown value type {kind}") from None


def _strings(cursor: Cursor, count: int, key: str) -> tuple[str, ...] | LongArray:
    cursor.walked += count
    if cursor.walked > _MAX_STRINGS:
        raise Malformed(
            f"{_quoted(key)} is said to have {count} texts; {_MAX_STRINGS} in a file are the most that can be read"
        )
    if count < LONG:
        return tuple(cursor.text(f"text {index} of {_quoted(key)}") for index in range(count))
    _skip_strings(cursor, count)
    return LongArray(type="str", length=count)


def _skip_strings(cursor: Cursor, count: int) -> None:
    """The one hot loop: half a million lengths in a usual model, each telling where the next one lies."""
    unpack, data, at = U64.unpack_from, cursor.data, cursor.at
    try:
        for _ in repeat(None, count):
            at += 8 + unpack(data, at)[0]
    except (struct.error, OverflowError, IndexError):
        cursor.skip(at - cursor.at)
        cursor.take(8)
    cursor.skip(at - cursor.at)


def _tensor_lines(cursor: Cursor, count: int) -> Iterator[tuple[Tensor, int]]:
    """The tensor table: each tensor and its offset in the data."""
    names: set[str] = set()
    for _ in range(count):
        name = cursor.text("a tensor's name")
        if len(name.encode()) > _MAX_NAME:
            raise Malformed(f"the tensor name {_quoted(name)} is longer than {_MAX_NAME} bytes")
        if name in names:
            raise Malformed(f"the tensor {_quoted(name)} is there twice")
        names.add(name)
        dims = _dims(cursor, name)
        number, offset = _TYPE_AND_OFFSET.unpack_from(cursor.data, cursor.take(_TYPE_AND_OFFSET.size))
        yield _tensor(name, dims, number), offset


def _dims(cursor: Cursor, name: str) -> tuple[int, ...]:
    count = cursor.number(_U32)
    if count > _MAX_DIMS:
        raise Malformed(f"the tensor {_quoted(name)} has {count} dimensions, {_MAX_DIMS} are the most")
    dims = struct.unpack_from(f"<{count}Q", cursor.data, cursor.take(8 * count))
    if max(dims, default=0) > _MAX_ELEMENTS or math.prod(dims) > _MAX_ELEMENTS:
        raise Malformed(f"the tensor {_quoted(name)} has the impossible shape {list(dims)}")
    return dims


def _tensor(name: str, dims: tuple[int, ...], number: int) -> Tensor:
    kind = ggml.TYPES.get(number)
    if number in ggml.REMOVED:
        raise Malformed(
            f"the tensor {_quoted(name)} has type {number}, which llama.cpp has dropped",
            "quantize the model again",
        )
    if kind is None:
        raise Malformed(
            f"the tensor {_quoted(name)} has the unknown type {number}",
            f"{max(ggml.TYPES)} is the highest known one: the file is damaged, newer than this modelforge, "
            "or made for a fork of llama.cpp",
        )
    if dims and dims[0] % kind.block:
        raise Malformed(
            f"the tensor {_quoted(name)} has rows of {dims[0]}, but {kind.name} stores {kind.block} at a time"
        )
    blocks = -(-math.prod(dims) // kind.block)
    return Tensor(name=name, dims=dims, type=kind.name, bytes=blocks * kind.bytes)


def _alignment(metadata: Mapping[str, Value]) -> int:
    value = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0 or value & (value - 1):
        raise Malformed(f"general.alignment is {value!r}, not a power of two")
    return value


def _check_layout(table: tuple[tuple[Tensor, int], ...], start: int, alignment: int, size: int) -> None:
    """Tensors must follow each other without gaps, as llama.cpp demands, and end inside the file."""
    end = expected = 0
    for tensor, offset in table:
        if offset != expected:
            raise Malformed(
                f"the tensor {_quoted(tensor.name)} lies at byte {offset} of the data, not at {expected}",
                "the file is damaged, or was made for a fork of llama.cpp with other types",
            )
        end = expected + tensor.bytes
        expected = padded(end, alignment)
    missing = start + end - size if table else 0
    if missing > 0:
        raise Malformed(
            f"cut: {size_text(missing)} of {size_text(start + end)} are missing ({missing} bytes)",
            NOT_WHOLE,
        )


def padded(size: int, alignment: int) -> int:
    """`size` up to the next multiple of `alignment`."""
    return -(-size // alignment) * alignment


def _quoted(name: str) -> str:
    """A name from the file, safe to show and short."""
    shown = name if len(name) <= 2 * _MAX_NAME else name[: 2 * _MAX_NAME] + "…"
    return repr(shown)


def _problem(file: str, message: str, hint: str) -> BaseProblem:
    return BaseProblem(problems=(Problem(message=message, kind=BaseProblem.kind, file=file, hint=hint),))
