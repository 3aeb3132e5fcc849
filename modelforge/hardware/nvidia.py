"""The NVIDIA GPUs of this machine, through the driver's own library (NVML)."""

from __future__ import annotations

import ctypes
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from modelforge.hardware import Device
from modelforge.hardware.table import match, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelforge.hardware.cpu import Memory

Nvml: TypeAlias = Any
"""The module pynvml, imported only where a machine is probed; it has no types."""
Handle: TypeAlias = Any
NvmlError: TypeAlias = Any
Figures: TypeAlias = "tuple[int, int | None, int]"
"""Bytes in total, free (None where it is not told), and reserved by the driver."""

NVIDIA_PCI_VENDOR = "0x10de"
_LEADING_NUMBER = re.compile(r"\s*([+-]?[0-9]+)")

_REMEDIES = {
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": "the NVIDIA driver's library and kernel module differ in version, as after"
    " an update while it ran, so no GPU can be used: reboot",
    "NVML_ERROR_NO_PERMISSION": "no permission to use the NVIDIA driver: give this user access to /dev/nvidia*,"
    " or start the container with its GPUs",
    "NVML_ERROR_DRIVER_NOT_LOADED": "there is an NVIDIA card, but its kernel module is not loaded: try"
    " 'modprobe nvidia', or install the driver again for the kernel that runs",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The GPUs that CUDA would use, in its order, and what is wrong with the others."""

    devices: tuple[Device, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A GPU, or an instance of one that is split (MIG).

    `index` is None for what CUDA shows only by its UUID. No device: it does not answer, `problem` says why. `part`:
    it is such an instance.
    """

    index: int | None
    uuid: str = ""
    device: Device | None = None
    problem: str = ""
    part: bool = False


def probe(*, visible: str | None, memory: Memory, root: Path = Path("/")) -> Found:
    """Asks the driver which GPUs there are.

    Args:
        visible: the value of CUDA_VISIBLE_DEVICES, None where it is not set.
        memory: the machine's memory, for GPUs that share it.
        root: where /sys lies.

    No driver is no problem. A driver that is there and does not work is told in `warnings`.
    """
    if not _library_is_there():
        return Found()
    import pynvml as nvml  # noqa: PLC0415 (slow to import, and most machines without a card stop above)

    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Found(warnings=_no_driver(nvml, error, root))
    try:
        handles = list(_handles(nvml))
        cards = [card for index, handle in enumerate(handles) for card in _cards(nvml, index, handle, memory)]
    except nvml.NVMLError as error:
        return Found(warnings=(_remedy(nvml, error),))
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    return chosen(cards, visible)


def chosen(cards: Sequence[Card], visible: str | None) -> Found:
    """The cards that CUDA shows under CUDA_VISIBLE_DEVICES, in the order that it names them.

    CUDA takes indices, or beginnings of UUIDs as far as they mean one card, and ends at the first that it does not
    know (CUDA programming guide, "Environment Variables"; details as PyTorch found them with driver 525). Its own
    numbers put the fastest card first, the driver's follow the slots: with unlike cards they may differ.
    """
    shown = [card for card in cards if card.index is not None] if visible is None else _shown(cards, visible)
    warnings = [card.problem for card in cards if card.problem and (card in shown or visible is None)]
    usable = tuple(card.device for card in together(shown) if card.device)
    if cards and not shown:
        warnings.append(f"CUDA_VISIBLE_DEVICES={visible!r} hides all NVIDIA GPUs of this machine")
    return Found(devices=usable, warnings=tuple(warnings))


def together(cards: Sequence[Card]) -> Sequence[Card]:
    """Those of these cards that one program has at a time: all, or the first instance of a split one.

    NVIDIA's MIG user guide, "CUDA Device Enumeration": a single instance, and then no card that is not split.
    """
    parts = [card for card in cards if card.part]
    return next(([card] for card in parts if card.device), parts[:1] or cards)


def device_of(
    name: str, figures: Figures | None, *, capability: str | None, memory: Memory
) -> tuple[Device, str]:
    """A GPU from what the driver tells of it, and what is to be said about that ("" for nothing).

    Args:
        name: the GPU's, as the driver has it.
        figures: None where the driver tells none, because the GPU shares the machine's memory.
        capability: None where the driver does not tell it: then it is the table's.
        memory: the machine's.
    """
    problem = ""
    if figures is None:
        figures = (memory.total, memory.available, 0)
        problem = f"the driver does not tell the memory of {name}: it shares the machine's, which is taken"
    total, free, reserved = figures
    model = match(name, total)
    known = named(model) if model else None
    like = known.devices[0] if known else None
    device = Device(
        name=name,
        memory=total,
        free=free,
        bandwidth=like.bandwidth if like else None,
        compute_capability=capability or (like.compute_capability if like else None),
        model=model,
        exact=not problem,
        reserved=reserved,
    )
    return device, problem


def silent(which: int | str | None, reason: object) -> str:
    """What is said of a card that does not answer."""
    return f"GPU {which} does not answer and is left out ({reason}): see 'nvidia-smi'"


def empty(index: int) -> str:
    """What is said of a card that is split into nothing."""
    return f"GPU {index} is in MIG mode but has no instance: see 'nvidia-smi mig'"


def _shown(cards: Sequence[Card], visible: str) -> list[Card]:
    """The cards that are named, in that order. The first word decides whether all of them are indices, or UUIDs."""
    kind = next((prefix for prefix in ("GPU-", "MIG-") if visible.startswith(prefix)), "")
    shown: list[Card] = []
    for wanted in visible.split(","):
        if kind:
            meant = [card for card in cards if wanted.startswith(kind) and card.uuid.startswith(wanted)]
        else:
            number = _LEADING_NUMBER.match(wanted)  # `1a` is 1 to it
            meant = [card for card in cards if number and card.index == int(number[1])]
        if len(meant) != 1:
            return shown
        if meant[0] in shown:  # CUDA shows nothing at all where one is named twice
            return []
        shown += meant
    return shown


def _handles(nvml: Nvml) -> Iterator[Handle | NvmlError]:
    """The cards that this process may use, or in place of one the error that it answers with.

    CUDA does not count cards that are kept from us, as from a container that was given others. If there is no card but
    such, that is the error.
    """
    hidden: NvmlError = None
    count = 0
    for number in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(number)
        except nvml.NVMLError_NoPermission as error:
            hidden = error
            continue
        except nvml.NVMLError as error:
            handle = error
        count += 1
        yield handle
    if hidden is not None and not count:
        raise hidden


def _cards(nvml: Nvml, index: int, handle: Handle | NvmlError, memory: Memory) -> Iterator[Card]:
    """The card with that index, or its instances if it is split."""
    if isinstance(handle, nvml.NVMLError):
        yield Card(index=index, problem=silent(index, handle))
        return
    try:
        if not _is_split(nvml, handle):
            yield _card(nvml, handle, memory, Card(index=index))
            return
        capability = _capability(nvml, handle)
        instances = list(_instances(nvml, handle))
    except nvml.NVMLError as error:
        yield Card(index=index, problem=silent(index, error))
        return
    if not instances:
        yield Card(index=index, problem=empty(index))
    for number, instance in enumerate(instances):
        card = _card(nvml, instance, memory, Card(index=None if number else index, part=True))
        device = card.device
        yield replace(card, device=device and replace(device, compute_capability=capability))


def _card(nvml: Nvml, handle: Handle, memory: Memory, card: Card) -> Card:
    try:
        uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        device, problem = _device(nvml, handle, memory)
    except nvml.NVMLError as error:
        return replace(card, problem=silent(card.index, error))
    return replace(card, uuid=uuid, device=device, problem=problem)


def _device(nvml: Nvml, handle: Handle, memory: Memory) -> tuple[Device, str]:
    name = _text(nvml.nvmlDeviceGetName(handle))
    figures = _figures(nvml, handle)
    return device_of(name, figures, capability=_capability(nvml, handle), memory=memory)


def _figures(nvml: Nvml, handle: Handle) -> Figures | None:
    """What the driver tells of the memory; None where the GPU has none of its own.

    Both versions of the call give the same total; only the second tells how much of it is reserved (it is
    neither free nor used there), which CUDA does not count into its total. Drivers before 510 know the first only,
    and their total already is CUDA's.
    """
    for version in (nvml.nvmlMemory_v2, None):
        try:
            found = nvml.nvmlDeviceGetMemoryInfo(handle, version=version)
        except (nvml.NVMLError_FunctionNotFound, nvml.NVMLError_ArgumentVersionMismatch):
            continue
        except nvml.NVMLError_NotSupported:
            return None
        return (found.total, found.free, found.reserved if version else 0) if found.total else None
    return None


def _capability(nvml: Nvml, handle: Handle) -> str | None:
    """The CUDA compute capability, such as `8.9`; instances of a split GPU do not tell it."""
    with suppress(nvml.NVMLError):
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        return f"{major}.{minor}"
    return None


def _is_split(nvml: Nvml, handle: Handle) -> bool:
    with suppress(nvml.NVMLError):  # most cards cannot be split, and say so by an error
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    return False


def _instances(nvml: Nvml, handle: Handle) -> Iterator[Handle]:
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with suppress(nvml.NVMLError_NotFound):
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _library_is_there() -> bool:
    """Whether the driver's library can be loaded; asked where that is cheaper than importing pynvml to be told."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        ctypes.CDLL("libnvidia-ml.so.1")  # the name that pynvml loads
    except OSError:
        return False
    return True


def _no_driver(nvml: Nvml, error: NvmlError, root: Path) -> tuple[str, ...]:
    """Nothing where there is no driver; the module may also be missing because there is no card."""
    if error.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return ()
    if error.value == nvml.NVML_ERROR_DRIVER_NOT_LOADED and not has_card(root):
        return ()
    return (_remedy(nvml, error),)


def _remedy(nvml: Nvml, error: NvmlError) -> str:
    by_value = {getattr(nvml, name): text for name, text in _REMEDIES.items()}
    return (
        by_value.get(error.value) or f"the NVIDIA driver does not work ({error}): see what 'nvidia-smi' says"
    )


def has_card(root: Path) -> bool:
    """True if an NVIDIA display or compute card is on the PCI bus (class 03xx)."""
    for device in (root / "sys/bus/pci/devices").glob("*"):
        with suppress(OSError):
            kind = (device / "class").read_text(encoding="ascii").strip()
            vendor = (device / "vendor").read_text(encoding="ascii").strip()
            if vendor == NVIDIA_PCI_VENDOR and kind.startswith("0x03"):
                return True
    return False
