"""Hardware, profiles and the doctor's findings in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.display import columns, left, visible
from modelforge.units import gib, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelforge.finding import Finding
    from modelforge.hardware import Device, Hardware
    from modelforge.profile import Profile
    from modelforge.runtimes import Entry

_GIGA = 10**9


def hardware_lines(hardware: Hardware) -> list[str]:
    """A machine: its devices with total and free memory and bandwidth, then its system memory."""
    title = f"{visible(hardware.name)}: {hardware.backend}"
    if hardware.description:
        title += f", {visible(hardware.description)}"
    lines = [title, *(f"  {line}" for line in _device_lines(hardware.devices))]
    if hardware.system_memory is not None:
        parts = [f"{gib(hardware.system_memory)} GiB system memory"]
        parts += [f"{gib(hardware.system_free)} free"] if hardware.system_free is not None else []
        parts += [_rate(hardware.system_bandwidth)] if hardware.system_bandwidth else []
        lines.append("  " + ", ".join(parts))
    return [*lines, *(f"warning: {visible(text)}" for text in hardware.warnings)]


def _device_lines(devices: Sequence[Device]) -> list[str]:
    names = [visible(device.name) for device in devices]
    wide = max((columns(name) for name in names), default=0)
    return [
        f"{left(name, wide)}  {_device_text(device)}" for name, device in zip(names, devices, strict=True)
    ]


def _device_text(device: Device) -> str:
    usable = f" ({gib(device.usable)} usable)" if device.reserved else ""
    parts = [f"{'' if device.exact else '~'}{gib(device.memory)} GiB{usable}"]
    parts += [f"{gib(device.free)} free"] if device.free is not None else []
    parts += [_rate(device.bandwidth)] if device.bandwidth else []
    parts += [f"compute {visible(device.compute_capability)}"] if device.compute_capability else []
    parts += [f"table name {device.model}"] if device.model and device.model != device.name else []
    return ", ".join(parts)


def _rate(bytes_a_second: int) -> str:
    return f"{bytes_a_second / _GIGA:.0f} GB/s"


def list_lines(profiles: Sequence[Profile], standing: Mapping[str, Sequence[Entry]]) -> list[str]:
    """The profiles: name, base, targets, what it is; below each the models of it that stand."""
    rows = [(profile.name, profile.base.model, profile.description) for profile in profiles]
    lines = []
    for profile, line in zip(profiles, _aligned(rows), strict=True):
        lines.append(line)
        models = standing.get(profile.name, ())
        lines += [f"  ✓ {visible(model.name)}   {size_text(model.bytes)}" for model in models]
    return lines or ["no profiles here; modelforge init makes one"]


def doctor_lines(findings: Sequence[Finding]) -> list[str]:
    """A line for each finding, and the remedy under those that are not well."""
    lines = []
    for finding in findings:
        lines.append(f"{'✓' if finding.good else '✗'} {visible(finding.text)}")
        if not finding.good and finding.remedy:
            lines += [f"    {visible(line)}" for line in finding.remedy.splitlines()]
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as columns that line up."""
    safe = [[visible(cell) for cell in row] for row in rows]
    widths = [max(columns(cell) for cell in column) for column in zip(*safe, strict=True)]
    return [
        "  ".join(left(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in safe
    ]
