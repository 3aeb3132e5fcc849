"""The request for a container, whole, as a golden file has it; and what a project may say of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelforge.errors import UsageProblem
from modelforge.project_settings import DockerSettings
from modelforge.runtimes import Need
from modelforge.runtimes.docker.gpus import NO_GPUS, Accelerator, Gpus, request_of
from modelforge.runtimes.docker.spec import LEFT_TO_HOST, Spec, look_body, server_body, spec_of
from modelforge.units import GIB, MIB
from tests.engines import FACTS, facts

GOLDEN = Path(__file__).parent / "golden" / "container.json"
LABELS = {"modelforge.claim": "0123", "modelforge.machine": "89ab"}


def spec(settings: DockerSettings | None = None, need: Need | None = None, **changes: object) -> Spec:
    return spec_of(
        settings or DockerSettings(),
        need or Need(gpus=1, settings={"OLLAMA_KV_CACHE_TYPE": "q8_0"}),
        NO_GPUS,
        facts(**changes),
        image="sha256:1",
        name="ollama/ollama:1",
    )


def test_the_whole_request() -> None:
    gpus = request_of(Gpus(mode="all"), Accelerator(vendor="nvidia.com", way="request"), need=1, found=1)
    assert gpus is not None
    made = spec_of(
        DockerSettings(memory=16 * GIB, cpus=1.5, env={"OLLAMA_DEBUG": "1"}),
        Need(gpus=1, settings={"OLLAMA_KV_CACHE_TYPE": "q8_0"}),
        gpus,
        FACTS,
        image="sha256:1",
        name="ollama/ollama:1",
    )
    assert server_body(made, LABELS) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_without_a_limit_the_host_keeps_a_little() -> None:
    assert spec().memory == FACTS.memory - LEFT_TO_HOST
    host = server_body(spec(), LABELS)["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == FACTS.memory - LEFT_TO_HOST
    assert "NanoCpus" not in host


def test_what_the_engine_cannot_limit_is_not_asked_for() -> None:
    host = server_body(
        spec(DockerSettings(memory=GIB, cpus=2.0), limits_memory=False, limits_pids=False, limits_cpus=False),
        LABELS,
    )["HostConfig"]
    assert not {"Memory", "MemorySwap", "NanoCpus", "PidsLimit"} & set(host)


def test_a_look_has_no_volume_and_no_network() -> None:
    body = look_body(spec(), ("nvidia-smi", "-q", "-x"), LABELS)
    assert (body["Entrypoint"], body["Cmd"]) == (["nvidia-smi"], ["-q", "-x"])
    host = body["HostConfig"]
    assert (host["NetworkMode"], "Mounts" in host, "PortBindings" in host) == ("none", False, False)
    assert (host["CapDrop"], host["ReadonlyRootfs"]) == (["ALL"], True)


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        (DockerSettings(env={"OLLAMA_HOST": "x"}), "OLLAMA_HOST, which modelforge sets itself", "remove it"),
        (DockerSettings(env={"HOME": "/x"}), "HOME, which modelforge sets itself", "always /tmp"),
        (DockerSettings(env={"OLLAMA_NOPRUNE": ""}), "OLLAMA_NOPRUNE", "it is always 1"),
        (
            DockerSettings(env={"OLLAMA_NUM_PARALLEL": "4"}),
            "OLLAMA_NUM_PARALLEL, which follows from the profile",
            "set it in [resolve] of the profile",
        ),
        (DockerSettings(memory=MIB), "memory is 1.0 MiB, too little", "leave it out"),
    ],
)
def test_what_a_project_may_not_say(settings: DockerSettings, message: str, hint: str) -> None:
    with pytest.raises(UsageProblem, match=message) as caught:
        spec(settings)
    assert hint in (caught.value.problems[0].hint or "")
