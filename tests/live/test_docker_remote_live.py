"""An engine whose published ports are not ours: through ssh, and through the engine itself. All of it is real."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import subprocess  # noqa: TID251 (openssl makes the certificates)
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.containers import VOLUME, docker_quickstart, ours, own_ollama
from tests.live.engines import make_image
from tests.live.servers import free_port
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


# -- TLS -----------------------------------------------------------------------------------------------


def openssl(folder: Path, *words: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl on this machine")
    subprocess.run([program, *words], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """A CA, and what it says of the engine and of us."""
    folder.mkdir()
    plain = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(folder, "req", "-x509", *plain, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=test CA")
    for name, extensions in (
        ("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"),
        ("client", "extendedKeyUsage=clientAuth\n"),
    ):
        (folder / f"{name}.ext").write_text(extensions)
        openssl(
            folder,
            "req",
            *plain[:3],
            "-keyout",
            f"{name}-key.pem",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
            *("-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem"),
        )  # fmt: skip
    (folder / "client.pem").rename(folder / "cert.pem")
    (folder / "client-key.pem").rename(folder / "key.pem")


def test_an_engine_behind_tls(engine: Engine, image: str, tmp_path: Path) -> None:
    folder, port = tmp_path / "certs", free_port()
    certificates(folder)
    files = (
        f"--tlscacert={folder}/ca.pem",
        f"--tlscert={folder}/server.pem",
        f"--tlskey={folder}/server-key.pem",
    )
    engine.arguments = (*engine.arguments, "--tlsverify", *files, f"--host=tcp://127.0.0.1:{port}")
    engine.restart()
    forge = docker_quickstart(
        tmp_path / "forge", engine, image, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(folder)
    )
    forge.environment |= {"DOCKER_HOST": f"tcp://127.0.0.1:{port}", "REQUESTS_CA_BUNDLE": "/nowhere"}
    done = forge.run("build", NAME)
    assert done.code == 0, done.err
    assert f"{VOLUME}@tcp://127.0.0.1:{port}" in done.err
    (folder / "key.pem").unlink()
    done = forge.run("build", NAME)
    assert done.code == 2
    assert "key.pem is not there" in done.err
