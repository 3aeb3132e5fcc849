"""`--gpus`: which GPUs a container is asked to have, and how an engine is asked for them.

An engine hands out NVIDIA cards by a device request to its NVIDIA runtime, or by the names of the Container Device
Interface (CDI); AMD cards by CDI names, or as the device files of the kernel driver.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from modelforge.errors import UsageProblem, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelforge.runtimes.docker.facts import Facts

Mode: TypeAlias = Literal["auto", "all", "none", "ids"]
Way: TypeAlias = Literal["request", "cdi", "files"]

WORDS = ("auto", "all", "none")
_ID = re.compile(r"\d+(:\d+)?|(GPU|MIG)-[0-9A-Fa-f][\w/-]*")
_CDI_NAME = re.compile(r"[\w.-]+/[\w.-]+=[\w.:-]+")
_HOOK = "nvidia-container-runtime-hook"
_ROCM = re.compile(r":[\w.-]*rocm[\w.-]*(@|$)")
_HIDDEN = {"NVIDIA_VISIBLE_DEVICES": "void"}
"""Images for GPUs say `all`, which an engine that has NVIDIA's as its default runtime would obey unasked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpus:
    """What `--gpus` says. `ids` are indices, UUIDs, MIG instances or CDI names."""

    mode: Mode = "auto"
    ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As it is given on the command line."""
        return ",".join(self.ids) if self.mode == "ids" else self.mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """How an engine hands out GPUs. `vendor` as in CDI names."""

    vendor: Literal["nvidia.com", "amd.com"]
    way: Way


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuRequest:
    """The GPU part of a container's request, in the words of the engine's API, and in `text` for people."""

    text: str
    device_requests: tuple[Mapping[str, Any], ...] = ()
    devices: tuple[Mapping[str, str], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


NO_GPUS = GpuRequest(text="none", environment=_HIDDEN)


def parse_gpus(text: str) -> Gpus:
    """Reads `--gpus`. `device=0,1` is taken too, as the docker command writes it.

    Raises:
        UsageProblem: it says nothing that is known.
    """
    word = text.strip()
    for mode in WORDS:
        if word.casefold() == mode:
            return Gpus(mode=mode)  # type: ignore[arg-type]
    ids = tuple(part.strip().strip('"') for part in word.strip("\"'").removeprefix("device=").split(","))
    wrong = next((one for one in ids if not (_ID.fullmatch(one) or _CDI_NAME.fullmatch(one))), None)
    if wrong is None and len(set(ids)) == len(ids):
        return Gpus(mode="ids", ids=ids)
    reason = "one is named twice" if wrong is None else f"{wrong!r} is no GPU's id"
    raise UsageProblem(
        f"--gpus is {text!r}: {reason}; expected 'auto', 'all', 'none' or ids",
        hint=did_you_mean(word, WORDS)
        or "ids are numbers or UUIDs as 'nvidia-smi -L' shows them, such as 0,1 or GPU-8f6d…; a count is not meant",
    )


def meant_by(image: str) -> Accelerator:
    """How GPUs would be asked for if the engine had some: an image for ROCm is for AMD's, any other for NVIDIA's."""
    if _ROCM.search(image):
        return Accelerator(vendor="amd.com", way="files")
    return Accelerator(vendor="nvidia.com", way="request")


def accelerator_of(facts: Facts, *, image: str, has_file: Callable[[str], bool]) -> Accelerator | None:
    """How the engine hands out GPUs; None if it has none to give.

    Args:
        facts: what the engine tells of itself.
        image: an image for ROCm says which vendor is meant where the engine cannot.
        has_file: whether a file or program is there on the engine's machine, as far as that can be known.
    """
    vendors = {device.partition("/")[0] for device in facts.cdi_devices}
    amd_files = has_file("/dev/kfd")
    if _ROCM.search(image):
        if "amd.com" in vendors:
            return Accelerator(vendor="amd.com", way="cdi")
        known = not facts.here or amd_files
        return Accelerator(vendor="amd.com", way="files") if known else None
    if "nvidia" in facts.runtimes or has_file(_HOOK):
        return Accelerator(vendor="nvidia.com", way="request")
    for vendor in ("nvidia.com", "amd.com"):
        if vendor in vendors:
            return Accelerator(vendor=vendor, way="cdi")
    return Accelerator(vendor="amd.com", way="files") if amd_files or "amd" in facts.runtimes else None


def request_of(
    gpus: Gpus, accelerator: Accelerator | None, *, need: int | None, found: int
) -> GpuRequest | None:
    """What to ask the engine for; None where `gpus` insists on some that it cannot give.

    Args:
        gpus: what the user says.
        accelerator: how the engine hands them out, None if it has none.
        need: how many the plan counts on; None for all.
        found: how many the engine's machine has.
    """
    if gpus.mode == "none" or (gpus.mode == "auto" and (accelerator is None or need == 0 or not found)):
        return NO_GPUS
    if gpus.mode == "ids" and all(_CDI_NAME.fullmatch(one) for one in gpus.ids):
        return GpuRequest(text=str(gpus), device_requests=(_cdi(gpus.ids),))
    if accelerator is None:
        return None
    if accelerator.way == "cdi":
        names = [f"{accelerator.vendor}/gpu={one}" for one in _wanted(gpus, need, found) or ("all",)]
        return GpuRequest(text=", ".join(names), device_requests=(_cdi(names),))
    if accelerator.way == "files":
        return _files(gpus)
    return _nvidia(gpus, need, found)


def _wanted(gpus: Gpus, need: int | None, found: int) -> tuple[str, ...]:
    """The ids that are meant; nothing for all."""
    if gpus.mode == "ids":
        return gpus.ids
    if gpus.mode == "auto" and need is not None and need < found:
        return tuple(str(index) for index in range(need))
    return ()


def _nvidia(gpus: Gpus, need: int | None, found: int) -> GpuRequest:
    if gpus.mode == "ids":
        return GpuRequest(text=str(gpus), device_requests=(_request(DeviceIDs=list(gpus.ids)),))
    if gpus.mode == "auto" and need is not None and need < found:
        return GpuRequest(text=f"{need} of {found}", device_requests=(_request(Count=need),))
    return GpuRequest(text="all", device_requests=(_request(Count=-1),))


def _request(**which: object) -> dict[str, Any]:
    return {"Driver": "", "Capabilities": [["gpu"]], **which}


def _cdi(names: Sequence[str]) -> dict[str, Any]:
    return {"Driver": "cdi", "DeviceIDs": list(names)}


def _files(gpus: Gpus) -> GpuRequest:
    """ROCm's own variable hides what is not asked for: the files are for all cards."""
    files = tuple(
        {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"}
        for path in ("/dev/kfd", "/dev/dri")
    )
    chosen = {"ROCR_VISIBLE_DEVICES": str(gpus)} if gpus.mode == "ids" else {}
    return GpuRequest(text=str(gpus) if chosen else "all", devices=files, environment={**_HIDDEN, **chosen})
