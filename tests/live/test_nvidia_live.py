"""The probe and NVIDIA's own nvidia-smi tell the same of the cards that are here.

Nothing is skipped where there is no card, as there is none in CI: then the probe must find none either.
"""

from __future__ import annotations

import os
import shutil

from modelforge import process
from modelforge.hardware import cpu, nvidia
from modelforge.units import MIB

QUERY = "--query-gpu=name,memory.total,memory.reserved,compute_cap"


def cards_by_smi() -> list[tuple[str, ...]]:
    smi = shutil.which("nvidia-smi")
    done = process.run([smi, QUERY, "--format=csv,noheader,nounits"], seconds=60) if smi else None
    if done is None or done.code != 0:
        return []
    return [tuple(field.strip() for field in line.split(",")) for line in done.stdout.splitlines() if line]


def test_the_probe_agrees_with_nvidia_smi() -> None:
    found = nvidia.probe(visible=None, memory=cpu.probe())
    mine = [
        (device.name, str(device.memory // MIB), str(device.reserved // MIB), device.compute_capability)
        for device in found.devices
    ]
    theirs = cards_by_smi()
    assert [card[0] for card in mine] == [card[0] for card in theirs]
    for ours, card in zip(mine, theirs, strict=True):
        assert ours == card or not card[1].isdigit()  # "[N/A]" where the memory is the machine's


def test_asking_the_driver_leaves_the_environment_as_it_was() -> None:
    before = dict(os.environ)
    nvidia.probe(visible="0", memory=cpu.probe())
    assert dict(os.environ) == before
