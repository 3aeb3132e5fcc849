"""The share of its memory that an Apple chip's GPU may use."""

from __future__ import annotations

import sys

import pytest

from modelforge.hardware import apple
from modelforge.hardware.cpu import Memory
from modelforge.units import GIB, MIB

CHIP = b"Apple M3 Pro\0"


def test_macos_decides_and_so_it_is_a_guess() -> None:
    read = {"machdep.cpu.brand_string": CHIP, "iogpu.wired_limit_mb": (0).to_bytes(4, "little")}
    device = apple.probe(Memory(total=18 * GIB, available=7 * GIB), read.get)
    assert (device.name, device.model) == ("Apple M3 Pro", "m3-pro-18gb")
    assert (device.memory, device.free, device.exact) == (12 * GIB, 7 * GIB, False)
    assert device.bandwidth == 150 * 10**9


def test_the_administrators_limit_is_exact() -> None:
    read = {"machdep.cpu.brand_string": CHIP, "iogpu.wired_limit_mb": (15000).to_bytes(4, "little")}
    device = apple.probe(Memory(total=18 * GIB, available=17 * GIB), read.get)
    assert (device.memory, device.free, device.exact) == (15000 * MIB, 15000 * MIB, True)


def test_a_chip_that_nobody_knows_yet() -> None:
    device = apple.probe(Memory(total=20 * GIB, available=9 * GIB), lambda _name: None)
    assert (device.name, device.model, device.bandwidth) == ("Apple GPU", None, None)
    assert device.memory == 20 * GIB * 2 // 3


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has these settings")
def test_elsewhere_there_are_no_such_settings() -> None:
    assert apple.sysctl("machdep.cpu.brand_string") is None
