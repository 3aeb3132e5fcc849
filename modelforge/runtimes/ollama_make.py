"""Weights that a server makes: safetensors that it converts, and quants of full precision, under a name of our own.

Both servers make them in one create (tried on v0.24.0 and v0.32.15). 0.24 tells each tensor that it is done with,
4,500 for a large model; 0.32 says nothing until it is done. A 0.24 whose client hangs up meanwhile may never end, so
the answer is read to its last line. What is sent stays on the server until it clears up when it starts.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelforge import quants
from modelforge.bases import LocalFile, LocalFolder, SplitModel
from modelforge.bases.folder import has_no_template
from modelforge.errors import BuildFailed, ForgeError
from modelforge.events import Progress, Step
from modelforge.runtimes.ollama_show import header_of, standing_of
from modelforge.runtimes.ollama_weights import (
    FILE,
    PROJECTOR_FILE,
    REWRITING,
    Upload,
    check_files,
    check_room,
    create_from_files,
    send_blob,
)
from modelforge.shape import shape_of
from modelforge.units import size_text
from modelforge.waiting import told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelforge.bases import Candidate
    from modelforge.events import Emit
    from modelforge.filehash import Hashes
    from modelforge.runtimes.ollama_api import OllamaApi
    from modelforge.runtimes.ollama_weights import Room

_SLOWEST = 10_000_000
"""Bytes of source that even a slow machine converts or quantizes in a second."""
_BETWEEN = 0.5
"""Seconds between two words of progress."""
_MOST_OFF = 0.01
"""How far the weights may be from the plan's without a warning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """An import to be made.

    `name` is what it is to be called, `served` the base's name in the server's spelling where it is there already.
    `version` is the server's, `room` what is free on its disk, where that is known.
    """

    base: Candidate
    name: str
    served: str
    version: tuple[int, ...]
    room: Room | None


def make_weights(
    api: OllamaApi, job: Job, files: Mapping[str, Upload], *, hashes: Hashes, emit: Emit
) -> None:
    """Sends what the server lacks and has it make the weights. May raise the API's `Refused`, and `CutOff`.

    Args:
        api: the server.
        job: what is to be made.
        files: the GGUF files to make it of, by what the server is to call them; none for a folder, or for a base that
            the server has.
        hashes: digests of files.
        emit: hears how far it is.

    Raises:
        BaseProblem: a file cannot be read.
        BuildFailed: the disk is too small, or the server made something else.
    """
    base = job.base
    check_files(files)
    uploads = {**files, **_folder_uploads(base, hashes)}
    if isinstance(base.source, LocalFolder) and has_no_template(base.source):
        text = f"{base.ref}: Ollama does not read chat_template.jinja; set chat_template_file, or put the template into"
        emit(Step(stage="import", text=f"{text} tokenizer_config.json", kind="warning"))
    missing = [upload for upload in uploads.values() if not api.has_blob(upload.digest)]
    check_room(base.ref, _needed(job, missing), job.room)
    for upload in missing:
        send_blob(api, upload, emit)
    what = "converts it" if isinstance(base.source, LocalFolder) else "reads it"
    text = f"{base.ref}: the server {f'makes {base.quantize} of it' if base.quantize else what}"
    emit(Step(stage="import", text=text))
    first, later = _steps(uploads, job)
    _create(api, _body(job, first), text=text, patience=_source_bytes(base) / _SLOWEST, emit=emit)
    _check(api, job, emit)
    if later:
        made = standing_of(api.show(job.name), "").weights[0]
        create_from_files(api, {"model": job.name, "files": {FILE: made, **later}}, version=job.version)


def _steps(uploads: Mapping[str, Upload], job: Job) -> tuple[Mapping[str, Upload], Mapping[str, str]]:
    """What the weights are made of, and the encoder that an older server is given afterwards, by its digest.

    It takes files in any order, and made of both at once it may call the model an encoder; it would have to make the
    weights again for another order.
    """
    if job.version >= REWRITING or PROJECTOR_FILE not in uploads:
        return uploads, {}
    first = {called: upload for called, upload in uploads.items() if called != PROJECTOR_FILE}
    return first, {PROJECTOR_FILE: uploads[PROJECTOR_FILE].digest}


def _folder_uploads(base: Candidate, hashes: Hashes) -> dict[str, Upload]:
    """The files of a folder, which keep their names."""
    source = base.source
    if not isinstance(source, LocalFolder):
        return {}
    paths = {name: source.path / name for name in source.files}
    return {name: Upload(path=path, digest=hashes.sha256(path)) for name, path in paths.items()}


def _body(job: Job, uploads: Mapping[str, Upload]) -> dict[str, Any]:
    body: dict[str, Any] = {"model": job.name}
    if uploads:
        body["files"] = {name: upload.digest for name, upload in uploads.items()}
    else:
        body["from"] = job.served
    if job.base.quantize:
        body["quantize"] = job.base.quantize
    return body


def _create(api: OllamaApi, body: Mapping[str, Any], *, text: str, patience: float, emit: Emit) -> None:
    """The create; while the server is silent the time is told, then what it says, but not each line."""
    with ExitStack() as stack:
        silence = stack.enter_context(told(emit, stage="import", text=text))
        api.create(body, on_line=_teller(text, emit, silence), patience=patience)


def _teller(text: str, emit: Emit, end_of_silence: Callable[[], None]) -> Callable[[Mapping[str, Any]], None]:
    """Tells the bytes of each line that has them, no more often than every half second."""
    last = float("-inf")

    def tell(line: Mapping[str, Any]) -> None:
        nonlocal last
        done, total = line.get("completed"), line.get("total")
        if not isinstance(done, int) or not isinstance(total, int) or total <= 0:
            return
        end_of_silence()
        now = time.monotonic()
        if now - last >= _BETWEEN or done >= total:
            last = now
            emit(Progress(stage="import", text=text, done=min(done, total), total=total))

    return tell


def _source_bytes(base: Candidate) -> int:
    source = base.source
    if isinstance(source, LocalFile | LocalFolder | SplitModel):
        return source.bytes
    return 2 * base.shape.parameters


def _needed(job: Job, missing: list[Upload]) -> int:
    """Bytes on the server's disk at the most: what is sent, what is converted, and the result.

    Each step writes its result twice before the first copy goes (server/create.go); 0.30 and later rewrite what they
    converted even where no quant is wanted.
    """
    sent = sum(upload.path.stat().st_size for upload in missing)
    result = job.base.shape.weights.file
    if not isinstance(job.base.source, LocalFolder):
        return sent + 2 * result
    if job.base.quantize is None:
        return sent + (3 if job.version >= REWRITING else 2) * result
    converted = 2 * job.base.shape.parameters
    return sent + max(2 * converted, converted + 2 * result)


def _check(api: OllamaApi, job: Job, emit: Emit) -> None:
    """Whether the server made what was asked for; if not, it is taken away again."""
    shown = api.show(job.name)
    details = shown.get("details") or {}
    level = str(details.get("quantization_level") or "unknown")
    wanted = job.base.quantize
    if wanted is not None and quants.canonical(level) != wanted:
        api.delete(job.name)
        raise BuildFailed(
            f"the server was asked for {wanted} of {job.base.ref}, but says that it made {level}",
            hint="look at the server's log; another Ollama may do better",
        )
    try:
        made = shape_of(header_of(shown, 0)).weights.file
    except ForgeError:  # what cannot be read back cannot be compared
        return
    planned = job.base.shape.weights.file
    if abs(made - planned) > _MOST_OFF * planned:
        text = f"{job.base.ref}: the plan counted on {size_text(planned)} of weights, the server made {size_text(made)}"
        emit(Step(stage="import", text=text, kind="warning"))
