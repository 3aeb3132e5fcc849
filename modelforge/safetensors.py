"""The header of a safetensors file: names, types and shapes of its tensors, without the weights.

Own code because it is forty lines, and the library brings numpy and reads nothing but whole files. Format: eight
bytes of length (little-endian), that much JSON, then the data (huggingface/safetensors, README.md). Every number is
checked before it is believed.
"""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from modelforge import foreign
from modelforge.errors import BaseProblem, Problem
from modelforge.units import size_text

if TYPE_CHECKING:
    from pathlib import Path

_PREFIX = 8
_LONGEST = 100_000_000
_MOST_ELEMENTS = 1 << 62
_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "U64": 8,
    "I32": 4,
    "U32": 4,
    "I16": 2,
    "U16": 2,
} | {
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_DAMAGED = "the file is damaged: download or copy it again"
_NOT_WHOLE = "the download or copy is not whole: do it again"


@dataclass(frozen=True, kw_only=True, slots=True)
class SafeTensor:
    """A tensor of the header: `shape` outermost first, `type` as the format spells it (`BF16`), `bytes` of its data."""

    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int


class _Malformed(Exception):
    """What is wrong with the file, and what to do."""

    def __init__(self, message: str, hint: str = _DAMAGED) -> None:
        self.hint = hint
        super().__init__(message)


def read_safetensors(path: Path, name: str) -> tuple[SafeTensor, ...]:
    """The tensors of a file on this machine, in its order; `name` is what errors call the file.

    Raises:
        BaseProblem: it is not there, is no regular file, or no whole, sound safetensors.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _problem(name, "no regular file", "name the folder that has the model's files")
        with path.open("rb") as file:
            head = file.read(_PREFIX)
            length = int.from_bytes(head, "little")
            if len(head) < _PREFIX or not 1 < length <= _LONGEST:
                raise _not_one(head + file.read(256))
            text = file.read(length)
        return _tensors(text, length, status.st_size)
    except _Malformed as error:
        raise _problem(name, str(error), error.hint) from None
    except FileNotFoundError:
        raise _problem(name, "there is no such file", "check the path") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _problem(name, f"cannot be read: {reason}", "check its permissions and its disk") from None


def _not_one(head: bytes) -> _Malformed:
    if not head:
        return _Malformed("not a safetensors file: it is empty", _NOT_WHOLE)
    what, hint = foreign.looks_like(head)
    if what == "a safetensors file":
        what, hint = "cut, or its length is impossible", _NOT_WHOLE
    return _Malformed(f"not a safetensors file: it is {what}", hint)


def _tensors(text: bytes, length: int, file_bytes: int) -> tuple[SafeTensor, ...]:
    if len(text) < length:
        raise _Malformed(f"cut inside its header: {length - len(text)} bytes of it are missing", _NOT_WHOLE)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        what, hint = foreign.looks_like(length.to_bytes(_PREFIX, "little") + text[:256])
        known = what not in {"a safetensors file", "text"} and not what.startswith("unknown data")
        raise _Malformed(
            f"not a safetensors file: it is {what}" if known else "its header is no JSON",
            hint if known else _DAMAGED,
        ) from None
    if not isinstance(header, dict):
        raise _Malformed("its header is no JSON object")
    found = tuple(_tensor(name, line) for name, line in header.items() if name != "__metadata__")
    end = max((end for _, end in found), default=0)
    missing = _PREFIX + length + end - file_bytes
    if missing > 0:
        whole = size_text(_PREFIX + length + end)
        raise _Malformed(f"cut: {size_text(missing)} of {whole} are missing ({missing} bytes)", _NOT_WHOLE)
    return tuple(tensor for tensor, _ in found)


def _tensor(name: str, line: Any) -> tuple[SafeTensor, int]:  # noqa: ANN401 (whatever the JSON holds)
    """A line of the header, and where its data ends."""
    quoted = repr(name[:120])
    try:
        kind, shape, (start, end) = line["dtype"], tuple(line["shape"]), line["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise _Malformed(f"the tensor {quoted} has no dtype, shape or data_offsets") from None
    numbers = (*shape, start, end)
    if not all(type(number) is int and 0 <= number <= _MOST_ELEMENTS for number in numbers):
        raise _Malformed(f"the tensor {quoted} has an impossible shape or place")
    if not isinstance(kind, str) or kind not in _BYTES:
        raise _Malformed(
            f"the tensor {quoted} has the unknown type {kind!r}", "a newer modelforge may read it"
        )
    size = prod(shape) * _BYTES[kind]
    if end - start != size:
        raise _Malformed(f"the tensor {quoted} takes {end - start} bytes, but its shape needs {size}")
    return SafeTensor(name=name, type=kind, shape=shape, bytes=size), end


def _problem(file: str, message: str, hint: str) -> BaseProblem:
    return BaseProblem(problems=(Problem(message=message, kind=BaseProblem.kind, file=file, hint=hint),))
