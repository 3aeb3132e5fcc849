"""Whatever dies at whatever instant: the old name answers, and the next run leaves nothing behind.

MODELFORGE_KILLS sets how often each test kills (default 6; 100 for a whole campaign, as before a release).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess  # noqa: TID251 (mounts a small disk)
import time
from typing import TYPE_CHECKING

import pytest

from tests.live.forge import Forge, quickstart
from tests.live.test_build_live import ANSWER, NAME, answer, names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.servers import Server

KILLS = int(os.environ.get("MODELFORGE_KILLS", "6"))
SERVER_KILLS = int(os.environ.get("MODELFORGE_SERVER_KILLS", str(max(4, KILLS * 2 // 5))))
FILE = f"profiles/{NAME}.toml"


def touch_profile(forge: Forge, number: int) -> None:
    """Another content each time, so that each build has all its work to do."""
    path = forge.project / FILE
    lines = path.read_text(encoding="utf-8").splitlines()
    changed = [f"num_ctx = {1024 - number % 400}" if line.startswith("num_ctx") else line for line in lines]
    path.write_text("\n".join(changed) + "\n", encoding="utf-8")


def build_seconds(forge: Forge, *words: str) -> float:
    """How long a whole build takes here, to spread the kills over it."""
    start = time.monotonic()
    assert forge.run("build", NAME, *words).code == 0
    return time.monotonic() - start


def kill_somewhere(forge: Forge, longest: float, *words: str) -> None:
    with forge.start("build", NAME, *words) as process:
        time.sleep(random.uniform(0.05, longest))
        process.kill()
        process.communicate()


def broken_blobs(store: Path) -> list[str]:
    """Blobs whose content is not what their name says."""
    return [
        blob.name
        for blob in (store / "blobs").iterdir()
        if blob.name.startswith("sha256-")
        and len(blob.name) == 71
        and hashlib.sha256(blob.read_bytes()).hexdigest() != blob.name[7:]
    ]


def foreign_blobs(store: Path) -> set[str]:
    """Files in blobs/ that no manifest refers to."""
    used: set[str] = set()
    for manifest in (store / "manifests").glob("*/*/*/*"):
        content = json.loads(manifest.read_text())
        used.update(layer["digest"].replace(":", "-") for layer in [content["config"], *content["layers"]])
    return {blob.name for blob in (store / "blobs").iterdir()} - used


def empty_manifests(store: Path) -> list[Path]:
    return [file for file in (store / "manifests").glob("*/*/*/*") if file.stat().st_size == 0]


@pytest.fixture
def forge(server: Server, tmp_path: Path) -> Forge:
    return quickstart(tmp_path / "forge", OLLAMA_HOST=server.host)


def test_kills_of_modelforge_on_a_server(server: Server, forge: Forge) -> None:
    assert forge.run("build", NAME, "--runtime", "ollama").code == 0
    touch_profile(forge, 1)
    longest = build_seconds(forge, "--runtime", "ollama")
    for number in range(KILLS):
        touch_profile(forge, number + 2)
        kill_somewhere(forge, longest, "--runtime", "ollama")
        assert ANSWER in answer(server)
    assert forge.run("build", NAME, "--runtime", "ollama").code == 0
    assert {name for name in names(server) if name.startswith("modelforge/staged")} == set()
    assert not list((forge.folder / "state").glob("endpoints/*/pending/*"))
    assert broken_blobs(server.models) == []
    assert empty_manifests(server.models) == []


def test_kills_of_modelforge_on_an_own_store(tmp_path: Path) -> None:
    forge = quickstart(tmp_path / "forge")
    assert forge.run("build", NAME).code == 0
    touch_profile(forge, 1)
    longest = build_seconds(forge)
    for number in range(KILLS):
        touch_profile(forge, number + 2)
        kill_somewhere(forge, longest)
        if number % 3 == 0:
            done = forge.run("run", NAME, "Write a function that adds two numbers.")
            assert done.code == 0, done.err
            assert ANSWER in done.out
    assert forge.run("build", NAME).code == 0
    assert not list((forge.store / "manifests").glob("*/modelforge/staged/*"))
    assert not list((forge.folder / "state").glob("endpoints/*/pending/*"))
    assert broken_blobs(forge.store) == []
    assert empty_manifests(forge.store) == []
    assert foreign_blobs(forge.store) == set()


def test_kills_of_the_server(server: Server, forge: Forge) -> None:
    assert forge.run("build", NAME, "--runtime", "ollama").code == 0
    touch_profile(forge, 1)
    longest = build_seconds(forge, "--runtime", "ollama")
    for number in range(SERVER_KILLS):
        touch_profile(forge, number + 2)
        with forge.start("build", NAME, "--runtime", "ollama", "--json") as process:
            time.sleep(random.uniform(0.3 * longest, longest))
            server.kill()
            out, err = process.communicate(timeout=60)
        assert process.returncode in {0, 7, 9, 10}, (out, err)
        assert "Traceback" not in err
        if process.returncode == 10:  # killed before we had spoken to it at all
            assert json.loads(out)["schema"] == "modelforge.error/1"
        server.start()
        done = forge.run("build", NAME, "--runtime", "ollama")
        assert done.code == 0, done.err
        assert ANSWER in answer(server)
    assert {name for name in names(server) if name.startswith("modelforge/staged")} == set()
    assert empty_manifests(server.models) == []


def test_an_empty_name_is_restored_before_a_build_that_fails(server: Server, forge: Forge) -> None:
    """As a server leaves it that dies in the copy; the new profile's tests fail, so what was kept must stand."""
    assert forge.run("build", NAME, "--runtime", "ollama").code == 0
    touch_profile(forge, 1)
    assert forge.run("build", NAME, "--runtime", "ollama").code == 0
    (manifest,) = (server.models / "manifests").glob(f"*/library/{NAME}/latest")
    manifest.write_bytes(b"")
    forge.edit(FILE, "Use type hints and docstrings.", "Talk like a pirate.")
    done = forge.run("build", NAME, "--runtime", "ollama")
    assert done.code == 8
    assert "restored what was kept" in done.err
    assert ANSWER in answer(server)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fills a disk but for `leave` bytes."""
    file = folder / "ballast"
    stat = os.statvfs(folder)
    file.write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - leave)))
    return file


@pytest.mark.parametrize("leave", [0, 4096, 40960])
def test_a_full_disk_under_an_own_store(tmp_path: Path, small_disk: Path, leave: int) -> None:
    forge = quickstart(tmp_path / "forge", MODELFORGE_STORE=str(small_disk / "store"))
    assert forge.run("build", NAME, "-H", "matchbox", "--name", NAME).code == 0
    touch_profile(forge, 1)
    ballast = fill(small_disk, leave)
    done = forge.run("build", NAME, "-H", "lunchbox", "--name", NAME)
    assert done.code in {7, 9}
    assert "Traceback" not in done.err
    ballast.unlink()
    assert ANSWER in forge.run("run", NAME, "Write a function that adds two numbers.").out
    assert forge.run("build", NAME, "-H", "matchbox", "--name", NAME).code == 0
    assert foreign_blobs(small_disk / "store") == set()


def test_a_full_disk_under_a_server(server: Server, forge: Forge, small_disk: Path) -> None:
    server.restart(OLLAMA_MODELS=str(small_disk / "models"))
    assert forge.run("build", NAME, "--runtime", "ollama", "-H", "matchbox", "--name", NAME).code == 0
    for number, leave in enumerate((0, 4096, 8192, 12288)):
        touch_profile(forge, number + 1)
        ballast = fill(small_disk, leave)
        done = forge.run("build", NAME, "--runtime", "ollama", "-H", "matchbox", "--name", NAME)
        assert done.code in {0, 7, 9}, done.err
        assert "Traceback" not in done.err
        ballast.unlink()
        again = forge.run("build", NAME, "--runtime", "ollama", "-H", "matchbox", "--name", NAME)
        assert again.code == 0, again.err
        assert ANSWER in answer(server)
    assert empty_manifests(small_disk / "models") == []
