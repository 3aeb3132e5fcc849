"""From a spec to a runtime that answers: the container started, its API reached, the `ollama` runtime put over it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from modelforge.errors import Unreachable
from modelforge.journal import Journal
from modelforge.runtimes.docker.container import Container, Hopeless
from modelforge.runtimes.docker.engine import Declined
from modelforge.runtimes.docker.runtime import DockerRuntime
from modelforge.runtimes.docker.tunnel import RELAY, NoRelay, Tunnel, no_way, opened
from modelforge.runtimes.ollama import OllamaRuntime, reach
from modelforge.runtimes.ollama_host import parse_host
from modelforge.runtimes.ollama_weights import Room
from modelforge.waiting import told

if TYPE_CHECKING:
    from modelforge.process import Completed
    from modelforge.runtimes import RuntimeInfo
    from modelforge.runtimes.docker.claims import Claims
    from modelforge.runtimes.docker.engine import Engine
    from modelforge.runtimes.docker.exec_stream import ExecStream
    from modelforge.runtimes.docker.spec import Spec
    from modelforge.runtimes.ollama_api import OllamaApi
    from modelforge.site import Site

_LISTENING = "Listening on"
_DIRECTLY = 2.0
"""Seconds that a server which says it listens is asked at its published port before that counts as closed to us."""


def start(engine: Engine, spec: Spec, claims: Claims, site: Site, *, info: RuntimeInfo) -> DockerRuntime:
    """Starts the container and waits until its server answers.

    Raises:
        Unreachable: it cannot be started, or does not answer in time.
    """
    stack = ExitStack()
    try:
        with told(site.emit, stage="start", text=spec.name):
            return _started(Container(engine, spec, claims), site, stack, info)
    except BaseException:
        stack.close()
        raise


def _started(container: Container, site: Site, stack: ExitStack, info: RuntimeInfo) -> DockerRuntime:
    way = _Way(stack.enter_context(container), site, stack)
    seconds = 2 * site.project.settings.timeouts.call
    api, version = container.wait_for(way.reach, seconds=seconds)
    stack.callback(api.close)
    server = OllamaRuntime(
        info=replace(info, version=version),
        api=api,
        via=site.via,
        lock=Journal(site.state, info).writing,
        hashes=site.hashes,
        command=_Command(container),
        room=lambda: _room(container),
    )
    return DockerRuntime(server=server, container=container, stack=stack, emit=site.emit)


class _Way:
    """How the API is reached: at its published port, or through the engine where that port is not ours to see."""

    def __init__(self, container: Container, site: Site, stack: ExitStack) -> None:
        self._container = container
        self._site = site
        self._stack = stack
        self._direct = container.engine.endpoint.local
        self._port = 0
        self._tunnel: Tunnel | None = None
        self._listens_since: float | None = None

    def reach(self) -> tuple[OllamaApi, str]:
        """One try.

        Raises:
            Unreachable: not yet; `Hopeless` where trying again does not help.
        """
        if not self._port:
            self._port = (self._container.port if self._direct else 0) or self._through_engine()
        try:
            host = parse_host(f"127.0.0.1:{self._port}", source="the container")
            return reach(host, timeouts=self._site.project.settings.timeouts)
        except Unreachable:
            trouble = self._tunnel.trouble if self._tunnel else None
            if isinstance(trouble, NoRelay):
                raise Hopeless(str(trouble), hint=trouble.problems[0].hint) from trouble
            if self._direct and self._is_closed_to_us():
                self._direct, self._port = False, 0
            raise

    def _is_closed_to_us(self) -> bool:
        """We may be in a container beside the engine: then its loopback is not ours."""
        if self._listens_since is None and self._container.tail.matching(_LISTENING):
            self._listens_since = time.monotonic()
        return self._listens_since is not None and time.monotonic() - self._listens_since > _DIRECTLY

    def _through_engine(self) -> int:
        self._tunnel = self._stack.enter_context(Tunnel(self._dial))
        return self._tunnel.port

    def _dial(self) -> ExecStream:
        seconds = self._site.project.settings.timeouts.connect
        try:
            return opened(self._container.engine.dial(self._container.id, RELAY), seconds=seconds)
        except Declined as declined:
            raise no_way(declined.words) from declined


class _Command:
    """`ollama create` inside the container, its Modelfile on standard input."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def __call__(self, name: str, modelfile: bytes) -> Completed:
        container = self._container
        command = ["ollama", "create", name, "-f", "/dev/stdin"]
        return container.engine.execute(container.id, command, modelfile)


def _room(container: Container) -> Room | None:
    free = container.free()
    return None if free is None else Room(where=f"the volume {container.spec.volume}", free=free)
