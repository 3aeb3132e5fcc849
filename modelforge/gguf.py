"""The header of a GGUF file: metadata and tensor table, without the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """What the resolver needs of a model. `file_bytes` is the whole file's size."""

    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    file_bytes: int
