"""The AMD GPUs of this machine, as the kernel's driver tells of them in /sys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from modelforge.hardware import Device, amd_sysfs
from modelforge.hardware.table import named

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The GPUs that one backend would use, and what is wrong with them."""

    devices: tuple[Device, ...] = ()
    backend: Literal["rocm", "vulkan"] = "rocm"
    warnings: tuple[str, ...] = ()


def probe(root: Path) -> Found:
    """Reads /sys under `root`; no driver is no problem.

    ROCm needs /dev/kfd, Vulkan only what is in /dev/dri: a container that was not given either has no GPU, though
    it sees them all in /sys. Cards that ROCm does not support are of no use beside one that it does: the
    table says which.
    """
    devices = amd_sysfs.devices(amd_sysfs.look(root))
    if not devices:
        return Found()
    has_rocm, has_vulkan = (root / "dev/kfd").exists(), any((root / "dev/dri").glob("renderD*"))
    with_rocm = tuple(device for device in devices if has_rocm and _backend(device) == "rocm")
    if with_rocm:
        return Found(devices=with_rocm)
    if has_vulkan:
        return Found(devices=devices, backend="vulkan")
    names = ", ".join(device.name for device in devices)
    trouble = f"{names} cannot be used, as neither /dev/kfd nor /dev/dri is there"
    return Found(warnings=(f"{trouble}: start the container with --device /dev/kfd --device /dev/dri",))


def _backend(device: Device) -> str:
    """What the card is used by; one that is not in the table is new, and so ROCm's."""
    known = named(device.model) if device.model else None
    return known.backend if known else "rocm"
