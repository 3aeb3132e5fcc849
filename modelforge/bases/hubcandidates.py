"""Candidates that are GGUF files in a repository of Hugging Face: planned from its list of files and their headers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

from modelforge import quants
from modelforge.bases import Candidate, Found, SplitModel
from modelforge.bases.headers import has_token, quant_of, size_of, wanted_quants, why_no_model
from modelforge.bases.projectors import NO_PROJECTOR
from modelforge.bases.quantized import (
    made_digest,
    made_model,
    made_quant,
    only_sources,
    split_digest,
    target_of,
)
from modelforge.errors import BaseProblem, did_you_mean
from modelforge.names import valid_tag
from modelforge.split import joined_header, parts_of, stem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelforge.bases import HubFile
    from modelforge.bases.hub import ListedFile, Listing
    from modelforge.bases.hubsource import HubSource
    from modelforge.gguf import Header
    from modelforge.profile.schema import Base

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Model:
    """A model in a repository: its file, or its parts in their order. `path` is the first one's."""

    files: tuple[ListedFile, ...]

    @property
    def path(self) -> str:
        return self.files[0].path

    @property
    def digest(self) -> str:
        digests = [one.digest for one in self.files]
        return digests[0] if len(digests) == 1 else split_digest(digests)


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
    models = _models(listing, named)
    read = _pinned(named, models) if named.tag else _to_read(base, named, models, wanted)
    pairs = _with_headers(source, named.repository, listing.commit, read)
    if not named.tag:
        pairs = _allowed(base, named, pairs, wanted)
    sources = only_sources(base, [(one.path, header) for one, header in pairs])
    pairs = [pair for pair in pairs if pair[0].path in sources]
    projector = _projector(base, listing, named)

    def hub_file(ref: str, listed: ListedFile) -> HubFile:
        return source.file(ref, named.repository, listing.commit, listed)

    found = tuple(
        _candidate(
            base,
            tuple(hub_file(ref, listed) for listed in one.files),
            header,
            hub_file(ref, projector) if projector else None,
            digest=one.digest,
        )
        for ref, (one, header) in zip(_refs(named.repository, pairs), pairs, strict=True)
    )
    notes = () if named.tag else _about_parts(listing, named)
    return Found(candidates=found, notes=(*_about_age(source), *notes))


def _with_headers(
    source: HubSource, repository: str, commit: str, models: Sequence[_Model]
) -> list[tuple[_Model, Header]]:
    """The models with their headers, each read once: of parts they are those of the whole model."""
    read = iter(source.headers(repository, commit, [listed for one in models for listed in one.files]))
    pairs = []
    for one in models:
        headers = tuple(islice(read, len(one.files)))
        names = [f"{listed.path} of hf.co/{repository}" for listed in one.files]
        pairs.append((one, headers[0] if len(headers) == 1 else joined_header(headers, names)))
    return pairs


def _candidate(
    base: Base, files: tuple[HubFile, ...], header: Header, projector: HubFile | None, *, digest: str
) -> Candidate:
    first = files[0]
    shape, asked = made_model(header, base, f"{first.path} of hf.co/{first.repository}")
    return Candidate(
        ref=first.name,
        size=size_of(header, base.sizes, first.path) or size_of(header, None, ""),
        quant=made_quant(base, header),
        digest=made_digest(digest, asked, *([projector.digest] if projector else [])),
        source=first if len(files) == 1 else SplitModel(parts=files),
        shape=shape,
        projector_bytes=projector.bytes if projector else 0,
        projector=projector,
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


def _models(listing: Listing, named: _Named) -> tuple[_Model, ...]:
    """The models that are there whole, each file with a digest."""
    there = _of_models(listing)
    where = f"hf.co/{named.repository}"
    if not there:
        hint = "name one that has some: those of quants usually end in -GGUF"
        raise BaseProblem(f"{where} has no GGUF files of a model", hint=hint)
    sets = dict.fromkeys(map(_parts, there))
    whole = tuple(
        _Model(files=tuple(there[path] for path in paths))
        for paths in sets
        if all(path in there and there[path].digest for path in paths)
    )
    if whole and (not named.tag or _meant(named.tag, whole) or not _meant_among(named.tag, there.values())):
        return whole
    left = _meant_among(named.tag, there.values()) if named.tag else tuple(there.values())
    missing = [path for path in _parts(left[0].path) if path not in there]
    if missing:
        raise BaseProblem(
            f"{where} has {left[0].path}, but not all of that model's parts: {_listed(missing)} is missing",
            hint="take another quant",
        )
    raise BaseProblem(f"Hugging Face tells no digest of {left[0].path} of {where}, so it cannot be verified")


def _of_models(listing: Listing) -> dict[str, ListedFile]:
    """The files that are models or parts of them, by their paths."""
    return {one.path: one for one in listing.files if not _says(one, *_NO_MODEL)}


def _parts(path: str) -> tuple[str, ...]:
    """All parts of the model that a file belongs to; one whose name counts wrongly is by itself."""
    try:
        return parts_of(path)
    except BaseProblem:
        return (path,)


def _meant_among(tag: str, files: Iterable[ListedFile]) -> tuple[ListedFile, ...]:
    """The files that a tag means, whether or not all of their models are there."""
    return tuple(one.files[0] for one in _meant(tag, (_Model(files=(file,)) for file in files)))


def _pinned(named: _Named, files: Sequence[_Model]) -> tuple[_Model, ...]:
    tag = named.tag or ""
    found = _meant(tag, files)
    if found:
        return found
    names = [word for one in files for word in (_quant_in(one.path), one.path.rpartition("/")[2]) if word]
    raise BaseProblem(
        f"hf.co/{named.repository} has no {tag}",
        hint=did_you_mean(tag, names) or f"it has {_listed([one.path for one in files])}",
    )


def _meant(tag: str, files: Iterable[_Model]) -> tuple[_Model, ...]:
    """The models that a tag means: by digest, name, or the quant in the name."""
    files, folded = tuple(files), tag.casefold()
    for names in (
        lambda one: {one.digest, *(name for file in one.files for name in _names(file))},
        lambda one: {stem(one.path).casefold()},
        lambda one: {(_quant_in(one.path) or "").casefold()} - {""},
    ):
        wanted = {folded, (quants.canonical(tag) or tag).casefold()}
        found = tuple(one for one in files if wanted & names(one))
        if found:
            return found
    return tuple(one for one in files if has_token(stem(one.path), tag))


def _names(file: ListedFile) -> tuple[str, ...]:
    """What a file may be called, in small letters: its path, its name, its digest."""
    path = file.path.casefold()
    return path, path.rpartition("/")[2], file.digest


def _to_read(
    base: Base, named: _Named, files: Sequence[_Model], wanted: tuple[str, ...] | None
) -> tuple[_Model, ...]:
    """Those whose headers are worth reading, 4 to 8 MiB each."""
    files = [one for one in files if not base.variant or has_token(stem(one.path), base.variant)]
    spelled = _FULL if target_of(base) else wanted or quants.default_names()
    sure = tuple(one for one in files if _quant_in(one.path) in spelled)
    found = sure or tuple(one for one in files if not wanted or _quant_in(one.path) is None)
    if not found:
        _refuse(base, named, [one.path for one in files])
    return found


def _allowed(
    base: Base, named: _Named, pairs: list[tuple[_Model, Header]], wanted: tuple[str, ...] | None
) -> list[tuple[_Model, Header]]:
    found = [
        (one, header)
        for one, header in pairs
        if (wanted is None or made_quant(base, header) in wanted)
        and (not base.sizes or size_of(header, base.sizes, stem(one.path)) is not None)
    ]
    if not found:
        _refuse(base, named, [f"{one.path} ({quant_of(header)})" for one, header in pairs])
    return [pair for pair in found if why_no_model(pair[1]) is None] or found


def _refuse(base: Base, named: _Named, there: Sequence[str]) -> NoReturn:
    keys = {"sizes": base.sizes, "variant": base.variant and (base.variant,), "quants": base.quants}
    asked = ", ".join(f"{key} {' '.join(words)}" for key, words in keys.items() if words)
    raise BaseProblem(
        f"hf.co/{named.repository} has no file as base asks for: {asked}",
        hint=f"it has {_listed(there)}" if there else "correct base.variant",
    )


def _refs(repository: str, pairs: Sequence[tuple[_Model, Header]]) -> list[str]:
    """`hf.co/org/repo:Q4_K_M` as Ollama spells it, the file's name where several have that quant."""
    many = Counter(quant_of(header) for _, header in pairs)
    refs = []
    for one, header in pairs:
        quant, name = quant_of(header), one.path.rpartition("/")[2]
        alone = many[quant] == 1 and _quant_in(one.path) == quant
        refs.append(f"hf.co/{repository}:{quant if alone or not valid_tag(name) else name}")
    return refs


def _projector(base: Base, listing: Listing, named: _Named) -> ListedFile | None:
    """The encoder of images or sound: the one that the profile names, else the smallest in F16, else the smallest.

    Raises:
        BaseProblem: there is none as the profile names it.
    """
    found = [one for one in listing.files if _says(one, "mmproj") and one.digest]
    if base.projector is None:
        half = [one for one in found if _quant_in(one.path) == "F16"]
        return min(half or found, key=lambda one: one.bytes, default=None)
    asked = base.projector.casefold()
    if asked == NO_PROJECTOR:
        return None
    for one in listing.files:
        if asked in _names(one) and one.digest:
            return one
    names = [one.path for one in found]
    raise BaseProblem(
        f"hf.co/{named.repository} has no encoder {base.projector}",
        hint=did_you_mean(base.projector, names) or (f"it has {_listed(names)}" if names else "it has none"),
    )


def _about_parts(listing: Listing, named: _Named) -> tuple[str, ...]:
    """Models of which a part is missing: left out in silence they would make the pick a smaller one."""
    there = _of_models(listing)
    wanting = {
        stem(path): lacking
        for path in there
        if (lacking := [one for one in _parts(path) if one not in there])
    }
    return tuple(
        f"hf.co/{named.repository} has not all parts of {model}, which is left out: {_listed(lacking)} is missing"
        for model, lacking in wanting.items()
    )


def _about_age(source: HubSource) -> tuple[str, ...]:
    if source.trouble is None or source.seen is None:
        return ()
    day = datetime.fromtimestamp(source.seen, tz=timezone.utc).astimezone().strftime("%Y-%m-%d")
    reason = source.trouble.problems[0].message
    return (f"Hugging Face cannot be asked ({reason}); planned with what was seen on {day}",)


def _says(one: ListedFile, *words: str) -> bool:
    name = one.path.rpartition("/")[2].casefold()
    return any(word in name for word in words)


def _quant_in(path: str) -> str | None:
    """The quant that a file's name says, or else its folder's, in llama.cpp's spelling."""
    for text in (stem(path), path.rpartition("/")[0]):
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
