"""Candidates that are models in a registry: planned from their manifests and the headers of their weights alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from modelforge.bases import Candidate, Found, RegistryModel
from modelforge.bases.headers import quant_of, size_of, wanted_quants
from modelforge.bases.quantized import made_digest, made_model, made_quant, only_sources
from modelforge.bases.ranged import FIRST
from modelforge.bases.tags import is_open, is_pinned, ladder, size_in, tag_pattern
from modelforge.errors import BaseProblem, did_you_mean
from modelforge.names import HOST, valid_tag
from modelforge.registry import MODEL_TYPE, PROJECTOR_TYPE, NotThere, reference_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelforge.bases import Blob
    from modelforge.bases.registrysource import Source
    from modelforge.gguf import Header
    from modelforge.profile.schema import Base
    from modelforge.registry import Manifest, Reference

_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class _There:
    """A model that is in the registry. `size` is the profile's word for it, where its tag tells."""

    reference: Reference
    manifest: Manifest
    size: str | None


def registry_candidates(base: Base, source: Source) -> Found:
    """The models in a registry that the base means.

    A tag or digest, in `base.model` or as `base.tag`, pins one. Else `sizes`, `variant` and `quants` say which tags
    are meant, spelled as `pattern` says: those that there are where the registry lists its tags, otherwise each one
    is asked for. Quants come from the headers, not from the tags. With `quantize` those in full precision are meant.

    Raises:
        UsageProblem: `base.model` is no name.
        NotThere: the registry has no such model.
        BaseProblem: it cannot be planned for.
        Unreachable: the registry cannot be asked, and what it said before is not enough.
    """
    quants = wanted_quants(base)
    reference = reference_of(base.model, base.tag)
    pinned = is_pinned(base)
    there, missing = _there(base, reference, source, pinned=pinned)
    weights = [_weights(one) for one in there]
    headers = source.headers(
        (one.reference.repository, blob, one.reference.name, FIRST)
        for one, blob in zip(there, weights, strict=True)
    )
    pairs = list(zip(there, headers, strict=True))
    if quants is not None and not pinned:
        pairs = [pair for pair in pairs if made_quant(base, pair[1]) in quants] or _refuse(
            base, source, pairs
        )
    sources = only_sources(base, [(one.reference.name, header) for one, header in pairs])
    kept = [pair for pair in pairs if pair[0].reference.name in sources]
    found = tuple(_candidate(one, header, base, insecure=source.registry.insecure) for one, header in kept)
    sizes = {one.size for one, _ in kept}
    missing += tuple(dict.fromkeys(one.size for one, _ in pairs if one.size and one.size not in sizes))
    notes = _about_sizes(base, source, reference, missing)
    return Found(candidates=found, notes=notes if reference.pinned else (*notes, *_about_age(source)))


def _there(
    base: Base, reference: Reference, source: Source, *, pinned: bool
) -> tuple[list[_There], tuple[str, ...]]:
    """The models that are meant, and the sizes of the ladder that there are none of."""
    if pinned:
        return [_pinned(reference, source)], ()
    listed = source.tags(reference.repository)
    if listed is None:
        return _of_ladder(base, reference, source)
    return _of_list(base, reference, source, listed)


def _pinned(reference: Reference, source: Source) -> _There:
    manifest = source.manifest(reference)
    if manifest is not None:
        return _There(reference=reference, manifest=manifest, size=None)
    tags = None if reference.pinned else source.tags(reference.repository)
    sign = "@" if reference.pinned else ":"
    message = f"the registry {source.host} has no {reference.repository}{sign}{reference.tag}"
    if tags:
        close = did_you_mean(reference.tag, tags)
        raise NotThere(
            message, hint=f"{close} It has {_listed(tags)}" if close else f"it has {_listed(tags)}"
        )
    raise NotThere(message, hint=_where_to_look(source, reference))


def _of_ladder(base: Base, reference: Reference, source: Source) -> tuple[list[_There], tuple[str, ...]]:
    """Every tag that is meant is asked for. Also gives the sizes of which there is none."""
    rungs = ladder(base)
    asked = [tag for rung in rungs for tag in (*rung.tags, *filter(None, (rung.otherwise,)))]
    asked = [tag for tag in dict.fromkeys(asked) if valid_tag(tag)]
    known = dict(zip(asked, source.manifests(map(reference.tagged, asked)), strict=True))
    there: list[_There] = []
    missing = []
    for rung in rungs:
        own = _existing(rung.tags, known, reference, rung.size)
        if not own and rung.otherwise:
            own = _existing((rung.otherwise,), known, reference, rung.size)
        if not own and rung.size:
            missing.append(rung.size)
        there += own
    if not there:
        raise NotThere(
            f"the registry {source.host} has no {reference.repository} as base asks for: no {_listed(asked)}",
            hint=_where_to_look(source, reference),
        )
    return _once_each(there), tuple(missing)


def _of_list(
    base: Base, reference: Reference, source: Source, listed: Sequence[str]
) -> tuple[list[_There], tuple[str, ...]]:
    """The listed tags that are meant. Also gives the sizes of which there is none."""
    pattern = tag_pattern(base)
    models = [
        tag for tag in listed if valid_tag(tag) and not tag.startswith("sha256-")
    ]  # those are signatures
    sizes = {tag: (True, None) if is_open(base) else size_in(base, pattern, tag) for tag in models}
    meant = [tag for tag in models if sizes[tag][0]]
    found = zip(meant, source.manifests(map(reference.tagged, meant)), strict=True)
    there = [
        _There(reference=reference.tagged(tag), manifest=manifest, size=sizes[tag][1])
        for tag, manifest in found
        if manifest is not None
    ]
    if not there:
        what = f"as base asks for; it has {_listed(models)}" if models else "at all"
        raise NotThere(
            f"the registry {source.host} has no {reference.repository} {what}",
            hint="correct base.model, sizes, variant, quants or pattern, or pin a tag",
        )
    missing = tuple(size for size in base.sizes or () if size not in {one.size for one in there})
    return _once_each(there), missing


def _existing(
    tags: Iterable[str], known: dict[str, Manifest | None], reference: Reference, size: str | None
) -> list[_There]:
    found = ((tag, known.get(tag)) for tag in tags)
    return [
        _There(reference=reference.tagged(tag), manifest=manifest, size=size)
        for tag, manifest in found
        if manifest is not None
    ]


def _once_each(there: list[_There]) -> list[_There]:
    """Without other names for the same: of several tags the longest, which tells most."""
    best: dict[str, _There] = {}
    for one in there:
        first = best.setdefault(one.manifest.digest, one)
        if len(one.reference.tag) > len(first.reference.tag):
            best[one.manifest.digest] = one
    return list(best.values())


def _weights(one: _There) -> Blob:
    blobs = one.manifest.of(MODEL_TYPE)
    name = one.reference.name
    if not blobs:
        raise BaseProblem(
            f"{name} has no GGUF weights", hint="choose another tag: only GGUF models can be planned for"
        )
    if len(blobs) > 1:
        raise BaseProblem(f"{name} has its weights in {len(blobs)} files, which is not supported yet")
    return blobs[0]


def _candidate(one: _There, header: Header, base: Base, *, insecure: bool) -> Candidate:
    name, manifest = one.reference.name, one.manifest
    shape, asked = made_model(header, base, name)
    return Candidate(
        ref=name,
        size=one.size or size_of(header, None, ""),
        quant=made_quant(base, header),
        digest=made_digest(manifest.digest, asked),
        source=RegistryModel(
            name=name,
            digest=manifest.digest,
            manifest=manifest.raw,
            blobs=manifest.blobs,
            insecure=insecure,
        ),
        shape=shape,
        projector_bytes=sum(blob.bytes for blob in manifest.of(PROJECTOR_TYPE)),
        quantize=asked,
    )


def _refuse(base: Base, source: Source, pairs: list[tuple[_There, Header]]) -> list[tuple[_There, Header]]:
    """Tags that promise a quant which their weights do not have."""
    names = [f"{one.reference.name} ({quant_of(header)})" for one, header in pairs]
    raise BaseProblem(
        f"no model of '{base.model}' has the quants that base asks for: {' '.join(base.quants or ())}",
        hint=f"the registry {source.host} has {_listed(names)}",
    )


def _about_sizes(base: Base, source: Source, reference: Reference, missing: Sequence[str]) -> tuple[str, ...]:
    if not missing:
        return ()
    sizes = f"{', '.join(missing)}{' in F16 or BF16' if base.quantize else ''}"
    return (f"the registry {source.host} has no {reference.repository} of size {sizes}",)


def _about_age(source: Source) -> tuple[str, ...]:
    if source.trouble is None or source.seen is None:
        return ()
    day = datetime.fromtimestamp(source.seen, tz=timezone.utc).astimezone().strftime("%Y-%m-%d")
    reason = source.trouble.problems[0].message
    return (f"the registry {source.host} cannot be reached ({reason}); planned with what was seen on {day}",)


def _where_to_look(source: Source, reference: Reference) -> str:
    if source.host != HOST:
        return "correct base.model, sizes, variant, quants, tag or pattern"
    return f"its tags are at https://ollama.com/{reference.repository}/tags"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
