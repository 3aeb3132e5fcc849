"""GPUs through a real engine, as far as that goes without a card.

The engine has a made-up NVIDIA runtime and hook, the image a made-up nvidia-smi. What the engine is asked for, what it
accepts and hands on, and what is planned from it, is real; the cards are not.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.live.containers import caught, docker_quickstart, ours
from tests.live.engines import is_complete, make_image
from tests.live.servers import NEW
from tests.live.test_build_live import NAME
from tests.test_docker_machine import XML

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.engines import Engine
    from tests.live.forge import Forge

FILE = f"profiles/{NAME}.toml"
REQUEST = {"Driver": "", "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": None}


def program(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)
    return file


@pytest.fixture
def forge(engine: Engine, tmp_path: Path) -> Iterator[Forge]:
    """A project, and an engine whose machine has two RTX 4090."""
    if not is_complete(NEW):
        pytest.skip(f"no Ollama {NEW}; .ci/parts builds it")
    runc = shutil.which("runc", path=engine.path)
    if runc is None:
        pytest.skip("no runc on this machine")
    hook = program(tmp_path / "hooks" / "nvidia-container-runtime-hook", "#!/bin/sh\ncat > /dev/null\n")
    engine.path = f"{hook.parent}{os.pathsep}{engine.path}"
    engine.arguments = (*engine.arguments, f"--add-runtime=nvidia={runc}")
    engine.restart()
    smi = program(tmp_path / "nvidia-smi", f"#!/bin/bash\necho '{XML}'\n")
    bash = Path(shutil.which("bash") or "/bin/bash")
    image = make_image(engine, NEW, name="example/gpu:1", more={"/bin/nvidia-smi": smi, "/bin/bash": bash})
    yield docker_quickstart(tmp_path / "forge", engine, image)
    with engine.client() as client:
        client.remove_image(image, force=True)


def built(engine: Engine, forge: Forge, *words: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the container of a build was given, and the variant's document."""
    with forge.start("build", NAME, "--json", *words) as process:
        found = caught(engine)
        out, err = process.communicate(timeout=120)
    assert ours(engine) == [], err
    (variant,) = json.loads(out)["variants"]
    return found["HostConfig"]["DeviceRequests"] or [], variant


def test_this_is_the_engines_machine_with_its_cards(engine: Engine, forge: Forge) -> None:
    (machine,) = forge.run("hardware", "--json").document["hardware"]
    assert machine["backend"] == "cuda"
    assert [device["model"] for device in machine["devices"]] == ["rtx-4090", "rtx-4090"]
    (plan,) = forge.run("resolve", NAME, "--json").document["plans"]
    assert {device["name"] for device in plan["picked"]["devices"]} == {"NVIDIA GeForce RTX 4090"}
    (machine,) = forge.run("hardware", "--gpus", "1", "--json").document["hardware"]
    assert len(machine["devices"]) == 1
    (machine,) = forge.run("hardware", "--gpus", "none", "--json").document["hardware"]
    assert (machine["backend"], machine["devices"]) == ("cpu", [])
    assert ours(engine) == []


@pytest.mark.parametrize(
    ("words", "request_part", "told"),
    [
        ((), {"Count": -1}, "all"),
        (("-H", "rtx-3060-12gb"), {"Count": 1}, "1 of 2"),
        (("--gpus", "all", "-H", "rtx-3060-12gb"), {"Count": -1}, "all"),
        (("--gpus", "1"), {"Count": 0, "DeviceIDs": ["1"]}, "1"),
    ],
    ids=["this", "one card", "all", "an id"],
)
def test_what_the_container_is_given(
    engine: Engine, forge: Forge, words: tuple[str, ...], request_part: dict[str, Any], told: str
) -> None:
    requests, variant = built(engine, forge, *words)
    assert requests == [{**REQUEST, **request_part}]
    assert variant["runtime"]["gpus"] == told
    assert variant["status"] == "built"


@pytest.mark.parametrize("words", [("--gpus", "none"), ("-H", "cpu-16gb")], ids=["none", "a processor"])
def test_what_needs_no_gpu_is_given_none(engine: Engine, forge: Forge, words: tuple[str, ...]) -> None:
    requests, variant = built(engine, forge, *words)
    assert requests == []
    assert variant["runtime"]["gpus"] == "none"


def test_a_dry_run_shows_the_request(engine: Engine, forge: Forge) -> None:
    done = forge.run("build", NAME, "-H", "rtx-4090", "--dry-run", "--json")
    (variant,) = done.document["variants"]
    host = variant["container"]["request"]["HostConfig"]
    assert host["DeviceRequests"] == [{"Driver": "", "Capabilities": [["gpu"]], "Count": 1}]
    assert variant["container"]["gpus"] == "1 of 2"
    assert ours(engine) == []


def test_the_doctor_sees_that_gpus_can_be_had(forge: Forge) -> None:
    assert "✓ containers can have NVIDIA GPUs (by request)" in forge.run("doctor").out


def test_a_look_that_fails_is_a_warning_and_not_a_gpu(engine: Engine, forge: Forge, tmp_path: Path) -> None:
    broken = program(tmp_path / "broken", "#!/bin/bash\necho 'No devices were found'; exit 6\n")
    bash = Path(shutil.which("bash") or "/bin/bash")
    forge.environment["MODELFORGE_DOCKER_IMAGE"] = make_image(
        engine, NEW, name="example/gpu:1", more={"/bin/nvidia-smi": broken, "/bin/bash": bash}
    )
    done = forge.run("hardware")
    assert "warning: the engine's GPUs cannot be looked at: No devices were found" in done.out
    requests, variant = built(engine, forge)
    assert (requests, variant["status"]) == ([], "built")
