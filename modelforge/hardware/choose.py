"""Which hardware a name means: a project's own file, a device of the table, a size, or this machine."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from modelforge.errors import UsageProblem, nearest
from modelforge.hardware import THIS, Device, Hardware, table
from modelforge.units import GIB, parse_size

TIB = 1024 * GIB
LARGEST = 16 * TIB
"""Bytes of one device; more is a slip of the pen."""

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LIKE_SIZE = re.compile(r"[+-]?[\d.,]+\s*[kmgtp]i?b", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([mgt])(i?)b", re.IGNORECASE)

# fmt: off
NOMINAL_GB = (
    1, 2, 3, 4, 6, 8, 10, 11, 12, 16, 18, 20, 22, 24, 32, 36, 40, 48, 64, 80, 96,
    128, 141, 180, 192, 256, 288, 384, 512, 768, 1024,
)
# fmt: on
"""Sizes that memory is sold in; a system reports somewhat less."""


def by_name(
    name: str, *, folder: Path | None, probe: Callable[[], Hardware], root: Path | None = None
) -> Hardware:
    """The hardware that is meant.

    Args:
        name: `this`, a file's stem, a name or alias of the table, or a size such as `8GiB`.
        folder: the project's hardware folder; its files win over the table.
        probe: asks this machine; called for `this` only.
        root: what paths in messages are relative to; the folder's parent if not given.

    Raises:
        UsageProblem: there is no such hardware.
        ProfileProblem: the project's file of that name is wrong.
    """
    if name.casefold() == THIS:
        return probe()
    own = own_files(folder)
    file = own.get(name) or {stem.casefold(): path for stem, path in own.items()}.get(name.casefold())
    if file is not None:
        from modelforge.hardware import files  # noqa: PLC0415 (brings pydantic, which a named device needs not)

        return files.load_hardware(file, root=root or file.parent.parent)
    found = table.named(name) or of_size(name)
    if found is None:
        is_size = _LIKE_SIZE.fullmatch(name.strip())
        limits = f"a size is above 0 and at most {LARGEST // TIB}TiB; " if is_size else ""
        raise UsageProblem(f"there is no hardware '{name}'", hint=limits + _hint(name, own))
    return found


def own_files(folder: Path | None) -> dict[str, Path]:
    """The project's own hardware: name -> file, sorted. Nothing where there is no such folder."""
    if folder is None or not folder.is_dir():
        return {}
    try:
        return {file.stem: file for file in sorted(folder.iterdir()) if file.suffix == ".toml"}
    except OSError as error:
        raise UsageProblem(
            f"the hardware folder {folder} cannot be read ({error.strerror})", hint="check its permissions"
        ) from error


def of_size(text: str) -> Hardware | None:
    """One nameless CUDA device of `8GiB` or `12 GB`; None if the text is no size with a unit."""
    match = _SIZE.fullmatch(text.strip())
    memory = parse_size(text) if match else 0
    if match is None or not 0 < memory <= LARGEST:
        return None
    name = f"{match[1]}{match[2].upper()}{match[3].lower()}B"
    return Hardware(
        name=name,
        backend="cuda",
        devices=(Device(name=f"GPU with {name}", memory=memory),),
        description=f"one CUDA device with {name}",
        origin="size",
    )


def same(a: Hardware, b: Hardware) -> bool:
    """True if a plan for one is a plan for the other: same backend, same devices, or as much memory without.

    Used to see that the probed machine is one of a profile's targets. A probe's figures differ a little
    from a table's or a file's, so devices are compared by model, or by nominal memory where one of the two
    has no model that is known.
    """
    if a.backend != b.backend or len(a.devices) != len(b.devices):
        return False
    if not a.devices:
        return _nominal(a.system_memory) == _nominal(b.system_memory) is not None
    models = [Counter(device.model for device in hardware.devices) for hardware in (a, b)]
    if all(None not in found for found in models):
        return models[0] == models[1]
    sizes = [Counter(_nominal(device.memory) for device in hardware.devices) for hardware in (a, b)]
    return sizes[0] == sizes[1]


def _nominal(memory: int | None) -> int | None:
    """The size in GiB that such memory is sold as: 16 for the 15.4 GiB that a system reports."""
    if not memory:
        return None
    return min(NOMINAL_GB, key=lambda gb: max(gb * GIB / memory, memory / (gb * GIB)))


def _hint(name: str, own: dict[str, Path]) -> str:
    """The names that may have been meant, and where all of them are listed."""
    aliases = table.aliases()
    folded = table.fold(name)
    begins = [known for known in table.names() if folded and table.fold(known).startswith(folded)]
    close = nearest(name, [*own, *table.names(), *aliases])
    meant = begins[:4] or ([aliases.get(close, close)] if close else [])
    question = f"did you mean {' or '.join(repr(known) for known in meant)}? " if meant else ""
    return f"{question}'modelforge hardware' lists all names; a size such as '8GiB' is one too"
