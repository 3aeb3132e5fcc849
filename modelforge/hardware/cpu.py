"""How much memory this machine, or the container around us, has for the processor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from modelforge.units import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

UNLIMITED = 1 << 60
"""Version 1 of control groups writes "no limit" as a number near 2^63."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes in total and available now. `note` says in words that something limits them, "" where nothing does."""

    total: int
    available: int
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """A control group's memory limit and what is in use under it, in bytes. Caches that can go do not count."""

    limit: int
    used: int


def probe(*, root: Path = Path("/")) -> Memory:
    """The memory of this machine, or less where a container or a service limits it.

    The limits are not in /proc/meminfo, so they are read from the control groups; `root` is where those
    are looked for.
    """
    import psutil  # noqa: PLC0415 (only where a machine is probed)

    machine = psutil.virtual_memory()
    return within(Memory(total=machine.total, available=machine.available), limits(root))


def within(machine: Memory, limits: tuple[Limit, ...]) -> Memory:
    """The machine's memory as far as all limits allow."""
    total = min([machine.total, *(limit.limit for limit in limits)])
    available = min([machine.available, *(max(0, limit.limit - limit.used) for limit in limits)])
    if total == machine.total:
        return Memory(total=total, available=available)
    note = f"limited to {size_text(total)} here, of the machine's {size_text(machine.total)}"
    return Memory(total=total, available=available, note=note)


def limits(root: Path) -> tuple[Limit, ...]:
    """The memory limits of the control groups that this process is in, the innermost first.

    Each group limits all that are in it, so the whole path up to the root counts. In a container the path
    may be one of the host's, of which only the end is to be seen, if anything: what is not there is left out.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    groups = (line.split(":", 2) for line in lines if line.count(":") >= 2)  # noqa: PLR2004
    return tuple(
        limit for _, kind, path in groups for limit in _limits_of(root / "sys/fs/cgroup", kind, path)
    )


def _limits_of(mount: Path, kind: str, path: str) -> Iterator[Limit]:
    if kind == "":
        for folder in _path_up(mount, path):
            yield from _limit(folder, "memory.max", "memory.current", "inactive_file")
    elif "memory" in kind.split(","):
        for folder in _path_up(mount / "memory", path):
            yield from _limit(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _path_up(mount: Path, path: str) -> Iterator[Path]:
    """The group's folder and all above it; only the mount where the group lies outside of what is mounted."""
    group = PurePosixPath(path.lstrip("/"))
    if ".." not in group.parts:
        yield from (mount / part for part in (group, *group.parents) if part != PurePosixPath())
    yield mount


def _limit(folder: Path, limit_file: str, used_file: str, cache_key: str) -> Iterator[Limit]:
    limit = _number(folder / limit_file)
    if limit is not None and limit < UNLIMITED:
        used = _number(folder / used_file) or 0
        yield Limit(limit=limit, used=max(0, used - _cache(folder / "memory.stat", cache_key)))


def _number(file: Path) -> int | None:
    """The number in a file; None where there is no file, or a word (`max`)."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _cache(file: Path, key: str) -> int:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    values = (line.split() for line in lines)
    return next((int(value[1]) for value in values if value[:1] == [key]), 0)
