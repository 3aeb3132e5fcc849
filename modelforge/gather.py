"""What a base is made of, as files on this machine: what the Hub has is downloaded, a model in parts is joined."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from modelforge.bases import HubFile, LocalFile, SplitModel
from modelforge.bases.projectors import check_projector
from modelforge.bases.quantized import parts_digest
from modelforge.download import download_file, download_folder
from modelforge.events import Progress, Step
from modelforge.gguf import read_header
from modelforge.split import join, stem
from modelforge.units import size_text

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.bases import Candidate
    from modelforge.download import Fetch
    from modelforge.events import Emit
    from modelforge.filehash import Hashes


def to_fetch(base: Candidate, folder: Path, hashes: Hashes) -> int:
    """Bytes that would have to come from the Hub, at most, where the runtime has nothing of it."""
    source, files = base.source, base.files
    if base.on_hub and isinstance(source, SplitModel) and whole_file(source, folder, hashes).exists():
        files = files[len(source.parts) :]
    return sum(file.bytes for file in files if isinstance(file, HubFile) and not file.here.exists())


def whole_file(source: SplitModel, folder: Path, hashes: Hashes) -> Path:
    """The file that a model in parts is joined into. Hashes parts on this machine whose digests are not known."""
    return _place(source, parts_digest(source, hashes), folder)


def _place(source: SplitModel, digest: str, folder: Path) -> Path:
    first = source.parts[0]
    name = first.path if isinstance(first, HubFile) else first.path.name
    return folder / f"{digest.partition(':')[2][:16]}-{stem(name)}.gguf"


def gather(base: Candidate, fetch: Fetch, hashes: Hashes, emit: Emit) -> Candidate:
    """The same candidate, made of files that are here.

    Args:
        base: one that is not gathered.
        fetch: where the Hub's files come from, and the folder for what is made here.
        hashes: digests of files.
        emit: hears how far it is.

    Raises:
        BaseProblem: a file is not what it is named as.
        DownloadCut: the Hub cannot be reached.
        BuildFailed: there is no place for it, or what came is not what it should be.
    """
    source, projector = base.source, base.projector
    with download_folder(fetch.folder, emit):
        if isinstance(projector, HubFile):
            name = f"{projector.path} of hf.co/{projector.repository}"
            projector = download_file(fetch, projector, emit)
            check_projector(read_header(projector.path, name), name)
        if isinstance(source, HubFile):
            source = download_file(fetch, source, emit)
        elif isinstance(source, SplitModel):
            source = replace(source, whole=_joined(base.ref, source, fetch, hashes, emit))
    return replace(base, source=source, projector=projector)


def _joined(ref: str, source: SplitModel, fetch: Fetch, hashes: Hashes, emit: Emit) -> LocalFile:
    """The whole model. Parts that were downloaded for it go again: they would take its size once more."""
    parts = parts_digest(source, hashes)
    target = _place(source, parts, fetch.folder)
    if not target.exists():
        files = [_here(part, fetch, emit) for part in source.parts]
        text = f"{len(files)} parts of {ref}, {size_text(source.bytes)}, become one file"
        emit(Step(stage="import", text=text))

        def told(done: int, whole: int) -> None:
            emit(Progress(stage="import", text=f"joining {target.name}", done=done, total=whole))

        digest = join([file.path for file in files], target, told)
        hashes.keep_whole(parts, digest)
        for part in source.parts:
            if isinstance(part, HubFile):
                part.here.unlink(missing_ok=True)
    return LocalFile(path=target, bytes=target.stat().st_size)


def _here(part: LocalFile | HubFile, fetch: Fetch, emit: Emit) -> LocalFile:
    return download_file(fetch, part, emit) if isinstance(part, HubFile) else part
