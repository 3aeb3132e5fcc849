"""Candidates that are models on the runtime."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from modelforge.bases import Candidate, ServedModel
from modelforge.bases.headers import quant_of, size_of, wanted_quants, why_no_model
from modelforge.bases.quantized import made_digest, made_of, made_quant, only_sources
from modelforge.errors import BaseProblem, ForgeError, Problem, did_you_mean
from modelforge.names import has_tag, is_reserved, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelforge.gguf import Header
    from modelforge.profile.schema import Base

PATTERN = "{size}-{variant}-{quant}"
_FIELDS = {"size": r"\d[\w.]*", "variant": r"[\w.]+(?:-[\w.]+)*?", "quant": r"\w+"}
_PLACE = re.compile(r"(-?)\{(size|variant|quant)\}")
_SHOWN = 8


class Listed(Protocol):
    """A line of a runtime's list: a model's full name, and the digest of its manifest."""

    @property
    def name(self) -> str:
        """With its tag, as the server spells it."""

    @property
    def digest(self) -> str:
        """With or without `sha256:`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """A model of the base's name. `size` is what its tag says, where the pattern tells."""

    entry: Listed
    header: Header
    tag: str
    size: str | None


def served_candidates(
    base: Base, models: Sequence[tuple[Listed, Header]], *, there: Sequence[str] = ()
) -> tuple[Candidate, ...]:
    """The models on the runtime that the base means, in the order of the list.

    A tag, in `base.model` or as `base.tag`, pins one. Else `sizes`, `variant` and `quants` say which tags
    are meant, spelled as `pattern` says; what is not given may be anything, or absent. Without any of
    them all tags of the name are candidates. Quants come from the headers, not from the tags.

    Args:
        base: the profile's base; `model` is a name, with or without a tag.
        models: what the runtime has under that name; other names are passed over.
        there: all names on the runtime, to find the nearest.

    Raises:
        UsageProblem: `base.model` is no name.
        BaseProblem: there is no such model, or it cannot be planned for.
    """
    quants = wanted_quants(base)
    pinned = _pinned_tag(base)
    found = _of_name(base, models)
    if pinned is not None:
        alike = [one for one in found if one.tag.casefold() == pinned.casefold()]
        chosen = [one for one in alike if one.tag == pinned] or alike
    else:
        chosen = [
            one for one in _spelled(base, found) if quants is None or made_quant(base, one.header) in quants
        ]
    if not chosen:
        raise _nothing(base, found, there)
    sources = only_sources(base, [(one.entry.name, one.header) for one in chosen])
    return tuple(_candidate(one, base) for one in chosen if one.entry.name in sources)


def _pinned_tag(base: Base) -> str | None:
    own = parse(base.model).tag if has_tag(base.model) else None
    if own and base.tag and own.casefold() != base.tag.casefold():
        hint = "give the tag once"
        raise BaseProblem(f"base.model says the tag '{own}', base.tag says '{base.tag}'", hint=hint)
    return own or base.tag


def _of_name(base: Base, models: Sequence[tuple[Listed, Header]]) -> list[_Found]:
    """Models of the base's name; not what only names something in the cloud."""
    wanted = parse(base.model).repository
    found = []
    for entry, header in models:
        tag = entry.name.rpartition("/")[2].partition(":")[2] or "latest"
        if not is_reserved(tag) and parse(entry.name).repository == wanted:
            found.append(_Found(entry=entry, header=header, tag=tag, size=None))
    return found


def _spelled(base: Base, found: list[_Found]) -> list[_Found]:
    """Those whose tag is spelled as the profile says; all of them where it says nothing."""
    if not (base.sizes or base.variant or base.quants):
        return found
    pattern = _tag_pattern(base)
    words = {word.casefold(): word for word in base.sizes or ()}
    spelled = []
    for one in found:
        match = pattern.fullmatch(one.tag)
        if match:
            size = (match.groupdict().get("size") or "").casefold()
            spelled.append(
                _Found(entry=one.entry, header=one.header, tag=one.tag, size=words.get(size, size) or None)
            )
    return spelled


def _tag_pattern(base: Base) -> re.Pattern[str]:
    """`base.pattern` as a regular expression; a field that the profile does not give may be absent with its `-`."""
    given = {"size": base.sizes, "variant": base.variant and (base.variant,), "quant": base.quants}
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


def _nothing(base: Base, found: list[_Found], there: Sequence[str]) -> BaseProblem:
    """What is there, the nearest of it, and how to get what is wanted."""
    wanted = _wanted(base)
    pull = f"ollama pull {wanted}"
    if not found:
        close = did_you_mean(wanted, there) or did_you_mean(
            base.model, {name.partition(":")[0] for name in there}
        )
        return BaseProblem(
            f"the runtime has no model '{base.model}'", hint=f"{close} Or get it: {pull}" if close else pull
        )
    names = [f"{one.entry.name} ({quant_of(one.header)})" for one in found]
    listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    close = did_you_mean(wanted, [one.entry.name for one in found]) if _pinned_tag(base) else None
    hint = f"{close} Or get it: {pull}" if close else f"get one: {pull}"
    return BaseProblem(f"the runtime has no '{wanted}' as base asks for; it has {listed}", hint=hint)


def _wanted(base: Base) -> str:
    """The first name that the base would take."""
    if has_tag(base.model):
        return base.model
    if base.tag:
        return f"{base.model}:{base.tag}"
    first = {
        "size": base.sizes[0] if base.sizes else "",
        "variant": base.variant or "",
        "quant": base.quants[0] if base.quants else "",
    }
    tag = _PLACE.sub(
        lambda place: place[1] + first[place[2]] if first[place[2]] else "", base.pattern or PATTERN
    )
    return f"{base.model}:{tag.strip('-')}" if tag.strip("-") else base.model


def _candidate(one: _Found, base: Base) -> Candidate:
    name, digest = one.entry.name, one.entry.digest
    reason = why_no_model(one.header)
    if reason:
        raise BaseProblem(f"{name} is {reason}")
    try:
        shape, asked = made_of(one.header, base)
    except ForgeError as error:
        problems = [Problem(message=f"{name}: {p.message}", kind=p.kind, hint=p.hint) for p in error.problems]
        raise BaseProblem(problems=problems) from None
    return Candidate(
        ref=name,
        size=one.size or size_of(one.header, None, ""),
        quant=made_quant(base, one.header),
        digest=made_digest(digest if digest.startswith("sha256:") else f"sha256:{digest}", asked),
        source=ServedModel(name=name, digest=digest),
        shape=shape,
        quantize=asked,
    )
