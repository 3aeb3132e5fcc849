"""A candidate that a server makes: `quantize` of a full-precision source, or a folder of safetensors converted."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from modelforge import requantize
from modelforge.bases import HubFile, LocalFile, LocalFolder, SplitModel
from modelforge.bases.headers import quant_of, why_no_model
from modelforge.errors import BaseProblem, ForgeError, Problem, UsageProblem, did_you_mean
from modelforge.same import Same
from modelforge.shape import shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from modelforge.bases import Candidate, RegistryModel, ServedModel
    from modelforge.filehash import Hashes
    from modelforge.gguf import Header
    from modelforge.profile.schema import Base
    from modelforge.shape import ModelShape

_OTHER_MIX = "Ollama before 0.30 mixes other types into such a model"


def target_of(base: Base) -> str | None:
    """The quant that the profile wants made, in llama.cpp's spelling; None if it wants none.

    Raises:
        BaseProblem: it is none that Ollama makes.
    """
    if base.quantize is None:
        return None
    target = requantize.canonical(base.quantize)
    if target is None:
        raise BaseProblem(
            f"Ollama makes no {base.quantize}; it makes {', '.join(requantize.TARGETS)}",
            hint=did_you_mean(base.quantize, requantize.TARGETS)
            or "make it with llama.cpp's llama-quantize, and name the file",
        )
    return target


def made_quant(base: Base, header: Header) -> str:
    """The quant that a candidate has in the end: what is made of it, else its own."""
    return target_of(base) or quant_of(header)


def is_source(base: Base, header: Header) -> bool:
    """Whether a server makes what the profile wants of a model; so it does of each where nothing is to be made."""
    return target_of(base) is None or requantize.why_no_source(header) is None


def only_sources(base: Base, headers: Sequence[tuple[str, Header]]) -> frozenset[str]:
    """The refs of which the wanted quant can be made; all of them where none is wanted.

    Raises:
        BaseProblem: of none, with the reason for each.
    """
    if target_of(base) is None:
        return frozenset(ref for ref, _ in headers)
    reasons = {ref: requantize.why_no_source(header) for ref, header in headers}
    sources = frozenset(ref for ref, reason in reasons.items() if reason is None)
    if reasons and not sources:
        hint = "name an F16 or BF16 model, or take 'quantize' out of [base]"
        problems = [
            Problem(
                message=f"{reason}, and 'quantize' needs F16 or BF16",
                kind=BaseProblem.kind,
                file=ref,
                hint=hint,
            )
            for ref, reason in reasons.items()
        ]
        raise BaseProblem(problems=problems)
    return sources


def made_of(header: Header, base: Base) -> tuple[ModelShape, str | None]:
    """The shape of what a server makes of a model, and the quant that it has to be asked for (None: as it is).

    Raises:
        BaseProblem: a key that is needed is missing in the header.
    """
    target = target_of(base)
    if target is None or target == quant_of(header):
        return shape_of(header), None
    return _made_once(Same(header), target), target


def made_model(header: Header, base: Base, name: str) -> tuple[ModelShape, str | None]:
    """The same of a model that is known by a name.

    Raises:
        BaseProblem: it is no model, or cannot be planned for.
    """
    reason = why_no_model(header)
    if reason:
        raise BaseProblem(f"{name} is {reason}")
    try:
        return made_of(header, base)
    except ForgeError as error:
        problems = [Problem(message=f"{name}: {p.message}", kind=p.kind, hint=p.hint) for p in error.problems]
        raise BaseProblem(problems=problems) from None


@lru_cache(maxsize=128)
def _made_once(header: Same[Header], target: str) -> ModelShape:
    source = header.all[0]
    shape = shape_of(requantize.requantized(source, target))
    if not requantize.older_differs(source, target):
        return shape
    return replace(shape, exact=False, inexact_because=(*shape.inexact_because, _OTHER_MIX))


def weights_digest(base: Candidate, hashes: Hashes, on_bytes: Callable[[int], None] | None = None) -> str:
    """`sha256:<hex>` that tells a candidate's weights from all others: the source's bytes, and what is made of them.

    Of a file that is taken as it is, that is the file's digest; of a model with a name its manifest's. One from a
    registry keeps the digest that it was planned with, whatever it is on the server that it was brought to.

    Args:
        base: the candidate.
        hashes: digests of files.
        on_bytes: told how many bytes have been read so far.

    Raises:
        BaseProblem: a file cannot be read.
    """
    source = base.source
    if isinstance(source, LocalFile):
        digest = hashes.sha256(source.path, on_bytes)
    elif isinstance(source, LocalFolder):
        digest = _folder_digest(source, hashes, on_bytes)
    elif isinstance(source, SplitModel):
        digest = parts_digest(source, hashes, on_bytes)
    elif base.digest is not None:
        return base.digest
    else:
        digest = source.digest
    own = [_file_digest(base.projector, hashes, None)] if base.projector else []
    return made_digest(digest, base.quantize, *own)


def made_digest(source: str, quantize: str | None, *projectors: str) -> str:
    """The digest of what is made of a source with this digest; the same where nothing is, and no projector is added."""
    made = source if quantize is None else _digest(f"{source} as {quantize}")
    return _digest(" with ".join((made, *projectors))) if projectors else made


def parts_digest(source: SplitModel, hashes: Hashes, on_bytes: Callable[[int], None] | None = None) -> str:
    """`sha256:<hex>` that tells a model in several files from all others."""
    return split_digest(_digests(source.parts, hashes, on_bytes))


def split_digest(parts: Iterable[str]) -> str:
    """The digest of a model whose parts have these digests, in their order."""
    return _digest("".join(f"{part}\n" for part in parts))


def file_digest(file: LocalFile | HubFile | SplitModel, hashes: Hashes) -> str | None:
    """`sha256:<hex>` of a GGUF file, of parts that of the file that they become; None if they never became one.

    Raises:
        BaseProblem: it cannot be read.
    """
    if isinstance(file, SplitModel):
        known = hashes.whole_of(parts_digest(file, hashes))
        return known or (hashes.sha256(file.whole.path) if file.whole else None)
    return _file_digest(file, hashes, None)


def known_digest(base: Candidate, hashes: Hashes) -> str | None:
    """The same if it can be told without reading a file."""
    source = base.source
    paths = [file.path for file in base.files if isinstance(file, LocalFile)]
    if isinstance(source, LocalFolder):
        paths = [source.path / name for name in source.files]
    return weights_digest(base, hashes) if all(map(hashes.known, paths)) else None


def taken_as_is(base: Candidate) -> LocalFile | SplitModel | ServedModel | RegistryModel | HubFile:
    """The source of a candidate of which nothing has to be made, for a runtime without a server.

    Raises:
        UsageProblem: the weights are ones that only a server can make.
    """
    if base.quantize is None and not isinstance(base.source, LocalFolder):
        return base.source
    cannot = f"make {base.quantize} of it" if base.quantize else "convert safetensors"
    raise UsageProblem(
        f"{base.ref}: the embedded runtime cannot {cannot}",
        hint="build it on an Ollama server or in Docker (--runtime ollama, --runtime docker), or convert it first "
        "(llama.cpp's convert_hf_to_gguf.py and llama-quantize) and name the GGUF file",
    )


def _folder_digest(source: LocalFolder, hashes: Hashes, on_bytes: Callable[[int], None] | None) -> str:
    files = [LocalFile(path=(path := source.path / name), bytes=path.stat().st_size) for name in source.files]
    digests = _digests(files, hashes, on_bytes)
    return _digest("".join(f"{digest} {name}\n" for digest, name in zip(digests, source.files, strict=True)))


def _digests(
    files: Sequence[LocalFile | HubFile], hashes: Hashes, on_bytes: Callable[[int], None] | None
) -> list[str]:
    """Of each file its digest; `on_bytes` hears of all of them as of one."""
    digests, before = [], 0
    for file in files:

        def told(done: int, start: int = before) -> None:
            if on_bytes:
                on_bytes(start + done)

        digests.append(_file_digest(file, hashes, told))
        before += file.bytes
    return digests


def _file_digest(file: LocalFile | HubFile, hashes: Hashes, on_bytes: Callable[[int], None] | None) -> str:
    return file.digest if isinstance(file, HubFile) else hashes.sha256(file.path, on_bytes)


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
