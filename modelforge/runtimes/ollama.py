"""The `ollama` runtime: a server on this machine or any other, over its API or its own command.

Writes go one at a time behind the lock that `connect` is given; every one is read back. What holds when the
server dies in between is `build`'s, not ours.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from modelforge import names
from modelforge.bases import RegistryModel
from modelforge.errors import BuildFailed
from modelforge.http import HttpClient
from modelforge.runtimes import BrokenModel, Placement, RuntimeInfo, ollama_cli
from modelforge.runtimes.ollama_api import NOT_FOUND, OllamaApi, Refused
from modelforge.runtimes.ollama_base import Importing
from modelforge.runtimes.ollama_chat import chat
from modelforge.runtimes.ollama_embed import embed
from modelforge.runtimes.ollama_errors import reading, writing
from modelforge.runtimes.ollama_probe import version_key, version_of
from modelforge.runtimes.ollama_remove import remove
from modelforge.runtimes.ollama_request import check_sendable, request_body
from modelforge.runtimes.ollama_show import header_of, needs_verbose, standing_of
from modelforge.runtimes.ollama_weights import ADAPTER_FILE, Room, Upload, local_room, send_adapter
from modelforge.runtimes.standing import differences, merged
from modelforge.waiting import told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from modelforge.bases import ServedModel
    from modelforge.download import Fetch
    from modelforge.events import Emit
    from modelforge.filehash import Hashes
    from modelforge.gguf import Header
    from modelforge.http import Transport
    from modelforge.project_settings import Timeouts
    from modelforge.render import Rendered, Request
    from modelforge.runtimes import ChatReply, ChatRequest, Embeddings, Entry, ParameterValue, Standing
    from modelforge.runtimes.ollama_bring import Bringing
    from modelforge.runtimes.ollama_cli import Command
    from modelforge.runtimes.ollama_host import Host

Via: TypeAlias = Literal["api", "cli"]
Lock: TypeAlias = "Callable[[], AbstractContextManager[object]]"

_UNLOAD_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)


def connect(
    host: Host,
    *,
    timeouts: Timeouts,
    via: Via,
    lock: Lock,
    hashes: Hashes,
    command: Command,
    transport: Transport | None = None,
) -> OllamaRuntime:
    """The runtime of a server that answers.

    Args:
        host: where it is.
        timeouts: how long to wait for what.
        via: create over the API, or by the `ollama` command.
        lock: held around every write, so that writes to one server go one at a time.
        hashes: digests of local files.
        command: runs `ollama create`.
        transport: takes the place of the network in tests.

    Raises:
        Unreachable: nothing answers, what answers is no Ollama, or one that is too old.
    """
    api, version = reach(host, timeouts=timeouts, transport=transport)
    return OllamaRuntime(
        info=RuntimeInfo(kind="ollama", version=version, endpoint=host.display),
        api=api,
        via=via,
        lock=lock,
        hashes=hashes,
        command=command,
        room=lambda: _room_of(api) if host.loopback else None,
    )


def reach(host: Host, *, timeouts: Timeouts, transport: Transport | None = None) -> tuple[OllamaApi, str]:
    """The API of a server that answers, and its version.

    Raises:
        Unreachable: nothing answers, what answers is no Ollama, or one that is too old.
    """
    http = HttpClient(host.url, timeouts=timeouts, direct=host.loopback, transport=transport)
    api = OllamaApi(http, timeouts)
    try:
        return api, version_of(api, host)
    except BaseException:
        api.close()
        raise


def _room_of(api: OllamaApi) -> Room | None:
    """What is free in the server's store, where a listed model proves that it is on this machine."""
    listed = api.tags()
    try:
        return local_room(api.show(listed[0].name)) if listed else None
    except Refused:
        return None


class OllamaRuntime:
    """A server that answers. Made by `connect`, or by hand for one that we started."""

    def __init__(
        self,
        *,
        info: RuntimeInfo,
        api: OllamaApi,
        via: Via,
        lock: Lock,
        hashes: Hashes,
        command: Command,
        room: Callable[[], Room | None],
    ) -> None:
        self._info = info
        self._api = api
        self._via = via
        self._lock = lock
        self._hashes = hashes
        self._command = command
        self._room = room

    @property
    def info(self) -> RuntimeInfo:
        """Kind, version, endpoint."""
        return self._info

    def served(self, base: str) -> tuple[tuple[Entry, Header], ...]:
        """The models whose name is `base` (any tag, or just that one if it has a tag) and their headers."""
        names.parse(base)
        same = names.key if names.has_tag(base) else names.repository
        with self._reading():
            found = [entry for entry in self._api.tags() if same(entry.name) == same(base)]
            return tuple((entry, self._header(entry)) for entry in found)

    def expected(self, rendered: Rendered) -> Standing | None:
        """What a model created from `rendered` would have; None if its weights are not here, or cannot be read.

        Raises:
            UsageProblem: it has something that cannot be asked of Ollama.
        """
        check_sendable(rendered.request)
        source = rendered.base.source
        if isinstance(source, RegistryModel) and rendered.base.quantize is None:
            found = self._bringing().found(source)
            base = found[1] if found else None
        else:
            base = self._readable(self._importing().name(rendered.base))
        if base is None:
            return None
        return merged(base, rendered.request, [self._digest(path) for path in rendered.request.adapters])

    def bring(self, model: RegistryModel, fetch: Fetch, emit: Emit) -> ServedModel:
        """Has the server pull a model, or downloads it here and sends it where the server cannot.

        Raises:
            BuildFailed: it could not be brought.
            DownloadCut: the registry cannot be reached.
        """
        return self._bringing().bring(model, fetch, emit)

    def create(self, rendered: Rendered, name: str, emit: Emit) -> Standing:
        """Makes the model under `name`, its weights first if need be, reads it back and compares.

        Raises:
            UsageProblem: it has something that cannot be asked of Ollama.
            BaseProblem: its weights or adapters are no sound files.
            BuildFailed: it could not be made, or what stands there is not what was asked for.
        """
        check_sendable(rendered.request)
        names.parse(name)
        if self._via == "cli":
            ollama_cli.refuse_losses(rendered)
        with self._writing(f"create {name}"):
            base = self._importing().bring(rendered.base, emit)
            adapters = [Upload(path=path, digest=self._digest(path)) for path in rendered.request.adapters]
            wanted = merged(base[1], rendered.request, [upload.digest for upload in adapters])
            if self._via == "cli":
                ollama_cli.create(rendered.request, from_=base[0], name=name, command=self._command)
            else:
                self._make(rendered.request, adapters, from_=base[0], name=name, emit=emit)
            found = self._look(name, fresh=True)
        return self._checked(name, wanted, found)

    def show(self, name: str) -> Standing | None:
        """What stands under `name`; None if nothing.

        Raises:
            BrokenModel: something that cannot be read.
        """
        return self._look(name, fresh=True)

    def chat(
        self, name: str, request: ChatRequest, on_text: Callable[[str], None] | None = None
    ) -> ChatReply:
        """One answer, its text handed to `on_text` piece by piece as it comes.

        Raises:
            SmokeFailed: the model cannot be loaded, stopped answering, or makes embeddings only.
        """
        return chat(self._api, name, request, on_text)

    def embed(self, name: str, texts: Sequence[str], options: Mapping[str, ParameterValue]) -> Embeddings:
        """A vector for each text; one that the model cannot take whole is refused, never cut.

        Raises:
            SmokeFailed: the model cannot be loaded, makes no embeddings, or a text is too long.
        """
        return embed(self._api, name, texts, options)

    def copy(self, source: str, destination: str) -> None:
        """Gives the model another name, over what stood there, and makes sure that the name has it.

        Raises:
            BrokenModel: the source is there but cannot be read: a copy would be as broken.
            BuildFailed: there is no such source, or the copy failed.
        """
        names.parse(destination)
        with self._writing(f"copy {source} to {destination}"):
            if self._look(source, fresh=True) is None:
                raise BuildFailed(f"there is no {source} on {self._info.endpoint} to be copied")
            self._api.copy(source, destination)
            wanted, found = self._entry(source), self._entry(destination)
            if wanted is None or found is None or wanted.digest != found.digest:
                self._api.copy(source, destination)
                found = self._entry(destination)
            if found is None or (wanted is not None and wanted.digest != found.digest):
                raise BuildFailed(
                    f"{destination} does not have what {source} has after the copy",
                    hint="is another program writing to that server?",
                )

    def delete(self, name: str) -> None:
        """Removes a name, broken ones too; no error if it is not there."""
        with self._writing(f"delete {name}"):
            remove(self._api, name)

    def list(self) -> tuple[Entry, ...]:
        """All models that can be read, our own included."""
        with self._reading():
            return self._api.tags()

    def placement(self, name: str) -> Placement | None:
        """Where the model lies now; None if it is not loaded."""
        with self._reading():
            loaded = self._loaded(name)
            if len(loaded) > 1:  # an old version of the name may still be there
                entry = self._entry(name)
                digest = entry.digest.removeprefix("sha256:") if entry else ""
                loaded = tuple(one for one in loaded if one.get("digest") == digest) or loaded
            if not loaded:
                return None
            return Placement(
                bytes=int(loaded[-1].get("size") or 0), vram=int(loaded[-1].get("size_vram") or 0)
            )

    def unload(self, name: str) -> None:
        """Takes the model out of memory; no error if it is not loaded."""
        with self._reading():
            try:
                self._api.unload(name)
            except Refused as refused:
                if refused.status == NOT_FOUND or refused.unreadable:
                    return
                raise
            for pause in _UNLOAD_PAUSES:
                if not self._loaded(name):
                    return
                time.sleep(pause)

    def close(self) -> None:
        """Lets go of connections."""
        self._api.close()

    # -- reading ------------------------------------------------------------------------------------

    def _look(self, name: str, *, fresh: bool = False) -> Standing | None:
        """`show`; `fresh` has the server read every blob again but the weights, which are asked for anyway."""
        with self._reading():
            entry = self._entry(name)
            try:
                shown = self._api.show(name, fresh=fresh)
            except Refused as refused:
                if refused.status == NOT_FOUND and entry is None:
                    return None
                if refused.unreadable or refused.status == NOT_FOUND:
                    raise self._broken(name, refused.words) from refused
                raise
            entry = entry or self._entry(name)
            standing = standing_of(shown, entry.digest if entry else "")
            for digest in standing.weights:
                if not self._api.has_blob(digest):
                    raise self._broken(name, f"its weights {digest[:19]}… are gone")
            return standing

    def _broken(self, name: str, reason: str) -> BrokenModel:
        return BrokenModel(
            f"{name} on {self._info.endpoint} cannot be read ({reason})",
            hint=f"build it again, or restore it: modelforge rollback {name}",
        )

    def _entry(self, name: str) -> Entry | None:
        return next((one for one in self._api.tags() if names.same(one.name, name)), None)

    def _loaded(self, name: str) -> tuple[Mapping[str, Any], ...]:
        return tuple(one for one in self._api.running() if names.same(one["name"], name))

    def _digest(self, path: Path) -> str:
        return self._hashes.sha256(path)

    def _bringing(self) -> Bringing:
        from modelforge.runtimes.ollama_bring import Bringing  # noqa: PLC0415 (only for a base in a registry)

        return Bringing(
            api=self._api,
            endpoint=self._info.endpoint,
            version=version_key(self._info.version),
            look=lambda name: self._look(name, fresh=True),
            lock=self._lock,
            room=self._room,
        )

    def _importing(self) -> Importing:
        return Importing(
            api=self._api,
            endpoint=self._info.endpoint,
            version=version_key(self._info.version),
            look=lambda name: self._look(name, fresh=True),
            room=self._room,
            hashes=self._hashes,
        )

    def _readable(self, name: str) -> Standing | None:
        try:
            return self._look(name)
        except BrokenModel:
            return None

    def _header(self, entry: Entry) -> Header:
        shown = self._api.show(entry.name)
        if needs_verbose(shown):
            shown = self._api.show(entry.name, verbose=True)
        return header_of(shown, entry.bytes)

    # -- writing, under the lock ----------------------------------------------------------------------------

    def _make(
        self, request: Request, adapters: Sequence[Upload], *, from_: str, name: str, emit: Emit
    ) -> None:
        """One create; one more for each adapter but the last, as a server takes only one at a time."""
        for upload in adapters:
            send_adapter(self._api, upload, emit)
        with told(emit, stage="create", text="the server makes the model"):
            self._create(request, adapters, from_=from_, name=name)

    def _create(self, request: Request, adapters: Sequence[Upload], *, from_: str, name: str) -> None:
        for upload in adapters[:-1]:
            self._api.create({"model": name, "from": from_, "adapters": {ADAPTER_FILE: upload.digest}})
            from_ = name
        body: dict[str, Any] = {"model": name, "from": from_, **request_body(request)}
        if adapters:
            body["adapters"] = {ADAPTER_FILE: adapters[-1].digest}
        self._api.create(body)

    def _checked(self, name: str, wanted: Standing, found: Standing | None) -> Standing:
        if found is None:
            raise BuildFailed(f"{name} is not on {self._info.endpoint} after its create")
        said = differences(wanted, found)
        if said:
            raise BuildFailed(
                f"{self._info.endpoint} did not make {name} as it was asked to: {'; '.join(said)}",
                hint="is another program writing to that server? if not, this is a bug: report it",
            )
        return found

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self._info.endpoint)

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        with self._lock(), writing(self._info.endpoint, what):
            yield
