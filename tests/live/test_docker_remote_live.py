"""An engine whose published ports are not ours: through ssh, and through the engine itself. All of it is real."""

from __future__ import annotations

import contextlib
import getpass
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.containers import VOLUME, docker_quickstart, ours, own_ollama
from tests.live.engines import make_image
from tests.live.sshd import LACKING, another_machine
from tests.live.test_build_live import ANSWER, NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.engines import Engine
    from tests.live.forge import Forge
    from tests.live.sshd import Machine

pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)
PROGRAMS = {f"/bin/{name}": Path(shutil.which(name) or name) for name in ("bash", "cat")}


@pytest.fixture
def machine() -> Iterator[Machine]:
    with contextlib.ExitStack() as stack:
        yield another_machine(stack)


@pytest.fixture
def forge(engine: Engine, image: str, machine: Machine, tmp_path: Path) -> Iterator[Forge]:
    """A project whose engine is reached by ssh, with an image that has bash and cat, as the public one has."""
    full = make_image(engine, image.partition(":")[2], name="example/full:1", more=PROGRAMS)
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{machine.port}{engine.socket}"
    made = docker_quickstart(tmp_path / "forge", engine, full, PATH=machine.environment["PATH"])
    made.environment["DOCKER_HOST"] = url
    yield made
    with engine.client() as client:
        client.remove_image(full, force=True)


def test_the_main_job_on_another_machines_engine(engine: Engine, image: str, forge: Forge) -> None:
    done = forge.run("build", NAME)
    assert done.code == 0, done.err
    assert "4 passed" in done.err
    assert f"{VOLUME}@ssh://" in done.err
    again = forge.run("build", NAME)
    assert "up to date" in again.err
    done = forge.run("run", NAME, "Write a function that adds two numbers.")
    assert ANSWER in done.out, done.err
    assert forge.run("build", NAME, "--via", "cli", "--name", "other").code == 0
    assert ours(engine) == []
    with own_ollama(engine, image) as own:
        assert ANSWER in own.answer(NAME)


def test_an_image_without_bash(engine: Engine, image: str, forge: Forge) -> None:
    forge.environment |= {"MODELFORGE_DOCKER_IMAGE": image, "MODELFORGE_CALL_TIMEOUT": "2"}
    done = forge.run("build", NAME)
    assert done.code == 10
    assert "bash" in done.err
    assert "ollama/ollama" in done.err
    assert ours(engine) == []


def test_a_machine_that_ssh_does_not_reach(machine: Machine, forge: Forge) -> None:
    (machine.folder / "known_hosts").write_text("")
    done = forge.run("build", NAME)
    assert done.code == 10
    assert "Host key verification failed" in done.err
