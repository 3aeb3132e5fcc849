"""The named hardware: a data file of devices, found by any of the names that people and drivers use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from modelforge import resources
from modelforge.hardware import Device, Hardware
from modelforge.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from modelforge.hardware import Backend

GB = 10**9
SHARE = 0.93
"""What error correction, or the processor that shares the memory, leaves of the nominal size."""

NEAR = (0.88, 1.03)
"""A driver's total over the nominal size: 15/16 with error correction, about 0.93 where memory is shared."""

VENDOR_WORDS = frozenset({"nvidia", "geforce", "tesla", "amd", "radeon", "instinct", "intel", "apple"})
_SILENT_WORDS = VENDOR_WORDS | {"graphics", "gpu", "generation"}
_MARKS = re.compile(r"\((?:r|tm)\)|[®™]", re.IGNORECASE)
_MEMORY_UNIT = re.compile(r"(\d)gib\b")
_SERIES = re.compile(r"(?:rtx|gtx|rx)-(?=\d)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A line of the table. `nominal` is the memory on the box, `memory` what the driver reports, in bytes."""

    name: str
    card: str
    backend: Backend
    nominal: int
    memory: int
    exact: bool
    bandwidth: int
    source: str
    compute_capability: str | None = None
    count: int = 1
    unified: bool = False
    also: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """All names, in the order of the table."""
    return tuple(_entries())


def aliases() -> Mapping[str, str]:
    """Every other spelling -> name."""
    return _aliases()


def aliases_of(name: str) -> tuple[str, ...]:
    """The other spellings of one name of the table."""
    return tuple(alias for alias, target in _aliases().items() if target == name)


def entry(name: str) -> Entry | None:
    """The line of the table for a name; other spellings are not looked at."""
    return _entries().get(name)


def named(name: str) -> Hardware | None:
    """The hardware of that name, alias or driver's name, whatever its case; None if there is none."""
    found = _entries().get(name) or _entries().get(_by_spelling().get(fold(name), ""))
    return _hardware(found) if found else None


def match(device_name: str, memory: int) -> str | None:
    """The table's name for a device as its driver calls it, with `memory` bytes in total.

    Name and memory must both agree: cards of one name come with several memories, laptop parts carry the
    number of a desktop part, and some cards are sold with memory that they were not made with. For devices
    that share the processor's memory, `memory` is that of the machine.
    """
    low, high = NEAR
    near = [
        (abs(memory / found.nominal - 1), found.name)
        for found in _by_card().get(fold(device_name), ())
        if low <= memory / found.nominal <= high
    ]
    return min(near)[1] if near else None


def short(device_name: str) -> str:
    """A driver's name for people, without vendor words: `RTX 4090` of `NVIDIA GeForce RTX 4090`."""
    words = _MARKS.sub("", device_name).split()
    kept = " ".join(word for word in words if word.casefold() not in VENDOR_WORDS)
    return kept if any(map(str.isdigit, kept)) else " ".join(words)


def fold(name: str) -> str:
    """What all spellings of one device have in common: `rtx4090` of `NVIDIA GeForce RTX 4090`."""
    plain = _MEMORY_UNIT.sub(r"\1gb", _MARKS.sub("", name).casefold())
    words = re.findall(r"[a-z0-9]+", plain)
    return "".join("laptop" if word == "mobile" else word for word in words if word not in _SILENT_WORDS)


def working_set(memory: int) -> int:
    """Bytes that the GPU of an Apple chip may use of `memory`, where nothing else was set.

    macOS does not say how it chooses; seen were two thirds up to 36 GiB and three quarters or more above
    (recommendedMaxWorkingSetSize as llama.cpp logs it).
    """
    return memory * 2 // 3 if memory <= 36 * GIB else memory * 3 // 4


def _hardware(entry: Entry) -> Hardware:
    if entry.backend == "cpu":
        return Hardware(
            name=entry.name,
            backend="cpu",
            system_memory=entry.nominal,
            system_bandwidth=entry.bandwidth,
            description=entry.card,
        )
    device = Device(
        name=entry.card,
        memory=entry.memory,
        bandwidth=entry.bandwidth,
        compute_capability=entry.compute_capability,
        model=entry.name,
        exact=entry.exact,
    )
    return Hardware(
        name=entry.name,
        backend=entry.backend,
        devices=(device,) * entry.count,
        system_memory=entry.nominal if entry.unified else None,
        system_bandwidth=entry.bandwidth if entry.unified else None,
        description=f"{entry.card}, {entry.nominal // GIB} GB",
    )


# -- reading the data file ---------------------------------------------------------------------------


@cache
def _entries() -> Mapping[str, Entry]:
    import tomli  # noqa: PLC0415 (the table is read only when a name is looked up)

    content = tomli.loads(resources.data("hardware.toml"))
    cards = (
        _card(name, backend, line, content["sources"])
        for backend in ("cuda", "rocm", "vulkan")
        for name, line in content[backend].items()
    )
    return {found.name: found for found in chain(cards, _apple(content["metal"]), _cpus(content["cpu"]))}


def _card(name: str, backend: Backend, line: Mapping[str, Any], sources: str) -> Entry:
    nominal = line["gb"] * GIB
    is_shared = line.get("ecc", False) or line.get("unified", False)
    guess = round(nominal * SHARE) if is_shared else nominal
    source = line["source"]
    return Entry(
        name=name,
        card=line["card"],
        backend=backend,
        nominal=nominal,
        memory=line["mib"] * MIB if "mib" in line else guess,
        exact="mib" in line,
        bandwidth=round(line["bandwidth"] * GB),
        source=source if source.startswith("https:") else sources + source,
        compute_capability=line.get("cc"),
        count=line.get("count", 1),
        unified=line.get("unified", False),
        also=tuple(line.get("also", ())),
    )


def _apple(section: Mapping[str, Any]) -> Iterator[Entry]:
    for chip in section["chips"]:
        for gb in chip["gb"]:
            yield Entry(
                name=f"{_slug(short(chip['card']))}-{gb}gb",
                card=chip["card"],
                backend="metal",
                nominal=gb * GIB,
                memory=working_set(gb * GIB),
                exact=False,
                bandwidth=round(chip["bandwidth"] * GB),
                source=section["source"],
                unified=True,
            )


def _cpus(section: Mapping[str, Any]) -> Iterator[Entry]:
    for gb in section["gb"]:
        yield Entry(
            name=f"cpu-{gb}gb",
            card=f"no GPU, {gb} GB of memory",
            backend="cpu",
            nominal=gb * GIB,
            memory=gb * GIB,
            exact=True,
            bandwidth=round(section["bandwidth"] * GB),
            source=section["source"],
        )


# -- spellings ---------------------------------------------------------------------------------------


@cache
def _by_card() -> Mapping[str, tuple[Entry, ...]]:
    """Folded driver's name -> the entries that it may be; several where they differ in memory only."""
    found: dict[str, tuple[Entry, ...]] = {}
    for line in _entries().values():
        if line.backend != "cpu":
            for key in {fold(line.card), *map(fold, line.also)}:
                found[key] = (*found.get(key, ()), line)
    return found


@cache
def _aliases() -> Mapping[str, str]:
    lines = _entries()
    return {
        spelling: line.name
        for line in lines.values()
        if line.backend != "cpu"
        for spelling in _spellings(line)
        if spelling not in lines
    }


@cache
def _by_spelling() -> Mapping[str, str]:
    """Folded name or alias -> name."""
    entries = {fold(name): name for name in _entries()}
    return entries | {fold(alias): name for alias, name in _aliases().items()}


def _spellings(line: Entry) -> Iterable[str]:
    """Other names by rule: `rtx4090`, `4090`, `geforce-rtx-4090`, `rtx-4090-24gb`, and those of `also`."""
    memory = f"-{line.nominal // GIB}gb"
    stems = [line.name, _SERIES.sub("", line.name, count=1)]
    stems += [stem.replace("-laptop", "-mobile") for stem in stems]
    if memory not in line.name and line.count == 1:
        stems.append(line.name + memory)
    spellings = [*stems, line.name.replace("-", ""), *_card_spellings(line, memory), *map(_slug, line.also)]
    return dict.fromkeys(spelling for spelling in spellings if spelling != line.name)


def _card_spellings(line: Entry, memory: str) -> Iterable[str]:
    card = _slug(line.card)
    first, _, rest = card.partition("-")
    is_shared = len(_by_card()[fold(line.card)]) > 1 and not card.endswith(memory)
    forms = (card, rest) if first in VENDOR_WORDS else (card,)
    return [form + memory for form in forms] if is_shared else forms


def _slug(name: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", _MARKS.sub("", name).casefold()))
