"""What the runtimes share of embeddings: numbers as they come, and what is said where a model does the other thing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from modelforge.errors import SmokeFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

_EMBEDS = 'test its embeddings: expect = { closer_to = "a paraphrase", than = "another subject" }'
_CHATS = 'test its answers, as with expect = { contains = "…" }, or take an embedding model as the base'


def only_embeds(name: str) -> SmokeFailed:
    """A chat was asked of an embedding model."""
    return SmokeFailed(f"{name} makes embeddings and answers no chat", hint=_EMBEDS)


def only_chats(name: str) -> SmokeFailed:
    """Embeddings were asked of a model that chats."""
    return SmokeFailed(f"{name} answers chats and makes no embeddings", hint=_CHATS)


def vectors_of(found: object, texts: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """The vectors as JSON had them, one for each text; null is NaN, which JSON has no other word for.

    Raises:
        SmokeFailed: it is something else.
    """
    vectors = found if isinstance(found, list) else []
    if len(vectors) != len(texts):
        raise SmokeFailed(f"{len(vectors)} of {len(texts)} vectors came")
    return tuple(tuple(_number(one) for one in vector) for vector in map(_listed, vectors))


def _listed(vector: object) -> list[object]:
    if not isinstance(vector, list):
        raise SmokeFailed(f"a vector is no list of numbers but {str(vector)[:40]!r}")
    return vector


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if value is None:
        return math.nan
    raise SmokeFailed(f"a vector holds {str(value)[:40]!r}, which is no number")
