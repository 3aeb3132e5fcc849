"""This machine as hardware: GPUs first, else an Apple chip, else the processor."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest

from modelforge.hardware import Device, apple, cpu, nvidia, probe
from modelforge.hardware.cpu import Memory
from modelforge.hardware.nvidia import Found
from modelforge.units import GIB

if TYPE_CHECKING:
    from pathlib import Path

CARD = Device(name="NVIDIA GeForce RTX 4090", memory=24 * GIB, free=GIB, model="rtx-4090")
CHIP = Device(name="Apple M3 Pro", memory=12 * GIB, model="m3-pro-18gb", exact=False)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(total=18 * GIB, available=9 * GIB, note="limited")
    monkeypatch.setattr(cpu, "probe", lambda **_given: memory)
    monkeypatch.setattr(nvidia, "probe", lambda **_given: Found(warnings=("the driver does not work",)))
    monkeypatch.setattr(apple, "probe", lambda _memory: CHIP)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")


@pytest.mark.usefixtures("machine")
def test_without_a_gpu_it_is_the_processor_and_the_reason_is_told(tmp_path: Path) -> None:
    found = probe.this(visible=None, root=tmp_path)
    assert (found.name, found.origin, found.backend, found.devices) == ("this", "probed", "cpu", ())
    assert (found.system_memory, found.system_free) == (18 * GIB, 9 * GIB)
    assert (found.warnings, found.description) == (("the driver does not work",), "limited")


@pytest.mark.usefixtures("machine")
def test_nvidia_gpus_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nvidia, "probe", lambda **given: Found(devices=(CARD,) * (given["visible"] == "0")))
    found = probe.this(visible="0", root=tmp_path)
    assert (found.backend, found.devices) == ("cuda", (CARD,))
    assert probe.this(visible="", root=tmp_path).backend == "cpu"


@pytest.mark.usefixtures("machine")
def test_an_apple_chip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    found = probe.this(visible=None, root=tmp_path)
    assert (found.backend, found.devices, found.system_memory) == ("metal", (CHIP,), 18 * GIB)
