"""Reads a model's metadata by key: one error, naming the key, for what is missing or makes no sense."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelforge.errors import BaseProblem
from modelforge.gguf import LongArray

if TYPE_CHECKING:
    from modelforge.gguf import Header, Scalar, Value

_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")


class Keys:
    """The metadata of one architecture, and the dims of its tensors by block.

    Numbers may be int, float or bool: a server's JSON does not keep them apart.
    """

    def __init__(self, header: Header) -> None:
        self._metadata = header.metadata
        self.architecture = self._text("general.architecture")
        self.blocks: dict[int, dict[str, tuple[int, ...]]] = {}
        for tensor in header.tensors:
            match = _BLOCK.fullmatch(tensor.name)
            if match:
                self.blocks.setdefault(int(match[1]), {})[match[2]] = tensor.dims

    def integer(self, key: str, default: int | None = None) -> int:
        """`<architecture>.<key>` as one whole number; of an array the largest.

        Raises:
            BaseProblem: it is missing and there is no default, or it is no number.
        """
        value = self._value(key)
        if value is None or (isinstance(value, LongArray) and default is not None):
            return self._missing(key) if default is None else default
        numbers = [self._number(key, one) for one in (value if isinstance(value, tuple) else (value,))]
        return max(numbers) if numbers else (default or 0)

    def per_block(self, key: str, blocks: int, default: int | None = None) -> tuple[int, ...] | None:
        """`<architecture>.<key>` for every block: an array, or one number for all of them.

        None where the header holds an array that was skipped, or one of another length.

        Raises:
            BaseProblem: it is missing and there is no default, or it is no number.
        """
        value = self._value(key)
        if isinstance(value, LongArray):
            return None
        if isinstance(value, tuple):
            numbers = tuple(self._number(key, one) for one in value)
            return numbers[:blocks] if len(numbers) >= blocks else None
        if value is None and default is not None:
            return (default,) * blocks
        return (self.integer(key),) * blocks

    def has(self, key: str) -> bool:
        """Whether `<architecture>.<key>` is there."""
        return self._value(key) is not None

    def is_array(self, key: str) -> bool:
        """Whether `<architecture>.<key>` is an array, skipped or not."""
        return isinstance(self._value(key), tuple | LongArray)

    def vocabulary(self) -> int:
        """How many tokens: the architecture's own key, else the length of the tokenizer's list, else 0."""
        tokens = self._metadata.get("tokenizer.ggml.tokens")
        length = tokens.length if isinstance(tokens, LongArray) else 0
        listed = len(tokens) if isinstance(tokens, tuple) else length
        return self.integer("vocab_size", listed)

    def _value(self, key: str) -> Value | None:
        return self._metadata.get(f"{self.architecture}.{key}")

    def _text(self, key: str) -> str:
        value = self._metadata.get(key)
        if not isinstance(value, str) or not value:
            raise BaseProblem(
                f"the model's header has no '{key}'", hint="this is not the GGUF file of a language model"
            )
        return value

    def _number(self, key: str, value: Scalar | LongArray) -> int:
        if isinstance(value, str | LongArray) or value != value or abs(value) > 1 << 62:  # noqa: PLR0124 (NaN)
            raise BaseProblem(f"'{self.architecture}.{key}' in the model's header is not a number: {value!r}")
        if value < 0:
            raise BaseProblem(f"'{self.architecture}.{key}' in the model's header is negative: {value!r}")
        return int(value)

    def _missing(self, key: str) -> int:
        raise BaseProblem(
            f"the model's header has no '{self.architecture}.{key}', so its memory cannot be worked out",
            hint="convert the model again with a current llama.cpp, or take another file",
        )
