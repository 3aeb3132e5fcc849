"""A device set to plan for: what it is, and how much memory it gives.

Where the figures come from has a module each: `table` (named devices), `files` (a project's own
hardware/*.toml), `nvidia`, `apple` and `cpu` (probes of this machine, put together by `probe`), `choose`
(which of them a name means).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Backend: TypeAlias = Literal["cuda", "rocm", "vulkan", "metal", "cpu"]
Origin: TypeAlias = Literal["probed", "table", "file", "size"]

THIS = "this"
"""The name of the runtime's own machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One accelerator. Sizes in bytes, bandwidth in bytes a second.

    `memory` is the total that the driver reports, `free` what is free now (probes only). `reserved` is the
    part of `memory` that the driver keeps for itself and no program can have; 0 where it is not known.
    `model` is the device's name in the table, None where it is not there. `exact` is False where the memory
    is a guess from the nominal size.
    """

    name: str
    memory: int
    free: int | None = None
    bandwidth: int | None = None
    compute_capability: str | None = None
    model: str | None = None
    exact: bool = True
    reserved: int = 0

    @property
    def usable(self) -> int:
        """Bytes that programs can have: what CUDA, and so llama.cpp, shows as the total."""
        return self.memory - self.reserved


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """A named set of devices. No devices: models run on the CPU, in `system_memory`.

    `system_memory` (bytes) respects container limits; it is None only where nobody said how much there is.
    """

    name: str
    backend: Backend
    devices: tuple[Device, ...] = ()
    system_memory: int | None = None
    system_free: int | None = None
    system_bandwidth: int | None = None
    description: str = ""
    origin: Origin = "table"
    warnings: tuple[str, ...] = ()
