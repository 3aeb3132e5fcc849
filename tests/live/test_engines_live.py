"""The engine and the images that the other live tests build on are the real thing, and leave nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from docker.errors import APIError
from docker.types import DeviceRequest

from tests.live import engines
from tests.live.engines import Engine, is_complete, make_image, short_folder, small_volume, why_none
from tests.live.servers import OLD

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 30.0
MIB = 1 << 20


def call(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()


def ask(port: int, path: str, **body: object) -> dict[str, Any]:
    status, text = call(port, "POST", path, json.dumps(body).encode())
    assert status == 200, text
    found: dict[str, Any] = json.loads(text)
    return found


def run(engine: Engine, image: str, volume: str = "models") -> int:
    """Starts a server in a container that may do little; gives its port on the loopback."""
    with engine.client() as client:
        limits = client.create_host_config(
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            tmpfs={"/tmp": ""},
            pids_limit=512,
            port_bindings={11434: ("127.0.0.1", None)},
            binds=[f"{volume}:/root/.ollama"],
        )
        container = client.create_container(image, ports=[11434], host_config=limits)["Id"]
        client.start(container)
        (published,) = client.port(container, 11434)
    return int(published["HostPort"])


def version(port: int) -> str:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return str(json.loads(call(port, "GET", "/api/version")[1])["version"])
        time.sleep(0.05)
    message = "the container does not answer"
    raise AssertionError(message)


def states(engine: Engine) -> list[str]:
    with engine.client() as client:
        return [container["State"] for container in client.containers(all=True)]


def left(engine: Engine) -> tuple[list[int], list[str], bool]:
    """Processes, mounts and the bridge that are still there."""
    bridge = Path("/sys/class/net", engine.name)
    return engine.processes(), engines._mounts(engine.folder), bridge.exists()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Engine]:
    """An engine of the test's own, started, with the older server's image."""
    if why_none() or not is_complete(OLD):
        pytest.skip(why_none() or f"no Ollama {OLD}; .ci/parts builds it")
    engine = Engine(folder=short_folder(tmp_path))
    try:
        engine.start()
        make_image(engine, OLD)
        yield engine
    finally:
        engine.remove()


def test_a_container_without_rights_answers(engine: Engine, image: str) -> None:
    assert version(run(engine, image)) == image.partition(":")[2]


def test_a_container_makes_and_runs_a_model(engine: Engine, image: str, tiny: Path) -> None:
    port = run(engine, image)
    version(port)
    digest = "sha256:" + hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert call(port, "POST", f"/api/blobs/{digest}", tiny.read_bytes())[0] == 201
    ask(port, "/api/create", model="tiny", files={"tiny.gguf": digest}, stream=False)
    answer = ask(
        port, "/api/generate", model="tiny", prompt="Hello", stream=False, options={"num_predict": 8}
    )
    assert answer["response"]


def test_a_small_volume_is_small(engine: Engine, image: str) -> None:
    with small_volume(engine, "small", 16) as folder:
        port = run(engine, image, "small")
        version(port)
        stat = os.statvfs(folder)
        assert stat.f_blocks * stat.f_frsize == 16 * MIB
        blob = bytes(17 * MIB)
        status, text = call(port, "POST", f"/api/blobs/sha256:{hashlib.sha256(blob).hexdigest()}", blob)
        assert status >= 400
        assert "no space left on device" in text
        assert (folder / "models" / "blobs").is_dir()


def test_each_test_has_an_empty_engine(engine: Engine, image: str) -> None:
    with engine.client() as client:
        client.create_network("net")
        run(engine, image, "kept")
        engine.clear()
        assert client.containers(all=True) == []
        assert not client.volumes()["Volumes"]
        assert client.networks(filters={"type": "custom"}) == []
        assert client.images(image)


def test_an_image_is_made_again_only_for_other_contents(engine: Engine, image: str, tmp_path: Path) -> None:
    choice, name = image.partition(":")[2], "example/other:1"
    (tmp_path / "one").write_text("1")
    with engine.client() as client:
        first = client.images(image)[0]["Id"]
        assert make_image(engine, choice) == image
        assert client.images(image)[0]["Id"] == first
        assert make_image(engine, choice, name=name, more={"/one": tmp_path / "one"}) == name
        other = client.images(name)[0]["Id"]
        (tmp_path / "one").write_text("12")
        assert make_image(engine, choice, name=name, more={"/one": tmp_path / "one"}) == name
        assert client.images(name)[0]["Id"] not in {first, other}
        client.remove_image(other, force=True)
        client.remove_image(name, force=True)


def test_an_image_can_have_other_programs(engine: Engine, image: str) -> None:
    programs = {f"/bin/{name}": Path(shutil.which(name) or name) for name in ("bash", "cat")}
    name = make_image(
        engine, image.partition(":")[2], name="example/more:1", more=programs, entrypoint=("/bin/bash", "-c")
    )
    with engine.client() as client:
        container = client.create_container(name, command=["cat /proc/self/comm"])["Id"]
        client.start(container)
        assert client.wait(container)["StatusCode"] == 0
        assert client.logs(container) == b"cat\n"
        client.remove_container(container)
        client.remove_image(name)


def test_a_restart_keeps_images_and_volumes(own: Engine) -> None:
    port = run(own, f"ollama/ollama:{OLD}")
    version(port)
    own.restart()
    own.start()
    assert states(own) == ["exited"]
    with own.client() as client:
        assert [volume["Name"] for volume in client.volumes()["Volumes"]] == ["models"]
        assert client.images(f"ollama/ollama:{OLD}")


def test_nothing_stays_after_a_stop(own: Engine) -> None:
    port = run(own, f"ollama/ollama:{OLD}")
    version(port)
    processes, mounts, bridge = left(own)
    assert processes
    assert mounts
    assert bridge
    own.stop()
    assert left(own) == ([], [], False)
    with pytest.raises(ConnectionRefusedError):
        call(port, "GET", "/api/version")


def test_nothing_stays_after_a_kill_and_a_stop(own: Engine) -> None:
    version(run(own, f"ollama/ollama:{OLD}"))
    own.kill()
    assert left(own)[0]
    own.stop()
    assert left(own) == ([], [], False)
    own.start()
    assert states(own) == ["exited"]


def test_nothing_stays_of_an_engine_that_can_no_longer_start(own: Engine) -> None:
    version(run(own, f"ollama/ollama:{OLD}"))
    own.kill()
    own.arguments = ("--no-such-flag",)
    with pytest.raises(RuntimeError, match="no-such-flag"):
        own.start()
    own.stop()
    assert left(own) == ([], [], False)


def test_what_is_first_on_its_path_counts(own: Engine, tmp_path: Path) -> None:
    """As a test needs it that gives an engine graphics cards which are not there."""
    hook = tmp_path / "hooks" / "nvidia-container-runtime-hook"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ncat > {tmp_path}/state\n")
    hook.chmod(0o755)
    cards = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    with own.client() as client:
        wanted = client.create_host_config(device_requests=cards)
        container = client.create_container(f"ollama/ollama:{OLD}", host_config=wanted)
        with pytest.raises(APIError, match="could not select device driver"):
            client.start(container)
    own.path = f"{hook.parent}{os.pathsep}{own.path}"
    own.restart()
    with own.client() as client:
        client.start(container)
        assert json.loads((tmp_path / "state").read_text())["id"] == container["Id"]
