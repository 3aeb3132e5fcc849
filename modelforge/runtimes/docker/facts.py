"""What an engine tells of itself and of the machine that it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """An engine's machine: its host name, memory in bytes, number of processors; how it can limit and hand out things.

    `runtimes` are the names of its OCI runtimes, `cdi_devices` the devices that it found by CDI, such as
    `nvidia.com/gpu=0` (engines before 28 do not tell). `here`: it is the machine that we run on.
    `root` is the folder there with its images and volumes.
    """

    version: str
    machine: str
    memory: int
    cpus: int
    runtimes: frozenset[str]
    cdi_devices: tuple[str, ...]
    limits_memory: bool
    limits_pids: bool
    limits_cpus: bool
    here: bool
    root: str = ""


def facts_of(info: Mapping[str, Any], *, node: str, kernel: str) -> Facts:
    """Reads the engine's `GET /info`. `node` and `kernel` are our own machine's name and kernel release.

    An engine in a virtual machine (Docker Desktop), or beside the container that we are in, has another name.
    """
    found = info.get("DiscoveredDevices") or ()
    return Facts(
        version=str(info.get("ServerVersion") or ""),
        machine=str(info.get("Name") or "the engine's machine"),
        memory=int(info.get("MemTotal") or 0),
        cpus=int(info.get("NCPU") or 0),
        runtimes=frozenset(info.get("Runtimes") or ()),
        cdi_devices=tuple(str(one.get("ID") or "") for one in found if one.get("Source") == "cdi"),
        limits_memory=bool(info.get("MemoryLimit")),
        limits_pids=bool(info.get("PidsLimit")),
        limits_cpus=bool(info.get("CpuCfsQuota", True)),
        here=(info.get("Name"), info.get("KernelVersion")) == (node, kernel),
        root=str(info.get("DockerRootDir") or ""),
    )
