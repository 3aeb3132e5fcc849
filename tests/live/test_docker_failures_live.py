"""What goes wrong on a real engine: each a clear error with the container's last lines, and nothing half-made."""

from __future__ import annotations

import contextlib
import http.server
import io
import os
import random
import shutil
import tarfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.containers import VOLUME, caught, docker_quickstart, ours, own_ollama, volumes
from tests.live.engines import make_image, small_volume
from tests.live.test_build_live import ANSWER, NAME
from tests.live.test_kills_live import FILE, build_seconds, fill, touch_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.engines import Engine
    from tests.live.forge import Forge

KILLS = int(os.environ.get("MODELFORGE_KILLS", "6"))
LAST_LINES = "the container's last lines:"


@pytest.fixture
def forge(engine: Engine, image: str, tmp_path: Path) -> Forge:
    return docker_quickstart(tmp_path / "forge", engine, image)


def empty_image(engine: Engine) -> str:
    """An image without any program."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("nothing"))
    with engine.client() as client:
        client.import_image_from_data(data.getvalue(), repository="example/empty", tag="1")
    return "example/empty:1"


@contextlib.contextmanager
def own_http() -> Iterator[int]:
    """A web server that is no engine; its port."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


# -- before anything is done ---------------------------------------------------------------------------


def test_no_engine(forge: Forge) -> None:
    forge.environment["DOCKER_HOST"] = f"unix://{forge.folder}/nobody.sock"
    done = forge.run("build", NAME)
    assert done.code == 10
    assert "No Docker engine answers at" in done.err
    assert "there is no such socket; DOCKER_HOST names it" in done.err
    assert "start it:" in done.err


def test_what_answers_is_no_engine(forge: Forge) -> None:
    with own_http() as port:
        forge.environment["DOCKER_HOST"] = f"tcp://127.0.0.1:{port}"
        done = forge.run("build", NAME)
    assert done.code == 10
    assert "No Docker engine answers at tcp://127.0.0.1" in done.err
    assert "Traceback" not in done.err


def test_an_image_that_is_not_there_and_cannot_be_pulled(engine: Engine, forge: Forge) -> None:
    forge.environment["MODELFORGE_DOCKER_IMAGE"] = "127.0.0.1:9/ollama:1"
    done = forge.run("build", NAME)
    assert done.code == 10
    assert "The image 127.0.0.1:9/ollama:1 cannot be pulled: its registry cannot be reached" in done.err
    forge.environment["MODELFORGE_DOCKER_PULL"] = "never"
    done = forge.run("build", NAME)
    assert done.code == 10
    assert "is not to be pulled" in done.err
    assert "docker pull 127.0.0.1:9/ollama:1" in done.err
    assert (ours(engine), volumes(engine)) == ([], set())


def test_looking_makes_and_pulls_nothing(engine: Engine, forge: Forge) -> None:
    done = forge.run("build", NAME, "--dry-run")
    assert done.code == 0, done.err
    assert "does not stand yet" in done.out
    for words in (("list",), ("resolve", NAME), ("render", NAME), ("hardware",), ("history", NAME)):
        assert forge.run(*words).code == 0
    assert (ours(engine), volumes(engine)) == ([], set())


def test_an_image_without_ollama(engine: Engine, forge: Forge) -> None:
    forge.environment["MODELFORGE_DOCKER_IMAGE"] = empty_image(engine)
    done = forge.run("build", NAME)
    assert done.code == 10
    assert "The image has no Ollama" in done.err
    assert ours(engine) == []


def test_an_image_that_does_something_else(engine: Engine, image: str, forge: Forge) -> None:
    programs = {f"/bin/{name}": Path(shutil.which(name) or name) for name in ("bash", "sleep")}
    script = 'echo "I am no server"; sleep 60'
    choice = image.partition(":")[2]
    other = make_image(
        engine, choice, name="example/other:1", more=programs, entrypoint=("/bin/bash", "-c", script)
    )
    forge.environment |= {"MODELFORGE_DOCKER_IMAGE": other, "MODELFORGE_CALL_TIMEOUT": "1"}
    done = forge.run("build", NAME)
    assert done.code == 10
    assert "The server in the container does not answer: it did not answer within 2 s" in done.err
    assert f"{LAST_LINES}\n    I am no server" in done.err
    assert ours(engine) == []
    ending = make_image(
        engine,
        choice,
        name="example/other:2",
        more=programs,
        entrypoint=("/bin/bash", "-c", "echo bye; exit 3"),
    )
    forge.environment |= {"MODELFORGE_DOCKER_IMAGE": ending}
    done = forge.run("build", NAME)
    assert done.code == 10
    assert "the server's container ended with 3" in done.err
    assert f"{LAST_LINES}\n    bye" in done.err


def test_gpus_that_the_engine_cannot_give(engine: Engine, forge: Forge) -> None:
    for asked in ("all", "0,1"):
        done = forge.run("build", NAME, "--gpus", asked)
        assert done.code == 10
        assert f"has no NVIDIA runtime, so --gpus {asked} cannot be had" in done.err
        assert "nvidia-ctk runtime configure --runtime=docker" in done.err
    assert (ours(engine), volumes(engine)) == ([], set())
    done = forge.run("build", NAME, "--gpus", "all", "--dry-run")
    assert done.code == 0, done.err
    assert 'DeviceRequests: [{"Driver": "", "Capabilities": [["gpu"]], "Count": -1}]' in done.out
    assert "refused: The Docker engine at" in done.out


def test_a_gpu_target_goes_on_without_and_says_so(engine: Engine, forge: Forge) -> None:
    forge.edit(FILE, "max_seconds = 30", "max_seconds = 30, loaded_on = 'gpu'")
    done = forge.run("build", NAME, "-H", "rtx-4090", "--json")
    assert done.code == 0, done.err
    assert "has no GPU to give: what depends on one is not tested" in done.err
    (variant,) = done.document["variants"]
    checks = {
        check["kind"]: check["verdict"]
        for result in variant["smoke"]["results"]
        for check in result["checks"]
    }
    assert checks["contains"] == "passed"
    assert (checks["loaded_on"], checks["max_seconds"]) == ("skipped", "skipped")
    assert variant["runtime"]["gpus"] == "none"
    assert ours(engine) == []


# -- in the middle ---------------------------------------------------------------------------------------


def test_a_server_killed_for_memory(engine: Engine, image: str, forge: Forge) -> None:
    assert forge.run("build", NAME).code == 0
    touch_profile(forge, 1)
    forge.environment["MODELFORGE_DOCKER_MEMORY"] = "20MiB"
    done = forge.run("build", NAME, "-H", "toolbox", "--name", NAME)
    assert done.code in {7, 8, 10}, done.err
    assert "out of memory" in done.err
    assert "its memory was 20.0 MiB: raise memory in [runtime.docker]" in done.err
    assert LAST_LINES in done.err
    assert ours(engine) == []
    del forge.environment["MODELFORGE_DOCKER_MEMORY"]
    with own_ollama(engine, image) as own:
        assert ANSWER in own.answer(NAME)
    assert forge.run("build", NAME).code == 0


def test_a_full_volume(engine: Engine, image: str, forge: Forge) -> None:
    with small_volume(engine, VOLUME, 20) as folder:
        assert forge.run("build", NAME, "-H", "matchbox", "--name", NAME).code == 0
        for number, leave in enumerate((0, 4096, 8192)):
            touch_profile(forge, number + 1)
            ballast = fill(folder, leave)
            done = forge.run("build", NAME, "-H", "matchbox", "--name", NAME)
            assert done.code in {7, 9}, (leave, done.err)
            assert "no space left on device" in done.err
            assert LAST_LINES in done.err
            ballast.unlink()
            again = forge.run("build", NAME, "-H", "matchbox", "--name", NAME)
            assert again.code == 0, again.err
        ballast = fill(folder, 1 << 20)
        done = forge.run("build", NAME, "-H", "toolbox", "--name", NAME)
        assert done.code == 7, done.err
        assert "no space left on device" in done.err or "are free" in done.err
        ballast.unlink()
        with own_ollama(engine, image) as own:
            assert ANSWER in own.answer(NAME)
        engine.clear()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_an_engine_that_ends_in_the_middle(engine: Engine, image: str, forge: Forge, how: str) -> None:
    assert forge.run("build", NAME).code == 0
    touch_profile(forge, 1)
    with forge.start("build", NAME) as process:
        caught(engine)
        time.sleep(0.3)
        getattr(engine, how)()
        _out, err = process.communicate(timeout=120)
    assert process.returncode in {7, 9, 10}, err
    assert "Traceback" not in err
    assert "Docker engine" in err or "the server's container" in err, err
    engine.start()
    done = forge.run("build", NAME)
    assert done.code == 0, done.err
    assert ours(engine) == []
    with own_ollama(engine, image) as own:
        assert ANSWER in own.answer(NAME)


def test_a_container_that_somebody_removes(engine: Engine, forge: Forge) -> None:
    with forge.start("build", NAME) as process:
        found = caught(engine)
        with engine.client() as client:
            client.remove_container(found["Id"], force=True)
        _out, err = process.communicate(timeout=60)
    assert process.returncode in {7, 8, 9, 10}, err
    assert "was removed by somebody" in err or "was killed (SIGKILL)" in err
    assert forge.run("build", NAME).code == 0


def test_kills_of_modelforge(engine: Engine, image: str, forge: Forge) -> None:
    """MODELFORGE_KILLS of them, at random instants, over a name that the user's own Ollama serves all the while."""
    assert forge.run("build", NAME).code == 0
    touch_profile(forge, 1)
    longest = build_seconds(forge)
    with own_ollama(engine, image) as own:
        for number in range(KILLS):
            touch_profile(forge, number + 2)
            with forge.start("build", NAME) as process:
                time.sleep(random.uniform(0.05, longest))
                process.kill()
                process.communicate()
            assert ANSWER in own.answer(NAME)
        assert forge.run("build", NAME).code == 0
        assert ours(engine) == []
        assert volumes(engine) == {VOLUME}
        assert ANSWER in own.answer(NAME)
        assert not {name for name in own.names() if name.startswith("modelforge/staged")}
    assert not list((forge.folder / "state").glob("endpoints/*/pending/*"))
