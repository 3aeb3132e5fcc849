"""Fixtures that give a live test the real thing.

`server` is a real Ollama with an empty store, once for each of the servers that .ci/parts builds (or the one
on PATH). Processes live as long as the session; a test that kills or restarts one does no harm to the next.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.servers import PARTS, Server, binary_of, choices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
def tiny() -> Path:
    """A small real model: llama architecture, ChatML, 1024 tokens of context."""
    return MODELS / "forge-tiny-Q8_0.gguf"
