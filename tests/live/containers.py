"""What the tests of the docker runtime need around it: a project for an engine, the user's own container, a look."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.live.forge import quickstart

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.engines import Engine
    from tests.live.forge import Forge

LABEL = "modelforge.claim"
VOLUME = "ollama"
PROMPT = "Write a function that adds two numbers."


def docker_quickstart(folder: Path, engine: Engine, image: str, **environment: str) -> Forge:
    """A copy of examples/quickstart that builds in containers of that image."""
    forge = quickstart(folder, MODELFORGE_DOCKER_IMAGE=image, **engine.environment, **environment)
    (forge.project / "modelforge.toml").write_text('runtime = "docker"\n', encoding="utf-8")
    return forge


def ours(engine: Engine) -> list[str]:
    """The names of modelforge's own containers, running or not."""
    with engine.client() as client:
        return [one["Names"][0] for one in client.containers(all=True, filters={"label": LABEL})]


def volumes(engine: Engine) -> set[str]:
    """The names of all volumes."""
    with engine.client() as client:
        return {one["Name"] for one in client.volumes()["Volumes"] or ()}


def caught(engine: Engine, *, seconds: float = 30) -> dict[str, Any]:
    """One of modelforge's server containers, inspected as soon as it runs."""
    until = time.monotonic() + seconds
    with engine.client() as client:
        while time.monotonic() < until:
            for one in client.containers(filters={"label": LABEL}):
                with contextlib.suppress(Exception):  # it may be gone again
                    found: dict[str, Any] = client.inspect_container(one["Id"])
                    if found["State"]["Running"] and "-look-" not in found["Name"]:
                        return found
            time.sleep(0.01)
    raise AssertionError("no container of modelforge's was ever there")


@dataclass
class Own:
    """The user's own Ollama, in a container that modelforge has nothing to do with."""

    port: int

    def call(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """One plain HTTP call: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, response.read().decode()

    def names(self) -> set[str]:
        """The models that it lists."""
        return {model["name"] for model in json.loads(self.call("GET", "/api/tags")[1])["models"]}

    def show(self, name: str) -> dict[str, Any]:
        """What it tells of a model."""
        status, text = self.call("POST", "/api/show", {"model": name})
        assert status == 200, text
        found: dict[str, Any] = json.loads(text)
        return found

    def answer(self, name: str, prompt: str = PROMPT) -> str:
        """What a model answers."""
        body = {
            "model": name,
            "messages": [{"role": "user", "content": prompt}],
            "stream": False,
            "options": {"temperature": 0, "seed": 1},
        }
        status, text = self.call("POST", "/api/chat", body)
        assert status == 200, text
        content: str = json.loads(text)["message"]["content"]
        return content


@contextlib.contextmanager
def own_ollama(engine: Engine, image: str, volume: str = VOLUME) -> Iterator[Own]:
    """`docker run -d -p 127.0.0.1::11434 -v ollama:/root/.ollama IMAGE`, until the end of the context."""
    with engine.client() as client:
        host = client.create_host_config(
            port_bindings={11434: ("127.0.0.1", None)}, binds=[f"{volume}:/root/.ollama"]
        )
        container = client.create_container(image, ports=[11434], host_config=host)["Id"]
        client.start(container)
        found = Own(port=int(client.port(container, 11434)[0]["HostPort"]))
        until = time.monotonic() + 30
        while True:
            try:
                found.call("GET", "/api/version")
                break
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < until, "the user's own container does not answer"
                time.sleep(0.02)
        try:
            yield found
        finally:
            client.remove_container(container, force=True)
