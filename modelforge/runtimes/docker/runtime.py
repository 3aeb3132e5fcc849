"""The `docker` runtime: an Ollama in a container of ours, over its API, and what it means when that one ends.

The models lie in the volume, which outlives the container. So the runtime is known by volume and engine: its locks and
its journal are the same for every container on them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelforge.download import DownloadCut, DownloadFailed
from modelforge.errors import BuildFailed, ForgeError, SmokeFailed, Unreachable
from modelforge.events import Step
from modelforge.runtimes import BrokenModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import ExitStack

    from modelforge.bases import RegistryModel, ServedModel
    from modelforge.download import Fetch
    from modelforge.events import Emit
    from modelforge.gguf import Header
    from modelforge.render import Rendered
    from modelforge.runtimes import (
        ChatReply,
        ChatRequest,
        Embeddings,
        Entry,
        ParameterValue,
        Placement,
        RuntimeInfo,
        Standing,
    )
    from modelforge.runtimes.docker.container import Container
    from modelforge.runtimes.ollama import OllamaRuntime


_OTHER_SETTINGS = (
    "unsupported OLLAMA_KV_CACHE_TYPE",
    "to use a quantized OLLAMA_KV_CACHE_TYPE",
    "kv cache type not supported by model",
    "quantized kv cache requested but flash attention disabled",
)


class DockerRuntime:
    """A server in a container of ours. Made by `open_runtime`; closing it removes the container."""

    def __init__(self, *, server: OllamaRuntime, container: Container, stack: ExitStack, emit: Emit) -> None:
        self._server = server
        self._container = container
        self._stack = stack
        self._emit = emit
        self._told: set[str] = set()

    @property
    def info(self) -> RuntimeInfo:
        """Kind, version, endpoint, image, GPUs."""
        return self._server.info

    def served(self, base: str) -> tuple[tuple[Entry, Header], ...]:
        """The models whose name is `base` (any tag, or just that one if it has a tag) and their headers."""
        with self._watched():
            return self._server.served(base)

    def expected(self, rendered: Rendered) -> Standing | None:
        """What a model created from `rendered` would have; None if its weights are not in the volume."""
        with self._watched():
            return self._server.expected(rendered)

    def bring(self, model: RegistryModel, fetch: Fetch, emit: Emit) -> ServedModel:
        """Has the server in the container pull a model, or downloads it here and sends it."""
        with self._watched(works=True):
            return self._server.bring(model, fetch, emit)

    def create(self, rendered: Rendered, name: str, emit: Emit) -> Standing:
        """Makes the model under `name`, its weights first if need be, reads it back and compares."""
        with self._watched(works=True):
            return self._server.create(rendered, name, emit)

    def show(self, name: str) -> Standing | None:
        """What stands under `name`; None if nothing."""
        with self._watched():
            return self._server.show(name)

    def chat(
        self, name: str, request: ChatRequest, on_text: Callable[[str], None] | None = None
    ) -> ChatReply:
        """One answer, its text handed to `on_text` piece by piece as it comes."""
        with self._watched(works=True):
            reply = self._server.chat(name, request, on_text)
        self._compare_settings()
        return reply

    def embed(self, name: str, texts: Sequence[str], options: Mapping[str, ParameterValue]) -> Embeddings:
        """A vector for each text."""
        with self._watched(works=True):
            embeddings = self._server.embed(name, texts, options)
        self._compare_settings()
        return embeddings

    def copy(self, source: str, destination: str) -> None:
        """Gives the model another name, over what stood there."""
        with self._watched(works=True):
            self._server.copy(source, destination)

    def delete(self, name: str) -> None:
        """Removes a name, broken ones too; no error if it is not there."""
        with self._watched(works=True):
            self._server.delete(name)

    def list(self) -> tuple[Entry, ...]:
        """All models that can be read, our own included."""
        with self._watched():
            return self._server.list()

    def placement(self, name: str) -> Placement | None:
        """Where the model lies now; None if it is not loaded."""
        with self._watched():
            return self._server.placement(name)

    def unload(self, name: str) -> None:
        """Takes the model out of memory; no error if it is not loaded."""
        with self._watched():
            self._server.unload(name)

    def close(self) -> None:
        """Stops and removes the container."""
        self._stack.close()

    @contextmanager
    def _watched(self, *, works: bool = False) -> Iterator[None]:
        """Says of a failure what the container knows of it; `ContainerEnded` where that is the reason."""
        self._container.worked |= works
        try:
            yield
        except (BrokenModel, DownloadCut, DownloadFailed):  # the container has nothing to do with a download
            raise
        except (Unreachable, BuildFailed, SmokeFailed) as error:
            if error.summary:  # found before the server was asked for anything
                self._container.check()
                raise
            self._container.settle()
            raise self._explained(error) from error

    def _explained(self, error: ForgeError) -> ForgeError:
        """The same error with the container's last lines, and its memory where that was the reason."""
        kind = next(one for one in (Unreachable, BuildFailed, SmokeFailed) if isinstance(error, one))
        first, short = error.problems[0], self._container.memory_was_short()
        killed = " (the system killed a process in the container: out of memory)" if short else ""
        hints = (self._container.memory_hint() if short else first.hint, self._container.tail.words())
        return kind(first.message + killed, hint="\n".join(filter(None, hints)) or None)

    def _compare_settings(self) -> None:
        """A server goes on without a KV cache type that it cannot have, and tells its log alone."""
        for line in self._container.tail.matching(*_OTHER_SETTINGS):
            if line not in self._told:
                self._told.add(line)
                text = f"the server does not run with what the plan counts on: {line.partition('msg=')[2] or line}"
                self._emit(Step(stage="smoke", text=text, kind="warning"))
