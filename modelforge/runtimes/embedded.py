"""The runtime without a server: models are written into Ollama's store, and answer through llama.cpp in a child."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from modelforge import names
from modelforge.bases import HubFile, LocalFile, RegistryModel, ServedModel, SplitModel
from modelforge.bases.quantized import file_digest, taken_as_is
from modelforge.errors import BaseProblem, BuildFailed, Problem, SmokeFailed
from modelforge.events import Progress, Step
from modelforge.gguf import read_header
from modelforge.runtimes import BrokenModel, RuntimeInfo, recipe, store_bring
from modelforge.runtimes.blobs import refusals
from modelforge.runtimes.embedded_chat import (
    LOADING,
    OLLAMA_DEFAULTS,
    chat_format,
    conversation,
    makes_embeddings,
    prompt_of,
    request_body,
)
from modelforge.runtimes.embedding import only_chats, only_embeds
from modelforge.runtimes.llama import Llama, Loading
from modelforge.runtimes.standing import differences
from modelforge.runtimes.store import Store
from modelforge.units import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from modelforge.bases import Candidate
    from modelforge.download import Fetch
    from modelforge.events import Emit
    from modelforge.filehash import Hashes
    from modelforge.gguf import Header
    from modelforge.render import Rendered
    from modelforge.runtimes import (
        ChatReply,
        ChatRequest,
        Embeddings,
        Entry,
        ParameterValue,
        Placement,
        Standing,
    )
    from modelforge.runtimes.blobs import Added
    from modelforge.runtimes.recipe import Part, Recipe
    from modelforge.runtimes.store import Manifest

_DEFAULT_CONTEXT = 4096
_HOW = {"link": "hard link to", "reflink": "shared blocks of", "copy": "copied from", "there": ""}


def open_store(
    root: Path,
    *,
    link: bool,
    hashes: Hashes,
    lock: Callable[[], AbstractContextManager[None]],
    python: str,
    environment: Mapping[str, str],
    scratch: Path,
) -> EmbeddedRuntime:
    """The runtime over a store folder, which need not be there yet.

    Args:
        root: Ollama's store: the folder of `blobs` and `manifests`.
        link: weights become hard links where the file system can.
        hashes: digests of files that were hashed before.
        lock: held for each write to the store.
        python: the interpreter for the child process.
        environment: the child's.
        scratch: a folder for the child's log; made when it is needed.
    """
    llama = Llama(python=python, environment=environment, scratch=scratch)
    return EmbeddedRuntime(Store(root), llama, hashes=hashes, lock=lock, link=link)


class EmbeddedRuntime:
    """The Runtime protocol over a store and llama.cpp."""

    def __init__(
        self,
        store: Store,
        llama: Llama,
        *,
        hashes: Hashes,
        lock: Callable[[], AbstractContextManager[None]],
        link: bool,
    ) -> None:
        self.store = store
        self._llama = llama
        self._hashes = hashes
        self._lock = lock
        self._link = link

    @cached_property
    def info(self) -> RuntimeInfo:
        """Kind, version of llama.cpp's wrapper ("" where it is not installed), store folder."""
        from importlib import metadata  # noqa: PLC0415 (slow to import)

        try:
            version = metadata.version("xllamacpp")
        except metadata.PackageNotFoundError:
            version = ""
        return RuntimeInfo(kind="embedded", version=version, endpoint=str(self.store.root))

    def served(self, base: str) -> tuple[tuple[Entry, Header], ...]:
        """The store's models of that name, and the headers of their weights; those without are left out."""
        wanted = names.parse(base)
        found = []
        for entry in self.store.entries():
            name = names.parse(entry.name)
            same = name.key == wanted.key if names.has_tag(base) else name.repository == wanted.repository
            manifest = self.store.read(entry.name) if same else None
            if manifest is not None and manifest.of("model"):
                header = read_header(self._weights(entry.name, manifest))
                projector = sum(layer.size for layer in manifest.of("projector"))
                found.append((entry, replace(header, projector_bytes=projector)))
        return tuple(found)

    def expected(self, rendered: Rendered) -> Standing | None:
        """What a model created from `rendered` would have; None while its weights are not in the store."""
        source = taken_as_is(rendered.base)
        if isinstance(source, RegistryModel) and not store_bring.has(self.store, source):
            return None
        if rendered.base.files and self._files(rendered.base) is None:
            return None
        made, _ = self._recipe(rendered)
        if any(
            self.store.blobs.size(part.layer.digest) != part.layer.size for part in made.parts if part.path
        ):
            return None
        return recipe.without_manifest(recipe.standing(made, self.store))

    def bring(self, model: RegistryModel, fetch: Fetch, emit: Emit) -> ServedModel:
        """Downloads a model into the store, unless it is there."""
        return store_bring.bring(self.store, model, fetch, emit, lock=self._lock)

    def create(self, rendered: Rendered, name: str, emit: Emit) -> Standing:
        """Writes blobs, then the manifest; reads it back and compares."""
        made, warning = self._recipe(rendered)
        if warning:
            emit(Step(stage="create", text=warning, kind="warning"))
        with self._lock():
            self._write(made, name, emit)
        wanted, found = recipe.standing(made, self.store), self.show(name)
        wrong = differences(wanted, found) if found else ("nothing stands there",)
        if found is None or wrong:
            raise BuildFailed(
                f"{name} is not what was written: {'; '.join(wrong)}", hint="is somebody else at the store?"
            )
        return found

    def show(self, name: str) -> Standing | None:
        """What stands under `name`."""
        manifest = self.store.read(name)
        if manifest is None:
            return None
        for layer in manifest.layers:
            if self.store.blobs.size(layer.digest) != layer.size:
                raise BrokenModel(
                    f"{name} cannot be read: its {layer.kind} {layer.digest[:19]} is missing or cut",
                    hint="build it again, or delete it",
                )
        return recipe.read(manifest, self.store.text)

    def chat(
        self, name: str, request: ChatRequest, on_text: Callable[[str], None] | None = None
    ) -> ChatReply:
        """One answer. The conversation is put together and rendered as Ollama does it."""
        manifest, standing = self.store.read(name), self.show(name)
        if manifest is None or standing is None:
            raise SmokeFailed(f"there is no model {name} in {self.store.root}")
        model = self._weights(name, manifest)
        header = read_header(model)
        if makes_embeddings(header):
            raise only_embeds(name)
        options = {**OLLAMA_DEFAULTS, **standing.parameters, **request.options}
        turns = conversation(standing, request.messages)
        today = datetime.now().astimezone().date()
        prompt = prompt_of(standing, request, turns, (model, header), today=today)
        body = request_body(request, turns, prompt, options)
        seconds = self._llama.load(self._loading(manifest, model, options))
        return self._llama.chat(body, on_text or (lambda _text: None), load_seconds=seconds)

    def embed(self, name: str, texts: Sequence[str], options: Mapping[str, ParameterValue]) -> Embeddings:
        """A vector for each text, as a server makes it; one that is too long is refused."""
        manifest, standing = self.store.read(name), self.show(name)
        if manifest is None or standing is None:
            raise SmokeFailed(f"there is no model {name} in {self.store.root}")
        model = self._weights(name, manifest)
        if not makes_embeddings(read_header(model)):
            raise only_chats(name)
        loading = self._loading(manifest, model, {**standing.parameters, **options})
        seconds = self._llama.load(replace(loading, embedding=True))
        return self._llama.embed(texts, load_seconds=seconds)

    def copy(self, source: str, destination: str) -> None:
        """Gives the model another name."""
        with self._lock():
            self.store.copy(source, destination)

    def delete(self, name: str) -> None:
        """Removes a name, and the blobs that nothing else needs."""
        with self._lock():
            self.store.delete(name)

    def list(self) -> tuple[Entry, ...]:
        """All models of the store."""
        return self.store.entries()

    def placement(self, name: str) -> Placement | None:
        """Where the model lies, if it is the one that is loaded."""
        loaded, manifest = self._llama.loaded, self.store.read(name)
        if loaded is None or manifest is None or loaded.model != str(self._weights(name, manifest)):
            return None
        return self._llama.placement()

    def unload(self, name: str) -> None:
        """Ends llama.cpp, whatever it has loaded; there is only one model at a time."""
        del name
        self._llama.close()

    def close(self) -> None:
        """Ends llama.cpp."""
        self._llama.close()

    def _recipe(self, rendered: Rendered) -> tuple[Recipe, str]:
        """What to write, and a warning where the chat format is unknown ("" else)."""
        source, request = taken_as_is(rendered.base), rendered.request
        adapters = [self._adapter(path) for path in request.adapters]
        if isinstance(source, ServedModel | RegistryModel):
            base = self.store.read(source.name)
            if base is None or source.digest not in {"", base.digest}:
                raise BuildFailed(
                    f"{source.name} changed since the plan was made", hint="run the same command again"
                )
            return recipe.from_model(base, self.store, request, adapters), ""
        parts = self._files(rendered.base)
        if parts is None or parts[0].path is None:
            raise BuildFailed(f"the base {rendered.base.ref} was not brought to {self.store.root}")
        path, header = parts[0].path, read_header(parts[0].path)
        choice, warning = chat_format(path, header, request)
        defaults = (
            recipe.Defaults(template=choice.template, stop=choice.stop) if choice else recipe.Defaults()
        )
        return recipe.from_file(parts, header, request, adapters, defaults), warning

    def _files(self, base: Candidate) -> tuple[Part, ...] | None:
        """The model and its projector, each as a file that is here or as a blob; None if one of them is neither."""
        parts = []
        for kind, file in (("model", base.source), ("projector", base.projector)):
            if not isinstance(file, LocalFile | HubFile | SplitModel):
                continue
            digest = file_digest(file, self._hashes)
            size = self.store.blobs.size(digest) if digest else None
            here = file.whole if isinstance(file, SplitModel) else file
            if digest is None or (size is None and not isinstance(here, LocalFile)):
                return None
            path = here.path if isinstance(here, LocalFile) else self.store.blobs.path(digest)
            parts.append(recipe.file_part(kind, path, digest, path.stat().st_size))
        return tuple(parts)

    def _write(self, made: Recipe, name: str, emit: Emit) -> None:
        """Blobs first, then the name; if that fails, what is new is taken away again."""
        new = frozenset(
            part.layer.digest
            for part in (*made.parts, made.config)
            if self.store.blobs.size(part.layer.digest) is None
        )
        with refusals(self.store.root):
            self.store.blobs.sweep()
        with self.store.at_risk(new):
            try:
                for part in (*made.parts, made.config):
                    self._put(part, emit)
                self.store.write(name, made.config.layer, made.layers)
            except BaseException:  # Ctrl-C, too
                with suppress(BuildFailed):
                    self.store.drop_unused(new)
                raise

    def _adapter(self, path: Path) -> Part:
        header = read_header(path)
        if header.metadata.get("general.type") != "adapter":
            message = "no adapter: its general.type is not 'adapter'"
            hint = "convert it with llama.cpp's convert_lora_to_gguf.py"
            raise BaseProblem(
                problems=[Problem(message=message, kind=BaseProblem.kind, file=str(path), hint=hint)]
            )
        return recipe.file_part("adapter", path, self._hashes.sha256(path), header.file_bytes)

    def _put(self, part: Part, emit: Emit) -> None:
        blobs, layer = self.store.blobs, part.layer
        if part.data is not None:
            blobs.add_bytes(part.data)
        elif part.path is not None:
            self._import(part, part.path, emit)
        elif blobs.size(layer.digest) != layer.size:
            raise BuildFailed(
                f"the base's {layer.kind} {layer.digest[:19]} is missing or cut",
                hint="pull or build it again",
            )
        else:
            blobs.touch(layer.digest)

    def _import(self, part: Part, path: Path, emit: Emit) -> None:
        def told(done: int, whole: int) -> None:
            emit(Progress(stage="import", text=path.name, done=done, total=whole))

        added = self.store.blobs.add_file(path, digest=part.layer.digest, link=self._link, told=told)
        if added.how != "there":
            emit(Step(stage="import", text=_imported(added, path)))

    def _weights(self, name: str, manifest: Manifest) -> Path:
        layers = manifest.of("model")
        if not layers:
            raise SmokeFailed(f"{name} has no GGUF weights in this store")
        return self.store.blobs.path(layers[-1].digest)

    def _loading(self, manifest: Manifest, model: Path, options: Mapping[str, ParameterValue]) -> Loading:
        chosen: dict[str, Any] = {key: options[key] for key in LOADING if key in options}
        adapters = tuple(str(self.store.blobs.path(layer.digest)) for layer in manifest.of("adapter"))
        return Loading(**{"num_ctx": _DEFAULT_CONTEXT, **chosen, "model": str(model), "adapters": adapters})


def _imported(added: Added, path: Path) -> str:
    return f"{size_text(added.size)}, {_HOW[added.how]} {path.name}"
