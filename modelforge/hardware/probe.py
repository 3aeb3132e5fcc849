"""This machine as hardware to plan for."""

from __future__ import annotations

import platform
from pathlib import Path

from modelforge.hardware import THIS, Hardware, apple, cpu, nvidia


def this(*, visible: str | None, root: Path = Path("/")) -> Hardware:
    """The machine that we run on: its NVIDIA GPUs, else its Apple chip, else its processor.

    Args:
        visible: the value of CUDA_VISIBLE_DEVICES, None where it is not set.
        root: where /proc and /sys lie.
    """
    memory = cpu.probe(root=root)
    found = nvidia.probe(visible=visible, memory=memory, root=root)
    is_apple = (platform.system(), platform.machine()) == ("Darwin", "arm64")
    devices = found.devices or ((apple.probe(memory),) if is_apple else ())
    return Hardware(
        name=THIS,
        backend="cuda" if found.devices else "metal" if is_apple else "cpu",
        devices=devices,
        system_memory=memory.total,
        system_free=memory.available,
        description=memory.note,
        origin="probed",
        warnings=found.warnings,
    )
