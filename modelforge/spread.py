"""Whole layers over several devices, as llama.cpp's planner lays them. Pure integer arithmetic, bytes.

Source: llama.cpp common/fit.cpp (steps 1 and 3) and src/llama-model.cpp, b10488. First in proportion to memory;
where some device has not the room for that, the devices are filled one after the other, the last one first.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelforge.shape import Parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What each device needs whatever its layers: the compute buffer by what it does, and what lies there anyway.

    `idle`: it has no layer, at most the output. `alone`: it works, and there is no pipeline. `first`, `further`: it
    is the first, or a later one, of a pipeline, which llama.cpp makes of devices that hold all layers and no part of
    one elsewhere. `output`: it ends a pipeline, and has the output alone; a number, as only the last device can.
    """

    idle: tuple[int, ...]
    alone: tuple[int, ...]
    first: tuple[int, ...]
    further: tuple[int, ...]
    output: int

    def piped(self, device: int, ends: Sequence[int]) -> int:
        """In a pipeline whose devices' layers end at `ends`."""
        if not ends[device]:
            return self.idle[device]
        if _has_output_alone(device, ends):
            return self.output
        return (self.further if device and ends[device - 1] else self.first)[device]

    def by_itself(self, device: int, ends: Sequence[int]) -> int:
        """As llama.cpp looks at it, before the devices ahead of it have layers."""
        return (self.idle if _has_output_alone(device, ends) else self.alone)[device]


def _has_output_alone(device: int, ends: Sequence[int]) -> bool:
    return 0 < device == len(ends) - 1 and ends[device] - ends[device - 1] == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is to be spread. `weights` and `kv`: a number for each layer, the output last.

    `parts`: what of each layer can lie elsewhere, in a mixture of experts; else empty. `received`: what a device
    needs on top that takes over a part of another's layer, `transit`: what the first device works with while
    experts are in system memory. `memory` and `budgets` are the devices'.
    """

    weights: tuple[int, ...]
    kv: tuple[int, ...]
    parts: tuple[Parts, ...]
    work: Work
    received: int
    transit: int
    memory: tuple[int, ...]
    budgets: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Weights and cache of each layer."""
        return tuple(one + other for one, other in zip(self.weights, self.kv, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """What lies on each device. A budget is larger than the device's where llama.cpp lets more lie there."""

    weights: tuple[int, ...]
    kv: tuple[int, ...]
    compute: tuple[int, ...]
    budgets: tuple[int, ...]

    @property
    def fits(self) -> bool:
        """Whether every device has the room."""
        rows = zip(self.weights, self.kv, self.compute, self.budgets, strict=True)
        return all(weights + kv + compute <= budget for weights, kv, compute, budget in rows)


def by_memory(load: Load) -> Placed:
    """llama.cpp's default: each device has layers in proportion to its memory."""
    count, total = len(load.weights), max(sum(load.memory), 1)
    ends = [-(-count * part // total) for part in accumulate(load.memory)]
    return placed(load, ends, [load.work.piped(device, ends) for device in range(len(ends))], load.budgets)


def by_filling(load: Load) -> Placed | None:
    """Each device takes all it can, the last one first; None if some layers are left over.

    llama.cpp looks at each before the ones ahead have layers. So all but the one that takes the rest are looked at
    without a pipeline.
    """
    ends = [len(load.weights)]
    for device in reversed(range(len(load.budgets))):
        ends.insert(0, ends[0] - _taken(load, device, ends[0]))
    if ends.pop(0):
        return None
    return piped(load, ends, next(device for device, end in enumerate(ends) if end))


def _taken(load: Load, device: int, rest: int) -> int:
    """How many of the last of `rest` layers a device takes: all, if with the buffers of a pipeline they have room."""
    sums, free, work = [0, *accumulate(reversed(load.sizes[:rest]))], load.budgets[device], load.work
    if sums[rest] + work.first[device] <= free:
        return rest
    taken = most(rest, lambda count: sums[count] + work.alone[device] <= free)
    last = device == len(load.budgets) - 1
    return taken or int(last and sums[1] + work.idle[device] <= free)  # the output alone


def can_hold(load: Load) -> bool:
    """Whether there is a split in which each device has room for its layers and for the buffers of a pipeline.

    Then `by_filling` finds one, too: it takes no fewer layers for a device. This one never changes to no with more
    memory or less to be held.
    """
    return any(_holds_from(load, first) for first in range(len(load.budgets)))


def _holds_from(load: Load, first: int) -> bool:
    """Whether the devices from `first` on have the room, and those before for what lies there anyway."""
    sums, end = [0, *accumulate(load.sizes)], len(load.sizes)
    last = len(load.budgets) - 1
    for device in reversed(range(first + 1, len(load.budgets))):
        room = load.budgets[device] - load.work.further[device]
        start = bisect_left(sums, sums[end] - room, 1, end) if room >= 0 else end  # one is left for the first
        if device == last and end - start < 2 <= end:  # noqa: PLR2004 (the output, and a layer)
            start = end - (sums[end] - sums[end - 1] + load.work.output <= load.budgets[device])
        if start == end and room < 0:
            return False
        end = start
    if any(load.work.idle[device] > load.budgets[device] for device in range(first)):
        return False
    return sums[end] + load.work.first[first] <= load.budgets[first]


def piped(load: Load, ends: Sequence[int], rest: int) -> Placed:
    """A pipeline of devices that were looked at without one, but for `rest`; its buffers go into their headroom."""
    compute = [load.work.piped(device, ends) for device in range(len(ends))]
    budgets = [
        free + (0 if device == rest else max(buffer - load.work.by_itself(device, ends), 0))
        for device, (free, buffer) in enumerate(zip(load.budgets, compute, strict=True))
    ]
    return placed(load, ends, compute, budgets)


def placed(load: Load, ends: Sequence[int], compute: Sequence[int], budgets: Sequence[int]) -> Placed:
    """The devices' layers end at `ends`."""
    ranges = list(pairwise([0, *ends]))
    return Placed(
        weights=tuple(sum(load.weights[start:end]) for start, end in ranges),
        kv=tuple(sum(load.kv[start:end]) for start, end in ranges),
        compute=tuple(compute),
        budgets=tuple(budgets),
    )


def most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number below `limit` that fits, if each fits that is less than one that does; else 0."""
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
