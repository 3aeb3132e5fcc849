"""Candidates that are models on the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from modelforge.bases import Candidate, ServedModel
from modelforge.bases.headers import quant_of, size_of, wanted_quants
from modelforge.bases.quantized import is_source, made_digest, made_model, made_quant, only_sources
from modelforge.bases.tags import is_open, is_pinned, size_in, tag_pattern, wanted_name
from modelforge.errors import BaseProblem, did_you_mean
from modelforge.names import is_reserved, parse
from modelforge.registry import reference_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelforge.gguf import Header
    from modelforge.profile.schema import Base
    from modelforge.registry import Reference

_SHOWN = 8


class NothingServed(BaseProblem):
    """The runtime has no model that the base means. `near` is a question after the nearest that it has, or None."""

    def __init__(self, message: str, *, wanted: str, near: str | None) -> None:
        self.near = near
        pull = f"ollama pull {wanted}"
        super().__init__(message, hint=f"{near} Or get it: {pull}" if near else f"get it: {pull}")


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

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of its manifest."""
        return f"sha256:{self.entry.digest.removeprefix('sha256:')}"


def served_candidates(
    base: Base, models: Sequence[tuple[Listed, Header]], *, there: Sequence[str] = ()
) -> tuple[Candidate, ...]:
    """The models on the runtime that the base means, in the order of the list.

    A tag or digest, in `base.model` or as `base.tag`, pins one. Else `sizes`, `variant` and `quants` say which tags
    are meant, spelled as `pattern` says; what is not given may be anything, or absent. Without any of
    them all tags of the name are candidates. Quants come from the headers, not from the tags.

    Args:
        base: the profile's base; `model` is a name, with or without a tag.
        models: what the runtime has under that name; other names are passed over.
        there: all names on the runtime, to find the nearest.

    Raises:
        UsageProblem: `base.model` is no name.
        NothingServed: there is no such model.
        BaseProblem: it cannot be planned for.
    """
    quants = wanted_quants(base)
    reference = reference_of(base.model, base.tag)
    found = _of_name(reference, models)
    if reference.pinned:
        chosen = [one for one in found if one.digest == reference.tag][:1]
    elif is_pinned(base):
        alike = [one for one in found if one.tag.casefold() == reference.tag.casefold()]
        chosen = [one for one in alike if one.tag == reference.tag] or alike
    else:
        chosen = [
            one
            for one in _spelled(base, found)
            if is_source(base, one.header) and (quants is None or made_quant(base, one.header) in quants)
        ]
    if not chosen:
        raise _nothing(base, found, there)
    sources = only_sources(base, [(one.entry.name, one.header) for one in chosen])
    return tuple(_candidate(one, base) for one in chosen if one.entry.name in sources)


def _of_name(reference: Reference, models: Sequence[tuple[Listed, Header]]) -> list[_Found]:
    """Models of the base's name; not what only names something in the cloud."""
    wanted = parse(reference.name).repository
    found = []
    for entry, header in models:
        tag = entry.name.rpartition("/")[2].partition(":")[2] or "latest"
        if not is_reserved(tag) and parse(entry.name).repository == wanted:
            found.append(_Found(entry=entry, header=header, tag=tag, size=None))
    return found


def _spelled(base: Base, found: list[_Found]) -> list[_Found]:
    """Those whose tag is spelled as the profile says; all of them where it says nothing."""
    if is_open(base):
        return found
    pattern = tag_pattern(base)
    spelled = []
    for one in found:
        matches, size = size_in(base, pattern, one.tag)
        if matches:
            spelled.append(_Found(entry=one.entry, header=one.header, tag=one.tag, size=size))
    return spelled


def _nothing(base: Base, found: list[_Found], there: Sequence[str]) -> NothingServed:
    """What is there, the nearest of it, and how to get what is wanted."""
    wanted = wanted_name(base)
    if not found:
        near = did_you_mean(wanted, there) or did_you_mean(
            base.model, {name.partition(":")[0] for name in there}
        )
        return NothingServed(f"the runtime has no model '{base.model}'", wanted=wanted, near=near)
    names = [f"{one.entry.name} ({quant_of(one.header)})" for one in found]
    listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    names_there = [one.entry.name for one in found]
    near = did_you_mean(wanted, names_there) if is_pinned(base) else None
    asked = (
        "in F16 or BF16, as 'quantize' needs" if base.quantize and not is_pinned(base) else "as base asks for"
    )
    message = f"the runtime has no '{wanted}' {asked}; it has {listed}"
    return NothingServed(message, wanted=wanted, near=near)


def _candidate(one: _Found, base: Base) -> Candidate:
    name = one.entry.name
    shape, asked = made_model(one.header, base, name)
    return Candidate(
        ref=name,
        size=one.size or size_of(one.header, None, ""),
        quant=made_quant(base, one.header),
        digest=made_digest(one.digest, asked),
        source=ServedModel(name=name, digest=one.entry.digest),
        shape=shape,
        projector_bytes=one.header.projector_bytes,
        quantize=asked,
    )
