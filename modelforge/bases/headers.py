"""What a model's header says about which candidate it is: its size, its quant, and whether it is a model at all."""

from __future__ import annotations

import re
from collections import Counter
from math import prod
from typing import TYPE_CHECKING

from modelforge import quants
from modelforge.errors import BaseProblem, Problem, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelforge.gguf import Header
    from modelforge.profile.schema import Base

UNKNOWN = "unknown"
_OTHER_KINDS = {
    "adapter": "an adapter, not a model: it belongs under 'adapters'",
    "mmproj": "a projector for images or sound, not a model",
    "projector": "a projector for images or sound, not a model",
    "imatrix": "an importance matrix, not a model",
    "vocab": "a vocabulary, not a model",
    "dataset": "a data set, not a model",
}
_SCALES = ((10**12, "t"), (10**9, "b"), (10**6, "m"), (10**3, "k"))
_ONE_DECIMAL_BELOW = 10


def why_no_model(header: Header) -> str | None:
    """What the file is, if it is not a model by itself; None if it is one."""
    kind = "mmproj" if is_projector(header) else header.metadata.get("general.type")
    return _OTHER_KINDS.get(kind) if isinstance(kind, str) else None


def is_projector(header: Header) -> bool:
    """Whether the file is an encoder of images or sound."""
    kind = header.metadata.get("general.type")
    if header.metadata.get("general.architecture") == "clip":
        return kind != "adapter"
    return kind in {"mmproj", "projector"}


def quant_of(header: Header) -> str:
    """llama.cpp's name for what `general.file_type` says, else for the type that most of the weights have.

    A file's name never counts. `unknown` where the header says neither.
    """
    number = header.metadata.get("general.file_type")
    named = quants.from_file_type(int(number)) if isinstance(number, int | float) else None
    if named or not header.tensors:
        return named or UNKNOWN
    sizes: Counter[str] = Counter()
    for tensor in header.tensors:
        sizes[tensor.type] += tensor.bytes
    most = max(sizes, key=lambda name: (sizes[name], name))
    return quants.canonical(most) or most


def size_of(header: Header, words: Sequence[str] | None, name: str) -> str | None:
    """The model's size in the profile's words, None where it is none of them.

    That is the first word that stands by itself in `name`, else the one that is the header's own size
    label, else the one that is the number of parameters, rounded. Without words it is the label, or that
    number, in small letters.
    """
    found = next((word for word in words or () if has_token(name, word)), None)
    own = _own_sizes(header)
    if not words:
        return own[0] if own else None
    folded = {word.casefold(): word for word in words}
    return found or next((folded[size] for size in own if size in folded), None)


def has_token(name: str, word: str) -> bool:
    """Whether `word` stands by itself in `name`, in any case: `7b` does in `x-7B.Q4_0`, not in `x-8x7b` or `1.7b`."""
    pattern = rf"(?<![a-z0-9])(?<!\d\.){re.escape(word.casefold())}(?![a-z0-9])(?!\.\d)"
    return re.search(pattern, name.casefold()) is not None


def wanted_quants(base: Base) -> tuple[str, ...] | None:
    """The profile's allow-list in llama.cpp's spelling; None if it has none or an empty one.

    Raises:
        BaseProblem: one of them is no quant.
    """
    if not base.quants:
        return None
    spelled = {name: quants.canonical(name) for name in base.quants}
    unknown = tuple(_unknown_quant(name) for name, known in spelled.items() if known is None)
    if unknown:
        raise BaseProblem(problems=unknown)
    return tuple(known for known in spelled.values() if known is not None)


def _unknown_quant(name: str) -> Problem:
    return Problem(
        message=f"'{name}' in base.quants is no quant",
        kind=BaseProblem.kind,
        expected="a name such as Q4_K_M or Q8_0",
        hint=did_you_mean(name, quants.names()) or f"such as {', '.join(quants.default_names())}",
    )


def _own_sizes(header: Header) -> tuple[str, ...]:
    label = header.metadata.get("general.size_label")
    count = sum(prod(tensor.dims) for tensor in header.tensors)
    own = (label.casefold() if isinstance(label, str) else "", _rounded(count))
    return tuple(size for size in own if size)


def _rounded(count: int) -> str:
    for scale, letter in _SCALES:
        if count >= scale:
            value = count / scale
            return f"{value:.{1 if value < _ONE_DECIMAL_BELOW else 0}f}".removesuffix(".0") + letter
    return ""
