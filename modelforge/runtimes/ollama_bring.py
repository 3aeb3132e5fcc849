"""A model from a registry onto a server: the server pulls it, or gets from here what it cannot pull.

An Ollama cannot pull from a plain registry, which gives it the bytes but no Location ("no Location header in
response"); a server elsewhere may not reach a registry that we reach; and in a container loopback is another machine.
Then the blobs are downloaded here and sent. A server that could read the manifest needs no more than that: it finds
all blobs there when it pulls again. Any other gets an import under a name of our own, made of what the manifest says;
so does one that pulled what the tag means by now, for a plan holds by digest, and may be pinned to it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelforge import names
from modelforge.bases import ServedModel
from modelforge.download import download_all, download_folder
from modelforge.errors import BuildFailed
from modelforge.events import Progress, Step
from modelforge.runtimes import BrokenModel, recipe
from modelforge.runtimes.ollama_api import Refused
from modelforge.runtimes.ollama_errors import reading, writing
from modelforge.runtimes.ollama_import import manifest_of, read_import, unlike
from modelforge.runtimes.ollama_weights import (
    ADAPTER_FILE,
    Upload,
    check_room,
    copies,
    create_from_files,
    import_name,
    send_blob,
)
from modelforge.units import size_text
from modelforge.waiting import told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from modelforge.bases import RegistryModel
    from modelforge.download import Fetch
    from modelforge.events import Emit
    from modelforge.runtimes import Entry, Standing
    from modelforge.runtimes.ollama_api import OllamaApi
    from modelforge.runtimes.ollama_weights import Room

_NO_MANIFEST = "pull model manifest"
"""How a pull fails that did not even get the manifest (ollama server/images.go, v0.24.0 and v0.32.15)."""
_MOVED = "its registry has something else under that name by now"
_FINAL = ("no space left on device", "read-only file system", "permission denied", "newer version of Ollama")
"""What a server cannot do with blobs that come another way either."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bringing:
    """One server to bring models to.

    `look` tells what stands under a name, `lock` is held around every write, `room` is what is free on its disk where
    that is known.
    """

    api: OllamaApi
    endpoint: str
    version: tuple[int, ...]
    look: Callable[[str], Standing | None]
    lock: Callable[[], AbstractContextManager[object]]
    room: Callable[[], Room | None]

    def found(self, model: RegistryModel) -> tuple[Entry, Standing] | None:
        """This very model on the server, pulled or sent; None if it has not got it, or a part of it is gone."""
        with reading(self.endpoint):
            listed = self.api.tags()
        for entry in listed:
            pulled = names.same(entry.name, model.name) and entry.digest in _listed_digests(model)
            if not pulled and not names.same(entry.name, import_name(model.digest)):
                continue
            standing = self._readable(entry.name)
            # one that was sent gets its adapters later than its name
            if standing is not None and (pulled or len(standing.weights) == _weights(model)):
                return entry, standing
        return None

    def bring(self, model: RegistryModel, fetch: Fetch, emit: Emit) -> ServedModel:
        """Has the server pull it, or sends it, unless it is there.

        Raises:
            BuildFailed: neither can be done.
            DownloadCut: the registry cannot be reached from here.
        """
        found = self.found(model)
        if found is None:
            emit(Step(stage="pull", text=f"{model.name}, {size_text(_bytes(model))}"))
            with self._writing(f"pull {model.name}"):
                why = self._pull(model, emit)
            if why:
                text = f"the server cannot pull it ({why}): downloading it here, to send it"
                emit(Step(stage="pull", text=text))
                self._send(model, fetch, emit, again=not why.startswith((_NO_MANIFEST, _MOVED)))
            found = self.found(model)
        if found is None:
            raise BuildFailed(
                f"{model.name} was brought to {self.endpoint}, but it is not there",
                hint="is another program writing to that server?",
            )
        return ServedModel(name=found[0].name, digest=found[0].digest)

    def _readable(self, name: str) -> Standing | None:
        try:
            return self.look(name)
        except BrokenModel:
            return None

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        with self.lock(), writing(self.endpoint, what):
            yield

    # -- the server pulls ----------------------------------------------------------------------------

    def _pull(self, model: RegistryModel, emit: Emit) -> str:
        """Has the server pull; why it cannot, where there is another way, "" if it did."""
        whole = _bytes(model)
        done: Counter[str] = Counter()

        def on_line(line: Mapping[str, Any]) -> None:
            if line.get("digest"):
                done[str(line["digest"])] = int(line.get("completed") or 0)
                so_far = min(sum(done.values()), whole)
                emit(Progress(stage="pull", text=model.name, done=so_far, total=whole))

        try:
            self.api.pull(model.name, insecure=model.insecure, on_line=on_line)
        except Refused as refused:
            if any(words in refused.words for words in _FINAL):
                raise
            return refused.words
        listed = [one.digest for one in self.api.tags() if names.same(one.name, model.name)]
        return "" if set(listed) & _listed_digests(model) else _MOVED

    # -- we send -------------------------------------------------------------------------------------

    def _send(self, model: RegistryModel, fetch: Fetch, emit: Emit, *, again: bool) -> None:
        """Downloads what the server lacks and sends it; `again`: it may then be able to pull."""
        weights = {layer.digest for layer in manifest_of(model).of(*recipe.WEIGHTS)}
        with download_folder(fetch.folder, emit) as folder:
            with reading(self.endpoint):
                lacking = [blob for blob in model.blobs if not self.api.has_blob(blob.digest)]
            texts = [blob for blob in model.blobs if blob.digest not in weights]
            files = download_all(fetch, [*lacking, *texts], folder, name=model.name, emit=emit)
            with self._writing(f"take {model.name}"):
                self._upload(model, {blob.digest: files[blob.digest] for blob in lacking}, emit)
                if not again or self._pull(model, emit):
                    self._import(model, files, emit)
            for file in files.values():
                file.unlink(missing_ok=True)

    def _upload(self, model: RegistryModel, files: Mapping[str, Path], emit: Emit) -> None:
        check_room(model.name, sum(file.stat().st_size for file in files.values()), self.room())
        for digest, file in files.items():
            send_blob(self.api, Upload(path=file, digest=digest), emit, text=model.name)

    def _import(self, model: RegistryModel, files: Mapping[str, Path], emit: Emit) -> None:
        """Creates the import, reads it back, and takes it away again if it is not what it should be."""
        made, name = read_import(model, files), import_name(model.digest)
        check_room(model.name, copies(self.version, there=True) * made.bytes, self.room())
        with told(emit, stage="import", text=f"{model.name}: the server reads it"):
            create_from_files(self.api, {"model": name, **made.body}, version=self.version)
            for digest in made.adapters:
                self.api.create({"model": name, "from": name, "adapters": {ADAPTER_FILE: digest}})
        found = self.look(name)
        said = unlike(made, found) if found else ("nothing stands there",)
        if found is None or said:
            self.api.delete(name)
            raise BuildFailed(
                f"{self.endpoint} did not take {model.name} as it is: {'; '.join(said)}",
                hint=f"pull it where the server runs: ollama pull {model.name}",
            )
        if found.template and not made.wanted.template:
            text = f"{model.name} brings no chat template: the server added the one that it knows for its weights"
            emit(Step(stage="import", text=text, kind="warning"))


def _bytes(model: RegistryModel) -> int:
    return sum({blob.digest: blob.bytes for blob in model.blobs}.values())


def _weights(model: RegistryModel) -> int:
    return len(manifest_of(model).of(*recipe.WEIGHTS))


def _listed_digests(model: RegistryModel) -> set[str]:
    """What a server lists the model with: at some lengths it leaves a line feed at the manifest's end out."""
    bare = hashlib.sha256(model.manifest.rstrip(b"\n")).hexdigest()
    return {model.digest, f"sha256:{bare}"}
