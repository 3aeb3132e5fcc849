"""Images from a real registry: pulled with progress, by digest, and what is said where it is gone."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import subprocess  # noqa: TID251 (starts the real registry; not part of the product)
import time
from typing import TYPE_CHECKING

import pytest

from tests.live.containers import docker_quickstart, ours, volumes
from tests.live.engines import SEARCH_PATH
from tests.live.servers import free_port
from tests.live.test_build_live import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.engines import Engine
    from tests.live.forge import Forge

CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: 127.0.0.1:{port}}}
"""


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/v2/")
        return connection.getresponse().status == http.HTTPStatus.OK
    return False


@contextlib.contextmanager
def running_registry(folder: Path, port: int) -> Iterator[None]:
    """A real registry on the loopback."""
    program = shutil.which("docker-registry", path=SEARCH_PATH)
    if program is None:
        pytest.skip("no docker-registry on this machine; .ci/parts installs it")
    config = folder / "registry.yml"
    config.write_text(CONFIG.format(root=folder / "registry", port=port), encoding="utf-8")
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 30
        while not answers(port):
            assert process.poll() is None, (folder / "registry.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def pushed(engine: Engine, image: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An image that only a registry has: its name, and its name by digest."""
    port = free_port()
    name = f"127.0.0.1:{port}/ollama:{image.partition(':')[2]}"
    with running_registry(tmp_path, port):
        with engine.client() as client:
            repository, _, tag = name.rpartition(":")
            client.tag(image, repository, tag)
            lines = list(client.push(repository, tag=tag, stream=True, decode=True))
            assert not [line for line in lines if "error" in line]
            digest = next(line["aux"]["Digest"] for line in lines if "aux" in line)
            client.remove_image(name)
        yield name, f"{repository}@{digest}"
    with engine.client() as client, contextlib.suppress(Exception):
        client.remove_image(name, force=True)


@pytest.fixture
def forge(engine: Engine, pushed: tuple[str, str], tmp_path: Path) -> Forge:
    return docker_quickstart(tmp_path / "forge", engine, pushed[0])


def test_an_image_is_pulled_and_the_journal_has_its_digest(
    engine: Engine, forge: Forge, pushed: tuple[str, str]
) -> None:
    done = forge.run("build", NAME)
    assert done.code == 0, done.err
    assert f"pull      {pushed[0]}" in done.err
    (entry,) = forge.run("history", NAME, "--json").document["entries"]
    assert entry["image"] == pushed[1]
    again = forge.run("build", NAME)
    assert "up to date" in again.err
    assert "pull" not in again.err
    assert ours(engine) == []


def test_an_image_by_its_digest(forge: Forge, pushed: tuple[str, str]) -> None:
    forge.environment["MODELFORGE_DOCKER_IMAGE"] = pushed[1]
    assert forge.run("build", NAME).code == 0
    (entry,) = forge.run("history", NAME, "--json").document["entries"]
    assert entry["image"] == pushed[1]


def test_a_tag_that_is_not_there(engine: Engine, forge: Forge, pushed: tuple[str, str]) -> None:
    forge.environment["MODELFORGE_DOCKER_IMAGE"] = f"{pushed[0]}-nope"
    done = forge.run("build", NAME)
    assert done.code == 10
    assert "cannot be pulled: there is no such image for this machine" in done.err
    assert (ours(engine), volumes(engine)) == ([], set())


def test_always_needs_the_registry_and_missing_does_not(engine: Engine, image: str, tmp_path: Path) -> None:
    port = free_port()
    name = f"127.0.0.1:{port}/ollama:1"
    with engine.client() as client:
        client.tag(image, f"127.0.0.1:{port}/ollama", "1")
    forge = docker_quickstart(tmp_path / "forge", engine, name, MODELFORGE_DOCKER_PULL="always")
    done = forge.run("build", NAME)
    assert done.code == 10
    assert "its registry cannot be reached" in done.err
    forge.environment["MODELFORGE_DOCKER_PULL"] = "missing"
    assert forge.run("build", NAME).code == 0
    with engine.client() as client:
        client.remove_image(name)
