"""The base of a model on a server: one that is there, or weights under a name of our own, made at most once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge import names
from modelforge.bases import HubFile, LocalFile, RegistryModel, ServedModel, SplitModel
from modelforge.bases.quantized import file_digest, weights_digest
from modelforge.errors import BuildFailed
from modelforge.events import Progress
from modelforge.runtimes import BrokenModel
from modelforge.runtimes.ollama_make import Job, make_weights
from modelforge.runtimes.ollama_weights import FILE, PROJECTOR_FILE, Upload, import_name, send_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelforge.bases import Candidate
    from modelforge.events import Emit
    from modelforge.filehash import Hashes
    from modelforge.runtimes import Standing
    from modelforge.runtimes.ollama_api import OllamaApi
    from modelforge.runtimes.ollama_weights import Room


@dataclass(frozen=True, kw_only=True, slots=True)
class Importing:
    """One server to bring bases to, whose lock is held.

    `look` tells what stands under a name, read anew; `room` is what is free on its disk where that is known.
    """

    api: OllamaApi
    endpoint: str
    version: tuple[int, ...]
    look: Callable[[str], Standing | None]
    room: Callable[[], Room | None]
    hashes: Hashes

    def name(self, base: Candidate) -> str:
        """What the base is called on the server."""
        if isinstance(base.source, ServedModel) and base.quantize is None:
            return base.source.name
        return import_name(weights_digest(base, self.hashes))

    def bring(self, base: Candidate, emit: Emit) -> tuple[str, Standing]:
        """The base's name in the server's own spelling, which `from` insists on, and what it has.

        Raises:
            BaseProblem: a file is no model that can be served.
            BuildFailed: it is not there, or cannot be made.
        """
        name = ""
        if isinstance(base.source, ServedModel):
            entry = next((one for one in self.api.tags() if names.same(one.name, base.source.name)), None)
            standing = self.look(entry.name) if entry else None
            if entry is None or standing is None:
                raise BuildFailed(
                    f"the base {base.source.name} is not on {self.endpoint}",
                    hint=f"ollama pull {base.source.name}",
                )
            name = entry.name
            if base.quantize is None:
                return name, standing
        return self._import(base, name, emit)

    def _import(self, base: Candidate, served: str, emit: Emit) -> tuple[str, Standing]:
        """Weights under a name of our own; `served` is the base's name if the server has it."""
        name = import_name(weights_digest(base, self.hashes, _progress(base, emit)))
        try:
            standing = self.look(name)
        except BrokenModel:
            standing = None
        if isinstance(base.source, RegistryModel) and (base.quantize is None or standing is None):
            raise BuildFailed(f"the base {base.ref} was not brought to {self.endpoint}")
        if standing is None:
            self._make(base, name, served, emit)
            standing = self.look(name)
        if standing is None:
            raise BuildFailed(f"{base.ref} was imported, but {name} is not there")
        return name, standing

    def _make(self, base: Candidate, name: str, served: str, emit: Emit) -> None:
        uploads = self._uploads(base)
        if uploads and base.quantize is None:
            send_weights(self.api, name, uploads, version=self.version, room=self.room(), emit=emit)
        else:
            job = Job(base=base, name=name, served=served, version=self.version, room=self.room())
            make_weights(self.api, job, uploads, hashes=self.hashes, emit=emit)

    def _uploads(self, base: Candidate) -> Mapping[str, Upload]:
        """The GGUF files to be sent, by what the server is to call them; a server takes them in that order."""
        found = {}
        for called, file in ((FILE, base.source), (PROJECTOR_FILE, base.projector)):
            here = file.whole if isinstance(file, SplitModel) else file
            if isinstance(file, HubFile | SplitModel) and not isinstance(here, LocalFile):
                raise BuildFailed(f"the base {base.ref} was not brought to {self.endpoint}")
            digest = file_digest(file, self.hashes) if isinstance(file, LocalFile | SplitModel) else None
            if isinstance(here, LocalFile) and digest is not None:
                found[called] = Upload(path=here.path, digest=digest)
        return found


def _progress(base: Candidate, emit: Emit) -> Callable[[int], None]:
    total = getattr(base.source, "bytes", None)
    text = f"reading {base.ref.rpartition('/')[2]}"
    return lambda done: emit(Progress(stage="import", text=text, done=done, total=total))
