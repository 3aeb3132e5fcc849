"""Local weights on a server: sent and imported once for each content, under a name of our own.

Every variant is then created FROM that import. Before a byte is sent: the GGUF header is read (a hostile one
makes a whole 0.24 server panic), the server is asked whether it has the blob (it would not read it), and the
disk is looked at where the server's store is on this machine.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.engines import LLAMA_SERVER
from modelforge.errors import BaseProblem, BuildFailed, Problem
from modelforge.events import Progress, Step
from modelforge.gguf import read_header
from modelforge.http import CutOff, NoAnswer
from modelforge.runtimes import WEIGHTS
from modelforge.units import size_text
from modelforge.waiting import told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelforge.events import Emit
    from modelforge.runtimes.ollama_api import OllamaApi

FILE = "1-weights.gguf"
PROJECTOR_FILE = "2-projector.gguf"
ADAPTER_FILE = "adapter.gguf"
REWRITING = LLAMA_SERVER
"""The version from which a server rewrites each GGUF that it is sent."""
_TRIES = 24
_ENCODER = "clip"
"""The architecture of encoders of images and sound."""
_STORE = re.compile(r"^FROM (?P<folder>.+)[/\\]blobs[/\\](?P<blob>sha256-[0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Where a server's store is, in words, and how many bytes are free there."""

    where: str
    free: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A file on its way to a server. `digest` is `sha256:<hex>` of its bytes."""

    path: Path
    digest: str


def import_name(digest: str) -> str:
    """The name that a file with this digest (`sha256:<hex>`) is imported under."""
    return f"{WEIGHTS}:{digest.removeprefix('sha256:')[:32]}"


def send_weights(
    api: OllamaApi,
    name: str,
    uploads: Mapping[str, Upload],
    *,
    version: tuple[int, ...],
    room: Room | None,
    emit: Emit,
) -> None:
    """Sends a model's files and creates the import from them. May raise the API's `Refused`, and `CutOff`.

    Args:
        api: the server.
        name: what the import is to be called.
        uploads: the files by what the server is to call them: the model's and, if it has one, its projector's.
        version: the server's, for how much disk it takes.
        room: what is free on its disk, where that is known.
        emit: hears how far it is.

    Raises:
        BaseProblem: a file is no model that can be served.
        BuildFailed: the disk is too small.
    """
    check_files(uploads)
    there = {upload.digest for upload in uploads.values() if api.has_blob(upload.digest)}
    needed = sum(
        copies(version, there=upload.digest in there) * upload.path.stat().st_size
        for upload in uploads.values()
    )
    shown = uploads[FILE].path.name
    check_room(shown, needed, room)
    for upload in uploads.values():
        if upload.digest not in there:
            send_blob(api, upload, emit)
    text = f"{shown}: the server reads it"
    emit(Step(stage="import", text=text))
    with told(emit, stage="import", text=text):
        body = {"model": name, "files": {called: upload.digest for called, upload in uploads.items()}}
        create_from_files(api, body, version=version)


def create_from_files(api: OllamaApi, body: Mapping[str, Any], *, version: tuple[int, ...]) -> None:
    """Creates a model from GGUF files that the server has, its own weights first.

    Servers from 0.30 on take files by their names. Older ones take them in any order, a Go map's, and call the model
    what the first one is: asked again they take another order, which costs them no more than the headers.

    Raises:
        BuildFailed: the server never took its weights first.
    """
    for _ in range(_TRIES):
        api.create(body)
        if version >= REWRITING or len(body["files"]) == 1:
            return
        families = (api.show(body["model"]).get("details") or {}).get("families") or [""]
        if families[0] != _ENCODER:
            return
    raise BuildFailed(
        f"the server takes {body['model']} for an encoder of images, {_TRIES} times in a row",
        hint="use an Ollama from 0.30 on",
    )


def check_files(uploads: Mapping[str, Upload]) -> None:
    """Reads the headers of what is to be sent: a hostile one makes a whole 0.24 server panic.

    Raises:
        BaseProblem: a file is no sound GGUF, or an adapter.
    """
    for upload in uploads.values():
        if read_header(upload.path).metadata.get("general.type") == "adapter":
            raise _problem(upload.path, "is an adapter, not a model", "put it under adapters, over its base")


def send_adapter(api: OllamaApi, upload: Upload, emit: Emit) -> None:
    """Sends an adapter, unless the server has it.

    Raises:
        BaseProblem: it is none; Ollama would take a plain model in silence, as a second one.
    """
    if read_header(upload.path).metadata.get("general.type") != "adapter":
        hint = "its general.type must be 'adapter': convert it with llama.cpp's convert_lora_to_gguf.py"
        raise _problem(upload.path, "is no GGUF adapter", hint)
    if not api.has_blob(upload.digest):
        send_blob(api, upload, emit)


def send_blob(api: OllamaApi, upload: Upload, emit: Emit, *, text: str = "") -> None:
    """Sends a file, called `text`. A connection that breaks because the server has it by now is no error."""
    total = upload.path.stat().st_size

    def progress(done: int) -> None:
        emit(Progress(stage="import", text=text or upload.path.name, done=done, total=total))

    try:
        api.upload(upload.digest, upload.path, progress)
    except CutOff as broken:
        try:
            there = api.has_blob(upload.digest)
        except NoAnswer:
            raise broken from None
        if not there:
            raise


def local_room(show: Mapping[str, Any]) -> Room | None:
    """What is free in the server's store, if a model that it shows lies on this machine."""
    match = _STORE.search(show.get("modelfile") or "")
    if match is None:
        return None
    folder = Path(match["folder"])
    if not (folder / "blobs" / match["blob"]).exists():
        return None
    return Room(where=str(folder), free=shutil.disk_usage(folder).free)


def copies(version: tuple[int, ...], *, there: bool) -> int:
    """How many times a file's size an import takes: from 0.30 on it, a copy on the way, and the result, all at once."""
    return (3 if version >= REWRITING else 1) - there


def check_room(what: str, needed: int, room: Room | None) -> None:
    """Sees to it that a server can take so many bytes of `what`, where it is known how many are free there.

    Raises:
        BuildFailed: it cannot.
    """
    if room is not None and room.free < needed:
        raise BuildFailed(
            f"importing {what} needs {size_text(needed)} in {room.where}, where {size_text(room.free)} are free",
            hint="make room there, or give the server a store on a larger disk",
        )


def _problem(path: Path, message: str, hint: str) -> BaseProblem:
    problem = Problem(message=f"{path.name} {message}", kind=BaseProblem.kind, file=str(path), hint=hint)
    return BaseProblem(problems=(problem,))
