"""The engine's machine: what the engine tells, and what a look from inside a container adds."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

import pytest

from modelforge.runtimes.docker.claims import Claims
from modelforge.runtimes.docker.facts import facts_of
from modelforge.runtimes.docker.gpus import Accelerator, Gpus
from modelforge.runtimes.docker.machine import with_gpus, without_gpus
from modelforge.units import GIB, MIB
from tests.engines import FACTS, FakeEngine, facts

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.hardware import Hardware
    from modelforge.runtimes.docker.engine import Engine

NVIDIA = Accelerator(vendor="nvidia.com", way="request")
AMD = Accelerator(vendor="amd.com", way="files")
CARD = """<gpu id="0"><product_name>NVIDIA GeForce RTX 4090</product_name><uuid>{uuid}</uuid>
<mig_mode><current_mig>N/A</current_mig></mig_mode>
<fb_memory_usage><total>24564 MiB</total><reserved>400 MiB</reserved><used>1 MiB</used><free>24163 MiB</free>
</fb_memory_usage></gpu>"""
XML = f"<nvidia_smi_log>{CARD.format(uuid='GPU-aaaa')}{CARD.format(uuid='GPU-bbbb')}</nvidia_smi_log>"


def look(
    tmp_path: Path, text: str, *, code: int = 0, gpus: Gpus | None = None, by: Accelerator = NVIDIA
) -> tuple[Hardware, FakeEngine]:
    engine = FakeEngine(outputs=deque([(code, text)]))
    claims = Claims(tmp_path, "me")
    chosen = gpus or Gpus(mode="auto")
    found = with_gpus(cast("Engine", engine), by, chosen, claims, image="sha256:1", memory=None)
    return found, engine


def test_the_cards_of_the_engines_machine(tmp_path: Path) -> None:
    found, engine = look(tmp_path, XML)
    assert (found.name, found.backend, found.origin) == ("this", "cuda", "probed")
    assert [device.model for device in found.devices] == ["rtx-4090", "rtx-4090"]
    assert {(device.memory, device.reserved) for device in found.devices} == {(24564 * MIB, 400 * MIB)}
    assert found.system_memory == FACTS.memory
    assert found.description == "gpu-box, the Docker engine's machine"
    (body,) = engine.created
    assert (body["Entrypoint"], body["Cmd"]) == (["nvidia-smi"], ["-q", "-x"])
    assert body["HostConfig"]["DeviceRequests"] == [{"Driver": "", "Capabilities": [["gpu"]], "Count": -1}]
    assert "NVIDIA_DRIVER_CAPABILITIES=utility" in body["Env"]
    assert engine.removed == ["c1"]


@pytest.mark.parametrize(
    ("ids", "count"),
    [(("0",), 1), (("1", "0"), 2), (("GPU-bb",), 1), (("nvidia.com/gpu=1",), 1), (("7",), 0)],
)
def test_only_the_cards_that_the_container_gets(tmp_path: Path, ids: tuple[str, ...], count: int) -> None:
    found, _engine = look(tmp_path, XML, gpus=Gpus(mode="ids", ids=ids))
    assert len(found.devices) == count
    assert found.backend == ("cuda" if count else "cpu")


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        (
            9,
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
            "couldn't communicate",
        ),
        (0, "hello", "hello"),
        (127, "", "nvidia-smi ended with 127"),
    ],
)
def test_a_look_that_fails_is_said_and_the_processor_is_left(
    tmp_path: Path, code: int, text: str, said: str
) -> None:
    found, engine = look(tmp_path, text, code=code)
    assert (found.backend, found.devices) == ("cpu", ())
    (warning,) = found.warnings
    assert warning.startswith("the engine's GPUs cannot be looked at: ")
    assert said in warning
    assert engine.removed == ["c1"]


def test_an_engine_that_cannot_give_them_after_all(tmp_path: Path) -> None:
    engine = FakeEngine(declines_start="could not select device driver")
    claims = Claims(tmp_path, "me")
    found = with_gpus(cast("Engine", engine), NVIDIA, Gpus(), claims, image="sha256:1", memory=None)
    assert "could not select device driver" in found.warnings[0]
    assert engine.removed == ["c1"]


def test_amd_cards(tmp_path: Path) -> None:
    line = f"card0\t0x744c\t{24 * GIB - 16 * MIB}\t{GIB}\t{16 * GIB}\t0\t\t0xc8\n"
    found, engine = look(tmp_path, line, by=AMD)
    assert (found.backend, found.devices[0].model) == ("rocm", "rx-7900-xtx")
    assert engine.created[0]["Entrypoint"] == ["sh"]
    assert [one["PathOnHost"] for one in engine.created[0]["HostConfig"]["Devices"]] == [
        "/dev/kfd",
        "/dev/dri",
    ]


def test_the_processor_alone() -> None:
    found = without_gpus(facts(here=True), memory=None)
    assert (found.backend, found.system_memory, found.description) == ("cpu", FACTS.memory, "")
    limited = without_gpus(FACTS, memory=4 * GIB)
    assert limited.system_memory == 4 * GIB
    assert limited.description == "gpu-box, the Docker engine's machine, limited by [runtime.docker] memory"


def test_what_an_engine_tells_of_itself() -> None:
    info = {
        "ServerVersion": "28.2.2",
        "Name": "box",
        "KernelVersion": "6.1",
        "MemTotal": 8,
        "NCPU": 2,
        "Runtimes": {"runc": {}, "nvidia": {}},
        "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}, {"Source": "x", "ID": "y"}],
        "MemoryLimit": True,
        "PidsLimit": False,
        "CpuCfsQuota": True,
        "DockerRootDir": "/var/lib/docker",
    }
    found = facts_of(info, node="box", kernel="6.1")
    assert (found.machine, found.memory, found.runtimes) == ("box", 8, frozenset({"runc", "nvidia"}))
    assert found.cdi_devices == ("nvidia.com/gpu=0",)
    assert (found.limits_memory, found.limits_pids, found.here) == (True, False, True)
    assert not facts_of(info, node="laptop", kernel="6.1").here
    assert not facts_of(info, node="box", kernel="6.2").here
    assert facts_of({}, node="box", kernel="6.1").cpus == 0
