"""Which tags a base means: one that is pinned, or sizes × variant × quants as `base.pattern` spells them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge import quants
from modelforge.names import TAG, has_tag

if TYPE_CHECKING:
    from modelforge.profile.schema import Base

PATTERN = "{size}-{variant}-{quant}"
_FIELDS = {"size": r"\d[\w.]*", "variant": r"[\w.]+(?:-[\w.]+)*?", "quant": r"\w+"}
_PLACE = re.compile(r"(-?)\{(size|variant|quant)\}")
_FULL = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_SOURCES = ("fp16", "f16", "bf16")
"""How tags spell what a quant can be made of."""


def is_pinned(base: Base) -> bool:
    """Whether a base names one model by a tag or a digest, rather than leaving a choice."""
    return bool(base.tag) or has_tag(base.model)


def is_ladder(base: Base) -> bool:
    """Whether a base names several sizes or quants to choose from."""
    return not is_pinned(base) and len(base.sizes or ()) + len(base.quants or ()) > 1


def is_open(base: Base) -> bool:
    """Whether a base says nothing about tags, so that all of them are meant."""
    return not (base.sizes or base.variant or base.quants)


def tag_pattern(base: Base) -> re.Pattern[str]:
    """`base.pattern` as a regular expression; a field that the profile does not give may be absent with its `-`."""
    quants_given = None if base.quantize else base.quants  # those are of what is made
    given = {"size": base.sizes, "variant": base.variant and (base.variant,), "quant": quants_given}
    text = base.pattern or PATTERN
    expression, end = "", 0
    for place in _PLACE.finditer(text):
        field = place[2]
        words = given[field]
        inner = "|".join(map(re.escape, words)) if words else _FIELDS[field]
        again = f"(?P<{field}>" in expression
        group = place[1] + (f"(?P={field})" if again else f"(?P<{field}>{inner})")
        expression += re.escape(text[end : place.start()]) + (group if words else f"(?:{group})?")
        end = place.end()
    return re.compile(expression + re.escape(text[end:]), re.IGNORECASE)


def size_in(base: Base, pattern: re.Pattern[str], tag: str) -> tuple[bool, str | None]:
    """Whether a tag is spelled as a pattern says, and the size that it tells, in the profile's own word."""
    match = pattern.fullmatch(tag)
    size = ((match.groupdict().get("size") if match else "") or "").casefold()
    words = {word.casefold(): word for word in base.sizes or ()}
    return match is not None, words.get(size, size) or None


def wanted_name(base: Base) -> str:
    """The first name that the base would take."""
    if has_tag(base.model):
        return base.model
    if base.tag:
        return f"{base.model}:{base.tag}"
    quant = _SOURCES[0] if base.quantize else base.quants[0] if base.quants else None
    if base.quantize and is_open(base):
        return base.model
    tag = _filled(base, base.sizes[0] if base.sizes else None, quant)
    return f"{base.model}:{tag}" if tag else base.model


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """The tags of one size, best first. `otherwise` is taken where none of them is there."""

    size: str | None
    tags: tuple[str, ...]
    otherwise: str | None = None


def ladder(base: Base) -> tuple[Rung, ...]:
    """The tags that a base means where nobody lists those that there are.

    Quants are spelled as the profile spells them and as Ollama's library does (`q4_K_M`). Where the profile lists
    none they are the usual ones, and what has no quant in its tag (`7b-instruct`) where there are none of those. With
    `quantize` they are those in full precision instead.
    """
    if is_open(base):
        return (Rung(size=None, tags=(TAG,)),)
    words = _quant_words(base)
    rungs = []
    for size in base.sizes or (None,):
        tags = tuple(dict.fromkeys(_filled(base, size, word) for word in words))
        bare = _filled(base, size, None)
        fixed = base.quants or base.quantize
        otherwise = bare if bare and not fixed and bare not in tags else None
        rungs.append(Rung(size=size, tags=tags, otherwise=otherwise))
    return tuple(rungs)


def _quant_words(base: Base) -> list[str]:
    """How tags may spell the quants that are meant, best first."""
    if base.quantize:
        return list(_SOURCES)
    if not base.quants:
        return [library_word(name) for name in quants.default_names()]
    return [word for name in base.quants for word in (name, library_word(name))]


def library_word(quant: str) -> str:
    """A quant as tags of Ollama's library spell it: `q4_K_M`, `q8_0`, `fp16`. Unknown ones stay as they are."""
    known = quants.canonical(quant)
    if known is None:
        return quant
    head, bar, rest = known.partition("_")
    return _FULL.get(known, head.casefold() + bar + rest)


def _filled(base: Base, size: str | None, quant: str | None) -> str:
    """The pattern with what is known; what is not falls out with the `-` before it."""
    values = {"size": size, "variant": base.variant, "quant": quant}
    text = _PLACE.sub(
        lambda place: f"{place[1]}{values[place[2]]}" if values[place[2]] else "", base.pattern or PATTERN
    )
    return text.strip("-")
