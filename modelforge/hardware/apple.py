"""What the GPU of an Apple chip may use of the memory that it shares with the processor."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, TypeAlias

from modelforge.hardware import Device
from modelforge.hardware.table import match, named, working_set
from modelforge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelforge.hardware.cpu import Memory

Sysctl: TypeAlias = "Callable[[str], bytes | None]"


def sysctl(name: str) -> bytes | None:
    """The raw value of a kernel setting of macOS; None where there is no such setting."""
    try:
        call = ctypes.CDLL(None).sysctlbyname
    except (AttributeError, OSError):
        return None
    size = ctypes.c_size_t(256)
    value = ctypes.create_string_buffer(size.value)
    if call(name.encode(), value, ctypes.byref(size), None, 0) != 0:
        return None
    return value.raw[: size.value]


def probe(memory: Memory, read: Sysctl = sysctl) -> Device:
    """The GPU of this machine's chip, with the memory that Metal gives it.

    `iogpu.wired_limit_mb` is the administrator's limit in MiB, 0 where macOS decides. Then the share is a
    guess: the exact figure is known only to Metal (`recommendedMaxWorkingSetSize`).
    """
    name = _text(read("machdep.cpu.brand_string")) or "Apple GPU"
    limit = int.from_bytes(read("iogpu.wired_limit_mb") or b"", "little") * MIB
    usable = min(limit, memory.total) or working_set(memory.total)
    model = match(name, memory.total)
    known = named(model) if model else None
    return Device(
        name=name,
        memory=usable,
        free=min(usable, memory.available),
        bandwidth=known.devices[0].bandwidth if known else None,
        model=model,
        exact=limit > 0,
    )


def _text(value: bytes | None) -> str:
    return (value or b"").split(b"\0", 1)[0].decode(errors="replace").strip()
