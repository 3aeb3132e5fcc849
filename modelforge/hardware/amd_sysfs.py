"""The AMD GPUs of a machine, from what the kernel's driver (amdgpu) tells in /sys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge.display import shorten
from modelforge.hardware import Device
from modelforge.hardware.table import match, named
from modelforge.units import GIB

if TYPE_CHECKING:
    from pathlib import Path

_FILES = (
    "device",
    "mem_info_vram_total",
    "mem_info_vram_used",
    "mem_info_gtt_total",
    "unique_id",
    "product_name",
    "revision",
)
_VENDOR = "0x1002"

COMMAND = (
    "sh",
    "-c",
    f"""\
for card in /sys/class/drm/card*; do
  case ${{card##*/}} in *-*) continue ;; esac
  [ "$(cat "$card/device/vendor" 2>/dev/null)" = {_VENDOR} ] || continue
  printf %s "${{card##*/}}"
  for file in {" ".join(_FILES)}; do
    printf '\\t%s' "$(cat "$card/device/$file" 2>/dev/null)"
  done
  printf '\\n'
done""",
)
"""Prints a line for each AMD card, its fields parted by tabs: the card, then what is in the files, "" for none.

It needs a shell and cat, and no device: /sys is the kernel's in every container. `card0-DP-1` is an output.
"""

CARVED = 2 * GIB
"""GPUs in processors have less than this by default, cards for models have more."""

_CARDS = (
    ("0x66a1", "0x02", "AMD Instinct MI50"),
    ("0x66a1", "0x02", "AMD Instinct MI60"),  # the memory tells which
    ("0x66af", "0xc1", "AMD Radeon VII"),
    ("0x67df", "0xc1", "AMD Radeon RX 580"),
    ("0x67df", "0xc3", "AMD Radeon RX 580"),
    ("0x67df", "0xe7", "AMD Radeon RX 580"),
    ("0x731f", "0xc1", "AMD Radeon RX 5700 XT"),
    ("0x731f", "0xc5", "AMD Radeon RX 5700 XT"),
    ("0x738c", "0x01", "AMD Instinct MI100"),
    ("0x73a3", "0x00", "AMD Radeon PRO W6800"),
    ("0x73a5", "0xc0", "AMD Radeon RX 6950 XT"),
    ("0x73af", "0xc0", "AMD Radeon RX 6900 XT"),
    ("0x73bf", "0xc0", "AMD Radeon RX 6900 XT"),
    ("0x73bf", "0xc1", "AMD Radeon RX 6800 XT"),
    ("0x73bf", "0xc3", "AMD Radeon RX 6800"),
    ("0x73df", "0xc0", "AMD Radeon RX 6750 XT"),
    ("0x73df", "0xc1", "AMD Radeon RX 6700 XT"),
    ("0x73df", "0xc5", "AMD Radeon RX 6700 XT"),
    ("0x73ef", "0xc1", "AMD Radeon RX 6650 XT"),
    ("0x73ff", "0xc1", "AMD Radeon RX 6600 XT"),
    ("0x73ff", "0xc7", "AMD Radeon RX 6600"),
    ("0x7408", "0x00", "AMD Instinct MI250X"),
    ("0x740f", "0x02", "AMD Instinct MI210"),
    ("0x7448", "0x00", "AMD Radeon PRO W7900"),
    ("0x744c", "0xc8", "AMD Radeon RX 7900 XTX"),
    ("0x744c", "0xcc", "AMD Radeon RX 7900 XT"),
    ("0x744c", "0xce", "AMD Radeon RX 7900 GRE"),
    ("0x745e", "0xcc", "AMD Radeon PRO W7800"),
    ("0x747e", "0xc8", "AMD Radeon RX 7800 XT"),
    ("0x747e", "0xff", "AMD Radeon RX 7700 XT"),
    ("0x7480", "0xc0", "AMD Radeon RX 7600 XT"),
    ("0x7480", "0xcf", "AMD Radeon RX 7600"),
    ("0x74a0", "0x00", "AMD Instinct MI300A"),
    ("0x74a1", "0x00", "AMD Instinct MI300X"),
    ("0x74a5", "0x00", "AMD Instinct MI325X"),
    ("0x74b5", "0x00", "AMD Instinct MI300X"),  # as a virtual machine sees a whole one
    ("0x7550", "0xc0", "AMD Radeon RX 9070 XT"),
    ("0x7550", "0xc3", "AMD Radeon RX 9070"),
    ("0x7551", "0xc0", "AMD Radeon AI PRO R9700"),
    ("0x7590", "0xc0", "AMD Radeon RX 9060 XT"),
    ("0x75a0", "0x00", "AMD Instinct MI350X"),
    ("0x75a3", "0x00", "AMD Instinct MI355X"),
)
"""PCI device id, revision, and the table's name of the card, as far as libdrm's list (amdgpu.ids) is clear."""

_NUMBER = re.compile(r"[0-9]{1,18}")
_ID = re.compile(r"0x[0-9a-f]{1,4}")
_CARD = re.compile(r"card([0-9]{1,9})")
_FIELDS = 1 + len(_FILES)
_NAME = 100  # columns


@dataclass(frozen=True, kw_only=True, slots=True)
class _Card:
    """A line of the output. Sizes in bytes, None where the file is missing."""

    number: int
    device_id: str
    revision: str
    product_name: str
    total: int
    used: int | None
    shared: int | None


def devices(text: str) -> tuple[Device, ...]:
    """The GPUs in the order of their card numbers, from what `COMMAND` printed. Other lines are skipped.

    A GPU in a processor that has little memory carved out for it (less than 2 GiB, and more that it shares) is
    left out: how much of the machine's memory it can have is not told here, and ROCm, Vulkan and the kernel
    differ about it by half; most are too slow to gain from, and beside a card a plan would split the model
    between both. A file hardware/NAME.toml can say what such a machine is. More that was carved out counts as
    what it is: memory of the GPU.

    Cards whose driver tells no memory (the old `radeon`) are left out too: no runtime can use them.
    """
    cards = (card for line in text.split("\n") if (card := _card(line)))
    return tuple(
        _device(card) for card in sorted(cards, key=lambda card: card.number) if not _is_carved(card)
    )


def look(root: Path) -> str:
    """What `COMMAND` prints where /sys lies under `root`, without a shell."""
    cards = sorted((root / "sys/class/drm").glob("card*"))
    return "\n".join(
        "\t".join([card.name, *(_content(card / "device" / file) for file in _FILES)])
        for card in cards
        if "-" not in card.name and _content(card / "device" / "vendor") == _VENDOR
    )


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").rstrip("\n")
    except OSError:
        return ""


def _card(line: str) -> _Card | None:
    """None for a line that is something else, or has no memory."""
    fields = line.rstrip("\r").split("\t")
    fields += [""] * (_FIELDS - len(fields))
    card, device_id, total, used, shared, _unique_id, product_name, revision = fields[:_FIELDS]
    name, size = _CARD.fullmatch(card), _number(total)
    if not name or not size:
        return None
    return _Card(
        number=int(name[1]),
        device_id=_id(device_id),
        revision=_id(revision),
        product_name=shorten(" ".join(product_name.split()), _NAME),
        total=size,
        used=_number(used),
        shared=_number(shared),
    )


def _is_carved(card: _Card) -> bool:
    return card.total < CARVED and (card.shared or 0) > card.total


def _device(card: _Card) -> Device:
    name, model = _named(card)
    known = named(model) if model else None
    return Device(
        name=name,
        memory=card.total,
        free=None if card.used is None else max(0, card.total - card.used),
        bandwidth=known.devices[0].bandwidth if known else None,
        model=model,
    )


def _named(card: _Card) -> tuple[str, str | None]:
    """The card's name, and the table's for it.

    Only cards for servers tell a name of their own, and not always the usual one (`AMD Instinct MI300X OAM`).
    One id is several cards, of several memories; without the revision it is told by the memory, if at all.
    """
    model = match(card.product_name, card.total)
    by_id = {
        match(name, card.total): name
        for device_id, revision, name in _CARDS
        if device_id == card.device_id and card.revision in {revision, ""}
    }
    by_id.pop(None, None)
    if len(by_id) == 1:
        ((found, name),) = by_id.items()
        return card.product_name or name, model or found
    return card.product_name or f"AMD GPU {card.device_id}".strip(), model


def _id(text: str) -> str:
    found = text.strip().casefold()
    return found if _ID.fullmatch(found) else ""


def _number(text: str) -> int | None:
    found = text.strip()
    return int(found) if _NUMBER.fullmatch(found) else None
