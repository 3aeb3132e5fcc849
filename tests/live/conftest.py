"""Fixtures that give a live test the real thing.

`server` is a real Ollama with an empty store, once for each of the servers that .ci/parts builds (or the one
on PATH). `engine` is a real Docker engine without containers and volumes, `image` an image on it around each of
those servers. Processes live as long as the session; a test that kills or restarts one does no harm to the next.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelforge.filehash import Hashes
from modelforge.project_settings import Timeouts
from modelforge.runtimes.embedded import open_store
from modelforge.runtimes.ollama import connect
from modelforge.runtimes.ollama_cli import local_command
from modelforge.runtimes.ollama_host import parse_host
from tests.live.engines import Engine, is_complete, make_image, short_folder, why_none
from tests.live.servers import PARTS, Server, binary_of, choices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelforge.runtimes.embedded import EmbeddedRuntime
    from modelforge.runtimes.ollama import OllamaRuntime

MODELS = Path(__file__).parents[2] / "examples" / "quickstart" / "models"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Gives the server for one of `choices()`, started at its first use."""
    started: dict[str, Server] = {}

    def get(choice: str) -> Server:
        if choice not in started:
            binary = binary_of(choice)
            if binary is None:
                pytest.skip(f"no Ollama {choice} in {PARTS}, none on PATH; .ci/parts builds it")
            started[choice] = Server(binary=binary, folder=tmp_path_factory.mktemp("ollama"))
        return started[choice]

    yield get
    for server in started.values():
        server.stop()


@pytest.fixture(params=choices())
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Iterator[Server]:
    """A running real server without any models."""
    found = servers(request.param)
    if found.process is not None and found.process.poll() is not None:
        found.stop()
    found.start()
    found.clear()
    yield found
    if found.settings:
        found.stop()
        found.settings = {}


@pytest.fixture
def ollama(server: Server, tmp_path: Path) -> Iterator[OllamaRuntime]:
    """Our runtime over the server's API."""
    host = parse_host(server.host, "OLLAMA_HOST")
    opened = connect(
        host,
        timeouts=Timeouts(),
        via="api",
        lock=nullcontext,
        hashes=Hashes(tmp_path / "hashes"),
        command=local_command(host, environment=server.environment, seconds=300),
    )
    yield opened
    opened.close()


@pytest.fixture
def open_embedded(tmp_path: Path) -> Iterator[Callable[[Path], EmbeddedRuntime]]:
    """Opens our runtime without a server over a store, which need not be there yet."""
    opened: list[EmbeddedRuntime] = []

    def get(root: Path) -> EmbeddedRuntime:
        made = open_store(
            root,
            link=False,
            hashes=Hashes(tmp_path / "hashes"),
            lock=nullcontext,
            python=sys.executable,
            environment={"PATH": os.environ["PATH"]},
            scratch=tmp_path / "scratch",
        )
        opened.append(made)
        return made

    yield get
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Engine]]:
    """Gives the session's Docker engine, made at its first use."""
    made: list[Engine] = []

    def get() -> Engine:
        reason = why_none()
        if reason:
            pytest.skip(reason)
        if not made:
            made.append(Engine(folder=short_folder(tmp_path_factory.mktemp("engine"))))
        return made[0]

    yield get
    for engine in made:
        engine.remove()


@pytest.fixture
def engine(engines: Callable[[], Engine]) -> Iterator[Engine]:
    """A running real Docker engine without containers, volumes and networks; images stay from test to test."""
    found = engines()
    usual = (found.arguments, found.path)
    found.start()
    found.clear()
    yield found
    if (found.arguments, found.path) != usual:
        found.stop()
        found.arguments, found.path = usual


@pytest.fixture(params=choices())
def image(request: pytest.FixtureRequest, engine: Engine) -> str:
    """The name of an image around a real server, on the engine."""
    if not is_complete(request.param):
        pytest.skip(f"no Ollama {request.param} in {PARTS}; .ci/parts builds it")
    return make_image(engine, request.param)


@pytest.fixture
def tiny() -> Path:
    """A small real model: llama architecture, ChatML, 1024 tokens of context."""
    return MODELS / "forge-tiny-Q8_0.gguf"
