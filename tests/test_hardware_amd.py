"""The AMD GPUs of this machine, in a /sys and /dev made for the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.hardware import amd, cpu, nvidia, probe
from modelforge.hardware.amd import Found
from modelforge.hardware.cpu import Memory
from modelforge.units import GIB, MIB
from tests.trees import write_tree

if TYPE_CHECKING:
    from pathlib import Path

XTX = ("0x744c", "0xc8", 24560, 560, 32000)
XT_6700 = ("0x73df", "0xc1", 12272, 0, 16000)  # ROCm does not support it
NEW = ("0x9999", "0x00", 32752, 0, 16000)
IN_A_PROCESSOR = ("0x164e", "0xd8", 512, 30, 31000)


def machine(root: Path, *cards: tuple[str, str, int, int, int], dev: str = "kfd dri") -> Path:
    """A machine with these cards: id, revision, and MiB in total, in use, and shared with the processor."""
    files: dict[str, str] = {}
    for number, (device, revision, total, used, shared) in enumerate(cards):
        content = {
            "vendor": "0x1002",
            "device": device,
            "revision": revision,
            "mem_info_vram_total": total * MIB,
            "mem_info_vram_used": used * MIB,
            "mem_info_gtt_total": shared * MIB,
        }
        files |= {
            f"sys/class/drm/card{number}/device/{name}": f"{value}\n" for name, value in content.items()
        }
    nodes = {"kfd": "dev/kfd", "dri": "dev/dri/renderD128"}
    write_tree(root, files | {nodes[one]: "" for one in dev.split()})
    return root


def models(found: Found) -> list[str | None]:
    return [device.model for device in found.devices]


def test_no_card_is_no_problem(tmp_path: Path) -> None:
    assert amd.probe(tmp_path) == Found()


def test_several_cards_and_a_gpu_in_the_processor(tmp_path: Path) -> None:
    found = amd.probe(machine(tmp_path, IN_A_PROCESSOR, XTX, NEW, XTX))
    assert (found.backend, models(found), found.warnings) == (
        "rocm",
        ["rx-7900-xtx", None, "rx-7900-xtx"],
        (),
    )
    assert [device.free for device in found.devices] == [24000 * MIB, 32752 * MIB, 24000 * MIB]


def test_what_rocm_does_not_support_is_for_vulkan(tmp_path: Path) -> None:
    alone = amd.probe(machine(tmp_path / "alone", XT_6700))
    assert (alone.backend, models(alone)) == ("vulkan", ["rx-6700-xt"])
    beside = amd.probe(machine(tmp_path / "beside", XT_6700, XTX))
    assert (beside.backend, models(beside)) == ("rocm", ["rx-7900-xtx"])
    without = amd.probe(machine(tmp_path / "without", XTX, dev="dri"))
    assert (without.backend, models(without)) == ("vulkan", ["rx-7900-xtx"])


def test_a_container_that_was_not_given_its_card(tmp_path: Path) -> None:
    found = amd.probe(machine(tmp_path, XTX, dev=""))
    assert found.devices == ()
    (warning,) = found.warnings
    text, _, remedy = warning.partition(": ")
    assert text == "AMD Radeon RX 7900 XTX cannot be used, as neither /dev/kfd nor /dev/dri is there"
    assert remedy == "start the container with --device /dev/kfd --device /dev/dri"


@pytest.fixture
def no_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "probe", lambda **_given: Memory(total=64 * GIB, available=60 * GIB))
    monkeypatch.setattr(nvidia, "probe", lambda **_given: nvidia.Found(warnings=("no driver",)))


@pytest.mark.usefixtures("no_nvidia")
def test_this_machine_has_them(tmp_path: Path) -> None:
    found = probe.this(visible=None, root=machine(tmp_path, XTX))
    assert (found.backend, [device.name for device in found.devices]) == ("rocm", ["AMD Radeon RX 7900 XTX"])
    assert (found.system_memory, found.warnings) == (64 * GIB, ("no driver",))
    bare = probe.this(visible=None, root=machine(tmp_path / "bare", XTX, dev=""))
    assert (bare.backend, bare.devices, len(bare.warnings)) == ("cpu", (), 2)
