"""Checks of embeddings: how many numbers a vector has, and which of two texts is nearer to a third."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge.checks.outcome import SHOWN, Wrong
from modelforge.display import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelforge.runtimes import Embeddings, Placement

_MOST_DIGITS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """What is judged: the embeddings of the prompt and, where they are compared, of `closer_to` and `than`.

    `here`: they came from the hardware that the plan is for.
    """

    reply: Embeddings
    placement: Placement | None
    here: bool


def dimensions(wanted: int, vectors: Vectors) -> str:
    """The prompt's vector has so many numbers."""
    prompt = _sound(vectors.reply.vectors[0], "the prompt")
    if len(prompt) != wanted:
        raise Wrong(numbers_text(prompt))
    return numbers_text(prompt)


def closer_to(_wanted: tuple[str, str], vectors: Vectors) -> str:
    """The first text is nearer to the prompt than the second."""
    names = ("the prompt", "'closer_to'", "'than'")
    prompt, near, far = (_sound(one, of) for one, of in zip(vectors.reply.vectors, names, strict=True))
    lengths = {len(one) for one in (prompt, near, far)}
    if len(lengths) > 1:
        raise Wrong(f"vectors of {', '.join(map(str, sorted(lengths)))} numbers cannot be compared")
    nearer, farther = cosine(prompt, near), cosine(prompt, far)
    got = _against(nearer, farther)
    if not nearer > farther:
        raise Wrong(got)
    return got


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors, from -1 to 1: their product over their lengths.

    Both are brought to numbers of at most 1 first, so that none is too large or too small to be squared.

    Args:
        one: finite numbers, not all of them zero.
        other: as many of them.
    """
    first, second = _scaled(one), _scaled(other)
    product = math.fsum(a * b for a, b in zip(first, second, strict=True))
    lengths = math.sqrt(math.fsum(a * a for a in first)) * math.sqrt(math.fsum(b * b for b in second))
    return max(-1.0, min(1.0, product / lengths))


def _scaled(vector: Sequence[float]) -> list[float]:
    largest = max(map(abs, vector))
    return [number / largest for number in vector]


def comparison_text(near: str, far: str) -> str:
    """`"a paraphrase" than "another subject"`, neither of them long."""
    return " than ".join(json.dumps(shorten(text, SHOWN), ensure_ascii=False) for text in (near, far))


def numbers_text(vector: Sequence[float]) -> str:
    """`768 numbers`."""
    return f"{len(vector)} number{'' if len(vector) == 1 else 's'}"


def _sound(vector: Sequence[float], of: str) -> Sequence[float]:
    """The vector, if it points anywhere."""
    if not vector:
        raise Wrong(f"the vector of {of} is empty")
    bad = sum(not math.isfinite(number) for number in vector)
    if bad:
        raise Wrong(f"NaN or inf in the vector of {of}: {bad} of {numbers_text(vector)}")
    if not any(vector):
        raise Wrong(f"the vector of {of} is all zeros")
    return vector


def _against(nearer: float, farther: float) -> str:
    """Both similarities, with as many digits as it takes to tell them apart."""
    digits = 2
    while digits < _MOST_DIGITS and nearer != farther and f"{nearer:.{digits}f}" == f"{farther:.{digits}f}":
        digits += 1
    return f"{nearer:.{digits}f} against {farther:.{digits}f}"
