"""This machine as hardware to plan for."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.hardware import THIS, Hardware, amd, apple, cpu, nvidia

if TYPE_CHECKING:
    from modelforge.hardware import Backend, Device
    from modelforge.hardware.cpu import Memory


def this(*, visible: str | None, root: Path = Path("/")) -> Hardware:
    """The machine that we run on: its NVIDIA GPUs, else its AMD GPUs, else its Apple chip, else its processor.

    Args:
        visible: the value of CUDA_VISIBLE_DEVICES, None where it is not set.
        root: where /proc, /sys and /dev lie.
    """
    memory = cpu.probe(root=root)
    backend, devices, warnings = _gpus(memory, visible, root)
    return Hardware(
        name=THIS,
        backend=backend,
        devices=devices,
        system_memory=memory.total,
        system_free=memory.available,
        description=memory.note,
        origin="probed",
        warnings=warnings,
    )


def _gpus(
    memory: Memory, visible: str | None, root: Path
) -> tuple[Backend, tuple[Device, ...], tuple[str, ...]]:
    """What models run on, and what is wrong with what else there is."""
    if (platform.system(), platform.machine()) == ("Darwin", "arm64"):
        return "metal", (apple.probe(memory),), ()
    cards = nvidia.probe(visible=visible, memory=memory, root=root)
    if cards.devices:
        return "cuda", cards.devices, cards.warnings
    others = amd.probe(root)
    backend: Backend = others.backend if others.devices else "cpu"
    return backend, others.devices, (*cards.warnings, *others.warnings)
