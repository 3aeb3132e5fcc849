"""Candidates that are GGUF files in the project."""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

from modelforge.bases import Candidate, LocalFile, SplitModel
from modelforge.bases.folder import folder_candidate
from modelforge.bases.headercache import kept_header
from modelforge.bases.headers import (
    has_token,
    is_projector,
    quant_of,
    size_of,
    wanted_quants,
    why_no_model,
)
from modelforge.bases.projectors import NO_PROJECTOR, check_projector, refuse_projector
from modelforge.bases.quantized import known_digest, made_of, made_quant, only_sources
from modelforge.errors import BaseProblem, ForgeError, Problem, UsageProblem, did_you_mean
from modelforge.gguf import read_header
from modelforge.same import Same
from modelforge.split import joined_header, parts_of, stem, why_part

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from modelforge.filehash import Hashes
    from modelforge.gguf import Header
    from modelforge.profile.schema import Base
    from modelforge.shape import ModelShape

_GLOB = re.compile(r"[*?\[]")
_HUB = frozenset({"hf.co", "huggingface.co"})
_SHOWN = 5
_ODD_HINT = "put the file there, take it away, or name the others in base.model"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """A model that the base matches: `ref` as Candidate has it, that of its first file; the header of all together."""

    ref: str
    files: tuple[LocalFile, ...]
    header: Header


def is_local(model: str, root: Path | None = None) -> bool:
    """Whether `base.model` means files rather than a model's name.

    It does if it begins with `./`, `../` or `/`; else, unless it names a registry (`is_registry`), if it
    ends in `.gguf` or has one of the glob characters `*?[`. With `root` it also does if it has a `/` and
    exists there. `qwen2.5-coder` and `qwen2.5-coder:7b` are names; `hf.co/…` is neither.
    """
    if model.startswith(("./", "../", "/")):
        return True
    if root is not None and "/" in model and (root / model).exists():
        return True
    return not is_registry(model) and (model.casefold().endswith(".gguf") or bool(_GLOB.search(model)))


def is_registry(model: str) -> bool:
    """Whether `base.model` names a registry: what stands before its first `/` is a host (`hf.co`, `localhost:5000`)."""
    host, slash, _ = model.partition("/")
    if not slash or host in {"", ".", ".."} or _GLOB.search(host):
        return False
    return "." in host or ":" in host or host == "localhost"


def is_hub(model: str) -> bool:
    """Whether `base.model` names a repository of Hugging Face."""
    host, slash, _ = model.partition("/")
    return bool(slash) and host.casefold() in _HUB


def local_candidates(
    base: Base, *, root: Path, hashes: Hashes, headers: Path | None = None
) -> tuple[Candidate, ...]:
    """The GGUF files that `base.model` matches and its other keys allow, in the order of their names; or a folder.

    Args:
        base: the profile's base. `tag` is a file's name, with or without `.gguf`, or a glob of names;
            `variant` and `sizes` are looked for in the names, `quants` in the headers.
        root: the project's folder; `base.model` is relative to it.
        hashes: for digests that are known already; nothing is hashed here.
        headers: the folder where headers are kept from one run to the next, None for nowhere.

    Raises:
        UsageProblem: a file lies outside of the project.
        BaseProblem: nothing matches, or a file that matches is damaged, incomplete or cannot be planned for.
    """
    quants = wanted_quants(base)
    try:
        path = _inside(base.model, root)
        if (root / path).is_dir():
            refuse_projector(base, "a folder of safetensors")
            return (folder_candidate(base, root.absolute() / path, _ref(path), root=root, hashes=hashes),)
        refs = _pinned(base, _confined(_matching(base.model, root), root)) or _refuse_missing(
            base.model, root
        )
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        hint = "check base.model and the permissions of its folders"
        raise BaseProblem(f"'{base.model}' cannot be looked for: {error}", hint=hint) from None
    found = _models(_read(refs, root, headers), base)
    sources = only_sources(base, [(one.ref, one.header) for one in found])
    chosen = [one for one in found if one.ref in sources and _allowed(one, base, quants)]
    if not chosen:
        raise _none_allowed(base, found)
    projector = _projector(base, root, headers)
    return tuple(_candidate(one, base, projector, hashes) for one in chosen)


def encoders_passed_over(base: Base, *, root: Path, headers: Path | None = None) -> tuple[str, ...]:
    """A word for each encoder of images or sound that `base.model` matches, which nothing says what to do with.

    For a base of which `local_candidates` has found some.
    """
    if base.projector is not None or (root / _inside(base.model, root)).is_dir():
        return ()
    found = _read(_pinned(base, _matching(base.model, root)), root, headers)
    return tuple(
        f'{one.ref} is left out: it is an encoder of images or sound; projector = "{one.ref}" in [base] adds it'
        for one in found
        if is_projector(one.header)
    )


def _matching(model: str, root: Path) -> tuple[str, ...]:
    """Paths relative to the root, as text, sorted."""
    pattern = _inside(model, root)
    if (root / pattern).exists():
        return (pattern,)
    if not _GLOB.search(pattern):
        return ()
    try:
        paths = [path for path in root.glob(pattern) if _is_gguf(path)]
    except (ValueError, NotImplementedError) as error:
        raise UsageProblem(f"'{model}' is no valid pattern: {error}", hint="use *, ? and **/ only") from None
    return tuple(sorted(path.relative_to(root).as_posix() for path in paths))


def _is_gguf(path: Path) -> bool:
    """A dot file is none: macOS writes `._model.gguf` beside the real one."""
    return path.suffix.casefold() == ".gguf" and not path.name.startswith(".")


def _inside(model: str, root: Path) -> str:
    """`model` relative to the root, without `./` and `..`."""
    path = os.path.normpath(model)
    for start in (str(root.absolute()), str(root.resolve())):
        if path.startswith("/") and os.path.commonpath((path, start)) == start:
            path = os.path.relpath(path, start)
    if path.startswith(("/", "../")) or path == "..":
        hint = f"paths are relative to the project's folder, {root}, and may not leave it"
        raise UsageProblem(f"'{model}' lies outside of the project", hint=hint)
    return path


def _confined(refs: tuple[str, ...], root: Path) -> tuple[str, ...]:
    """The same paths, none of them a link that leads out of the project."""
    for ref in refs:
        target = (root / ref).resolve()
        if not target.is_relative_to(root.resolve()):
            hint = "copy the file into the project: paths may not leave it, by links neither"
            raise UsageProblem(f"{_ref(ref)} is a link to {target}, outside of the project", hint=hint)
    return refs


def _pinned(base: Base, refs: tuple[str, ...]) -> tuple[str, ...]:
    """Those that `tag` names; all of them where there is no tag."""
    pinned = tuple(ref for ref in refs if base.tag is None or _is_pinned(ref, base.tag))
    if refs and not pinned:
        names = [ref.rpartition("/")[2] for ref in refs]
        hint = did_you_mean(base.tag or "", names) or f"there {_listed(map(_ref, refs))}"
        raise BaseProblem(f"no file of {base.model} is named '{base.tag}'", hint=hint)
    return pinned


def _is_pinned(ref: str, tag: str) -> bool:
    name = ref.rpartition("/")[2]
    names = (name, name.removesuffix(".gguf"), stem(ref), ref, _ref(ref))
    return any(text == tag or fnmatchcase(text, tag) for text in names)


def _refuse_missing(model: str, root: Path) -> NoReturn:
    """Nothing matches: names the nearest of what lies where the pattern's fixed part leads."""
    pattern = _inside(model, root)
    folder, missing = _fixed_part(pattern, root)
    where = _ref(folder.relative_to(root).as_posix())
    _confined((folder.relative_to(root).as_posix(),), root)
    if missing is not None:
        folders = [path.name for path in folder.iterdir() if path.is_dir()]
        hint = did_you_mean(missing, folders) or f"make it, or correct base.model; paths begin at {root}"
        raise BaseProblem(f"'{model}' matches no file: {where} has no folder '{missing}'", hint=hint)
    files = sorted(_ref(path.relative_to(root).as_posix()) for path in folder.iterdir() if _is_gguf(path))
    there = f"there {_listed(files)}" if files else f"no .gguf is in {where}"
    raise BaseProblem(f"'{model}' matches no file", hint=did_you_mean(_ref(pattern), files) or there)


def _fixed_part(pattern: str, root: Path) -> tuple[Path, str | None]:
    """The folder that the pattern's beginning leads to, and the name of the first one that is missing."""
    folder = root
    for part in pattern.split("/")[:-1]:
        if _GLOB.search(part):
            break
        if not (folder / part).is_dir():
            return folder, part
        folder /= part
    return folder, None


def _read(refs: tuple[str, ...], root: Path, headers: Path | None) -> tuple[_Found, ...]:
    """All models, or all that is wrong with their files at once."""
    found: list[_Found] = []
    problems: list[Problem] = []
    for names in dict.fromkeys(_whole(ref, problems) for ref in refs):
        try:
            if names:
                found.append(_read_model(names, root, headers))
        except BaseProblem as error:
            problems += error.problems
    if problems:
        raise BaseProblem(problems=problems)
    return tuple(found)


def _whole(ref: str, problems: list[Problem]) -> tuple[str, ...]:
    """All files of the model that a file belongs to; none, and a problem more, where its name cannot be right."""
    try:
        return parts_of(ref)
    except BaseProblem as error:
        problems += (replace(problem, file=_ref(ref)) for problem in error.problems)
        return ()


def _read_model(names: tuple[str, ...], root: Path, headers: Path | None) -> _Found:
    """A model in one file or several.

    Raises:
        BaseProblem: with all that is wrong with its files.
    """
    read: list[Header] = []
    problems: list[Problem] = []
    for name in names:
        try:
            read.append(_read_file(name, len(names), root, headers))
        except BaseProblem as error:
            problems += error.problems
    if problems:
        raise BaseProblem(problems=problems)
    files = tuple(
        LocalFile(path=root.absolute() / name, bytes=header.file_bytes)
        for name, header in zip(names, read, strict=True)
    )
    header = read[0] if len(read) == 1 else _joined(Same(*read), tuple(map(_ref, names)))
    return _Found(ref=_ref(names[0]), files=files, header=header)


@lru_cache(maxsize=128)
def _joined(headers: Same[Header], names: tuple[str, ...]) -> Header:
    return joined_header(headers.all, names)


def _read_file(name: str, parts: int, root: Path, headers: Path | None) -> Header:
    path = root.absolute() / name
    odd = _no_file(path)
    if odd:
        missing = parts > 1 and not path.exists() and not path.is_symlink()
        message = f"is missing: the model is split in {parts}" if missing else odd
        problem = Problem(message=message, kind=BaseProblem.kind, file=_ref(name), hint=_ODD_HINT)
        raise BaseProblem(problems=(problem,))
    _confined((name,), root)
    return _read_once(path, _ref(name), _stamp(path), headers)


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells that a file is still the same; empty where it cannot be looked at."""
    try:
        now = path.stat()
    except OSError:
        return ()
    return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=128)
def _read_once(path: Path, shown: str, _stamp: tuple[int, ...], headers: Path | None) -> Header:
    """The header, read once however many targets a command plans for, as long as the file stays the same."""
    return kept_header(path, shown, headers) if headers else read_header(path, shown)


@lru_cache(maxsize=128)
def _made_once(base: Base, _path: Path, header: Same[Header]) -> tuple[ModelShape, str | None]:
    return made_of(header.all[0], base)


def _no_file(path: Path) -> str:
    """What is wrong with a path that leads to no file, or "". Passed over, it would change the pick in silence."""
    if path.is_file():
        return ""
    if path.is_symlink() and not path.exists():
        return f"a link to {path.readlink()}, where nothing is"
    return "a folder, not a GGUF file" if path.is_dir() else "neither a file nor a folder"


def _models(found: tuple[_Found, ...], base: Base) -> tuple[_Found, ...]:
    """Without adapters, projectors and what else is no model; an error if that leaves none."""
    reasons = [(one, _left_out(one)) for one in found]
    models = tuple(one for one, reason in reasons if reason is None)
    if models:
        return models
    summary = f"'{base.model}' matches no model" if len(found) > 1 else ""
    raise BaseProblem(summary, problems=[reason for _, reason in reasons if reason is not None])


def _left_out(one: _Found) -> Problem | None:
    """Why a file is no candidate, or None if it is one."""
    part = why_part(one.header) if len(one.files) == 1 else None
    if part is not None:
        hint = "give all parts the names that llama.cpp gives them: NAME-00001-of-00003.gguf"
        return Problem(message=part, kind=BaseProblem.kind, file=one.ref, hint=hint)
    reason = why_no_model(one.header)
    if reason is None and not one.header.tensors:
        reason = "a header without weights, not a model"
    return Problem(message=reason, kind=BaseProblem.kind, file=one.ref) if reason else None


def _allowed(one: _Found, base: Base, quants: tuple[str, ...] | None) -> bool:
    """Whether size, variant and quant are ones that the profile wants. A pinned file is what was asked for."""
    if base.tag is not None:
        return True
    return (
        (quants is None or made_quant(base, one.header) in quants)
        and (not base.variant or has_token(stem(one.ref), base.variant))
        and (not base.sizes or size_of(one.header, base.sizes, stem(one.ref)) is not None)
    )


def _none_allowed(base: Base, found: tuple[_Found, ...]) -> BaseProblem:
    wanted = {"sizes": base.sizes, "variant": base.variant and (base.variant,), "quants": base.quants}
    asked = ", ".join(f"{key} {' '.join(words)}" for key, words in wanted.items() if words)
    there = [f"{one.ref} ({size_of(one.header, None, '') or '?'} {quant_of(one.header)})" for one in found]
    return BaseProblem(
        f"no file of '{base.model}' has what base asks for: {asked}", hint=f"there {_listed(there)}"
    )


def _projector(base: Base, root: Path, headers: Path | None) -> LocalFile | None:
    """The encoder that the profile names.

    Raises:
        UsageProblem: it lies outside of the project.
        BaseProblem: it is not there, or is no encoder.
    """
    if base.projector is None or base.projector.casefold() == NO_PROJECTOR:
        return None
    refs = _confined(_matching(base.projector, root), root) or _refuse_missing(base.projector, root)
    found = _read(refs, root, headers)
    if len(found) > 1:
        names = ", ".join(one.ref for one in found)
        raise BaseProblem(f"base.projector matches {names}", hint="a model takes one: name the file")
    check_projector(found[0].header, found[0].ref)
    return found[0].files[0]


def _candidate(one: _Found, base: Base, projector: LocalFile | None, hashes: Hashes) -> Candidate:
    try:
        shape, asked = _made_once(base, one.files[0].path, Same(one.header))
    except ForgeError as error:
        problems = [
            Problem(message=p.message, kind=p.kind, file=one.ref, hint=p.hint) for p in error.problems
        ]
        raise BaseProblem(problems=problems) from None
    found = Candidate(
        ref=one.ref,
        size=size_of(one.header, base.sizes, stem(one.ref)) or size_of(one.header, None, ""),
        quant=made_quant(base, one.header),
        digest=None,
        source=one.files[0] if len(one.files) == 1 else SplitModel(parts=one.files),
        shape=shape,
        projector_bytes=projector.bytes if projector else 0,
        projector=projector,
        quantize=asked,
    )
    return replace(found, digest=known_digest(found, hashes))


def _ref(path: str) -> str:
    return f"./{path}" if path != "." else "the project's folder"


def _listed(names: Iterable[str]) -> str:
    """`is a`, `are a, b`, `are a, b, c, d, e, …`."""
    shown = list(islice(names, _SHOWN + 1))
    verb = "is" if len(shown) == 1 else "are"
    return f"{verb} {', '.join(shown[:_SHOWN])}" + (", …" if len(shown) > _SHOWN else "")
