"""Candidates that are GGUF files in a repository of Hugging Face: planned from its list of files and their headers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING

from modelforge import quants
from modelforge.bases import Candidate
from modelforge.bases.headers import has_token, quant_of, size_of, wanted_quants, why_no_model
from modelforge.bases.quantized import made_digest, made_model, made_quant, only_sources, target_of
from modelforge.bases.registries import Found
from modelforge.errors import BaseProblem, did_you_mean
from modelforge.names import valid_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelforge.bases import HubFile
    from modelforge.bases.hub import ListedFile, Listing
    from modelforge.bases.hubsource import HubSource
    from modelforge.gguf import Header
    from modelforge.profile.schema import Base

HOSTS = frozenset({"hf.co", "huggingface.co"})
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
_NO_MODEL = ("mmproj", "imatrix")
_FULL = ("F16", "BF16")
"""Of these Ollama makes other quants."""
_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class _Named:
    """What a base names: `org/repo`, a branch, tag or commit there, and a quant, file or digest, None for a choice."""

    repository: str
    revision: str
    tag: str | None


def is_hub(model: str) -> bool:
    """Whether `base.model` names a repository of Hugging Face."""
    host, slash, _ = model.partition("/")
    return bool(slash) and host.casefold() in HOSTS


def hub_candidates(base: Base, source: HubSource) -> Found:
    """The GGUF files of a repository that the base means.

    A quant, a file's name or its digest (`sha256:<hex>`), behind the name or as `base.tag`, pins; else `quants`,
    `sizes` and `variant` choose, as they do among files. Headers are read of those files only whose names say a quant
    that is wanted, as far as names say any; which quant a file has, its header decides.

    Raises:
        BaseProblem: there is no such repository or file, or it cannot be planned for.
        Unreachable: it cannot be asked, and what it said before is not enough.
    """
    wanted, named = wanted_quants(base), _named(base)
    listing = source.listing(named.repository, named.revision)
    whole = _whole(listing, named)
    files = _pinned(named, whole) if named.tag else _to_read(base, named, whole, wanted)
    headers = source.headers(named.repository, listing.commit, files)
    pairs = list(zip(files, headers, strict=True))
    if not named.tag:
        pairs = _allowed(base, named, pairs, wanted)
    sources = only_sources(base, [(one.path, header) for one, header in pairs])
    pairs = [pair for pair in pairs if pair[0].path in sources]
    projector = _projector(listing)
    found = tuple(
        _candidate(base, source.file(ref, named.repository, listing.commit, one), header, projector)
        for ref, (one, header) in zip(_refs(named.repository, pairs), pairs, strict=True)
    )
    return Found(candidates=found, notes=(*_about_age(source), *_about_projector(projector)))


def _candidate(base: Base, file: HubFile, header: Header, projector: ListedFile | None) -> Candidate:
    shape, asked = made_model(header, base, f"{file.path} of hf.co/{file.repository}")
    return Candidate(
        ref=file.name,
        size=size_of(header, base.sizes, file.path) or size_of(header, None, ""),
        quant=made_quant(base, header),
        digest=made_digest(file.digest, asked),
        source=file,
        shape=shape,
        projector_bytes=projector.bytes if projector else 0,
        quantize=asked,
    )


def _named(base: Base) -> _Named:
    name, at, revision = base.model.partition("/")[2].partition("@")
    name, colon, own = name.partition(":")
    if not _NAME.fullmatch(name) or (at and not revision) or (colon and not own):
        raise BaseProblem(
            f"'{base.model}' is no repository of Hugging Face",
            hint='such as "hf.co/org/repo", with a branch or commit "hf.co/org/repo@main"',
        )
    if own and base.tag and own.casefold() != base.tag.casefold():
        raise BaseProblem(
            f"base.model says the tag '{own}', base.tag says '{base.tag}'", hint="give the tag once"
        )
    return _Named(repository=name, revision=revision or "main", tag=own or base.tag)


def _whole(listing: Listing, named: _Named) -> tuple[ListedFile, ...]:
    """The models that are one file each, with a digest."""
    models = [one for one in listing.files if not _says(one, *_NO_MODEL)]
    whole = tuple(one for one in models if not _PART.search(one.path) and one.digest)
    if whole and (not named.tag or _meant(named.tag, whole) or not _meant(named.tag, models)):
        return whole
    where = f"hf.co/{named.repository}"
    if not models:
        hint = "name one that has some: those of quants usually end in -GGUF"
        raise BaseProblem(f"{where} has no GGUF files of a model", hint=hint)
    left = _meant(named.tag, models) if named.tag else models
    if any(_PART.search(one.path) for one in left):
        raise BaseProblem(
            f"{where} has {named.tag or 'its models'} in parts only, and split models are not supported yet",
            hint="take a smaller quant that is one file; or download the parts, merge them into the project with "
            "llama-gguf-split --merge FIRST-PART WHOLE.gguf, and name that file",
        )
    raise BaseProblem(f"Hugging Face tells no digest of {left[0].path} of {where}, so it cannot be verified")


def _pinned(named: _Named, files: Sequence[ListedFile]) -> tuple[ListedFile, ...]:
    tag = named.tag or ""
    found = _meant(tag, files)
    if found:
        return found
    names = [word for one in files for word in (_quant_in(one), one.path.rpartition("/")[2]) if word]
    raise BaseProblem(
        f"hf.co/{named.repository} has no {tag}",
        hint=did_you_mean(tag, names) or f"it has {_listed([one.path for one in files])}",
    )


def _meant(tag: str, files: Iterable[ListedFile]) -> tuple[ListedFile, ...]:
    """The files that a tag means: by digest, name, or the quant in the name."""
    files, folded = tuple(files), tag.casefold()
    for names in (
        lambda one: {one.digest, one.path.casefold(), one.path.rpartition("/")[2].casefold()},
        lambda one: {_stem(one).casefold()},
        lambda one: {(_quant_in(one) or "").casefold()} - {""},
    ):
        wanted = {folded, (quants.canonical(tag) or tag).casefold()}
        found = tuple(one for one in files if wanted & names(one))
        if found:
            return found
    return tuple(one for one in files if has_token(_stem(one), tag))


def _to_read(
    base: Base, named: _Named, files: Sequence[ListedFile], wanted: tuple[str, ...] | None
) -> tuple[ListedFile, ...]:
    """Those whose headers are worth reading, 4 to 8 MiB each."""
    files = [one for one in files if not base.variant or has_token(_stem(one), base.variant)]
    spelled = _FULL if target_of(base) else wanted or quants.default_names()
    sure = tuple(one for one in files if _quant_in(one) in spelled)
    found = sure or tuple(one for one in files if not wanted or _quant_in(one) is None)
    return found or _refuse(base, named, [one.path for one in files])


def _allowed(
    base: Base, named: _Named, pairs: list[tuple[ListedFile, Header]], wanted: tuple[str, ...] | None
) -> list[tuple[ListedFile, Header]]:
    found = [
        (one, header)
        for one, header in pairs
        if (wanted is None or made_quant(base, header) in wanted)
        and (not base.sizes or size_of(header, base.sizes, _stem(one)) is not None)
    ]
    if not found:
        _refuse(base, named, [f"{one.path} ({quant_of(header)})" for one, header in pairs])
    return [pair for pair in found if why_no_model(pair[1]) is None] or found


def _refuse(base: Base, named: _Named, there: Sequence[str]) -> tuple[ListedFile, ...]:
    keys = {"sizes": base.sizes, "variant": base.variant and (base.variant,), "quants": base.quants}
    asked = ", ".join(f"{key} {' '.join(words)}" for key, words in keys.items() if words)
    raise BaseProblem(
        f"hf.co/{named.repository} has no file as base asks for: {asked}",
        hint=f"it has {_listed(there)}" if there else "correct base.variant",
    )


def _refs(repository: str, pairs: Sequence[tuple[ListedFile, Header]]) -> list[str]:
    """`hf.co/org/repo:Q4_K_M` as Ollama spells it, the file's name where several have that quant."""
    many = Counter(quant_of(header) for _, header in pairs)
    refs = []
    for one, header in pairs:
        quant, name = quant_of(header), one.path.rpartition("/")[2]
        alone = many[quant] == 1 and _quant_in(one) == quant
        refs.append(f"hf.co/{repository}:{quant if alone or not valid_tag(name) else name}")
    return refs


def _projector(listing: Listing) -> ListedFile | None:
    """The encoder of images or sound that would be loaded beside the model: the smallest in F16, else the smallest."""
    found = [one for one in listing.files if _says(one, "mmproj")]
    half = [one for one in found if _quant_in(one) == "F16"]
    return min(half or found, key=lambda one: one.bytes, default=None)


def _about_projector(projector: ListedFile | None) -> tuple[str, ...]:
    if projector is None:
        return ()
    return (f"{projector.path} is counted, but what is built takes text only: projectors are not added yet",)


def _about_age(source: HubSource) -> tuple[str, ...]:
    if source.trouble is None or source.seen is None:
        return ()
    day = datetime.fromtimestamp(source.seen, tz=timezone.utc).astimezone().strftime("%Y-%m-%d")
    reason = source.trouble.problems[0].message
    return (f"Hugging Face cannot be asked ({reason}); planned with what was seen on {day}",)


def _says(one: ListedFile, *words: str) -> bool:
    name = one.path.rpartition("/")[2].casefold()
    return any(word in name for word in words)


def _stem(one: ListedFile) -> str:
    return one.path.rpartition("/")[2][: -len(".gguf")]


def _quant_in(one: ListedFile) -> str | None:
    """The quant that a file's name says, or else its folder's, in llama.cpp's spelling."""
    folder = one.path.rpartition("/")[0]
    for text in (_stem(one), folder):
        found = _spellings().findall(text)
        if found:
            return quants.canonical(found[-1])
    return None


@cache
def _spellings() -> re.Pattern[str]:
    """A quant by itself: `Q4_K` is none in `Q4_K_XL`, which is a mix of somebody's own."""
    words = "|".join(sorted(map(re.escape, quants.spellings()), key=len, reverse=True))
    return re.compile(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9_])", re.IGNORECASE)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
