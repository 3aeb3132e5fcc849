"""The NVIDIA GPUs of a machine, from what `nvidia-smi -q -x` prints there."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from modelforge.display import shorten
from modelforge.hardware.nvidia import Card, device_of, empty, silent
from modelforge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelforge.hardware.cpu import Memory
    from modelforge.hardware.nvidia import Figures

COMMAND = ("nvidia-smi", "-q", "-x")
LONGEST = MIB
"""Characters that are read at most; eight data centre cards take some 350,000."""

_BEGIN, _END = "<nvidia_smi_log", "</nvidia_smi_log>"
_NAME_BEGIN, _NAME_END = "<process_name>", "</process_name>"
_NO_CARDS = "No devices were found"
_LOST = "unable to determine the device handle for gpu"

_SHARED = frozenset({"N/A", "Not Supported"})
"""What stands for the memory of a GPU that has none of its own, in newer and older drivers."""
_ERROR = re.compile(
    r"ERR!|error|is lost|requires reset|insufficient permissions|access blocked", re.IGNORECASE
)
_MIB = re.compile(r"([0-9]{1,9}) MiB")
_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]")
_UUID = re.compile(r"(GPU|MIG)-[\w/-]+", re.ASCII)
_LINE, _FIELD = 200, 100  # columns of a message, and of a field


def cards(xml: str, memory: Memory) -> tuple[Card, ...]:
    """All cards in the driver's order; those that the driver cannot reach at all are last.

    Other text around the document is skipped: images greet, and the driver warns there. The document's own
    declarations are not read, so it can define nothing.

    Args:
        xml: all that the program printed.
        memory: the memory of the machine that it ran on, for GPUs that share it.

    Raises:
        ValueError: there is no whole document in it; with the first line of what there is instead, for people.
    """
    if len(xml) > LONGEST:
        raise ValueError(f"nvidia-smi printed more than {LONGEST} characters, which none does")
    document, rest = _parted(xml)
    lost = tuple(
        Card(index=None, problem=f"a GPU does not answer and is left out ({shorten(line.strip(), _LINE)})")
        for line in rest.splitlines()
        if _LOST in line.casefold()
    )
    if not document and _NO_CARDS not in rest:
        raise ValueError(_first_line(rest))
    gpus = _root(document).findall("gpu") if document else ()
    return (*(card for index, gpu in enumerate(gpus) for card in _cards(gpu, index, memory)), *lost)


def _parted(text: str) -> tuple[str, str]:
    """The document from its root on, "" if there is none, and the text around it."""
    start = text.find(_BEGIN)
    if start < 0:
        return "", text
    head = text[:start]
    if "[" in head.partition("<!DOCTYPE")[2] or "<!ENTITY" in head:
        raise ValueError("nvidia-smi's document type has declarations, which a real one never has")
    end = text.rfind(_END, start)
    if end < 0:
        raise ValueError("nvidia-smi's output breaks off before its end")
    end += len(_END)
    return _without_names(text[start:end]), f"{head}\n{text[end:]}"


def _without_names(document: str) -> str:
    """The document without names of processes: nvidia-smi writes them as they are, and some break the XML."""
    first, *others = document.split(_NAME_BEGIN)
    return "".join([first, *(other.partition(_NAME_END)[2] for other in others)])


def _root(document: str) -> ET.Element:
    try:
        return ET.fromstring(document)  # noqa: S314 (it begins after the place where entities are defined)
    except (ET.ParseError, UnicodeError) as error:
        raise ValueError(f"nvidia-smi's output is broken XML: {shorten(str(error), _LINE)}") from error


def _first_line(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return shorten(next((line for line in lines if line), "nothing was printed"), _LINE)


def _cards(gpu: ET.Element, index: int, memory: Memory) -> Iterator[Card]:
    """The card, or its instances if it is split."""
    name = _text(gpu, "product_name")
    uuid = _uuid(gpu)
    if not name or name in _SHARED or _ERROR.search(name):
        yield Card(index=index, uuid=uuid, problem=silent(index, name or "it has no name"))
    elif _text(gpu, "mig_mode/current_mig").casefold() == "enabled":
        yield from _instances(gpu, index, name, memory)
    elif reason := _trouble(gpu):
        yield Card(index=index, uuid=uuid, problem=silent(index, reason))
    else:
        device, problem = device_of(name, _figures(gpu), capability=_capability(gpu), memory=memory)
        yield Card(index=index, uuid=uuid, device=device, problem=problem)


def _instances(gpu: ET.Element, index: int, name: str, memory: Memory) -> Iterator[Card]:
    """The instances of a split card; CUDA shows the first by the card's index, the others by their UUIDs.

    Their profiles (`1g.5gb`) are not told, and by most drivers their UUIDs are not.
    """
    instances = gpu.findall("mig_devices/mig_device")
    if not instances:
        yield Card(index=index, problem=empty(index))
    whole, _ = device_of(name, _figures(gpu), capability=_capability(gpu), memory=memory)
    for number, instance in enumerate(instances):
        card = Card(index=None if number else index, uuid=_uuid(instance), part=True)
        figures = _figures(instance)
        if figures is None:
            reason = _trouble(instance) or "its memory is not told"
            yield replace(card, problem=silent(f"{index}, instance {number}", reason))
            continue
        capability = whole.compute_capability
        device, _ = device_of(f"{name} MIG", figures, capability=capability, memory=memory)
        yield replace(card, device=device)


def _trouble(element: ET.Element) -> str:
    """What stands in place of the memory of a card that does not answer; "" where it answers."""
    total = _text(element, "fb_memory_usage/total")
    return "" if _MIB.fullmatch(total) or total in _SHARED else total or "its memory is not told"


def _figures(element: ET.Element) -> Figures | None:
    """None where the memory is the machine's. Drivers before 510 do not tell what they reserve."""
    total, free, reserved = (
        _mib(_text(element, f"fb_memory_usage/{field}")) for field in ("total", "free", "reserved")
    )
    return (total, free, reserved or 0) if total else None


def _capability(gpu: ET.Element) -> str | None:
    """The compute capability, such as `8.9`; no driver up to 595 tells it in this document."""
    found = _text(gpu, "compute_cap")
    return found if _CAPABILITY.fullmatch(found) else None


def _uuid(element: ET.Element) -> str:
    found = _text(element, "uuid")
    return found if _UUID.fullmatch(found) else ""


def _mib(text: str) -> int | None:
    """Bytes of `24564 MiB`; None for words."""
    found = _MIB.fullmatch(text)
    return int(found[1]) * MIB if found else None


def _text(element: ET.Element, path: str) -> str:
    """What stands there, on one safe line, without the brackets that some drivers put round words; "" for nothing."""
    return shorten(" ".join(element.findtext(path, "").split()), _FIELD).strip("[]")
