"""A mixture of experts over several devices by parts of layers, as llama.cpp's planner does it. Integers, bytes.

Source: llama.cpp common/fit.cpp, steps 3 and 4, b10488. The devices are filled twice: from the last to the first with
layers whose experts are in system memory, then from the first to the last with whole layers, of which a device's last
may have a part of its feed-forward on the next device. llama.cpp measures a whole layout for each trial; here that is
`_Filling.needs`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Literal, TypeAlias

from modelforge.spread import Load, Placed, most, piped
from modelforge.units import MIB

Overflow: TypeAlias = Literal["experts", "feed_forward", "gate_down", "down"]
"""What of a layer lies elsewhere: its experts in system memory, or a part of its feed-forward on the next device."""

_NEAR = 64 * MIB
"""So far our figures may be off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """A device's layers; the last `partial` of them lack something, the first of these `overflow`, others experts."""

    layers: int = 0
    partial: int = 0
    overflow: Overflow = "experts"

    @property
    def full(self) -> int:
        return self.layers - self.partial

    def plus(self, layers: int, partial: int) -> _Held:
        return replace(self, layers=self.layers + layers, partial=self.partial + partial)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """What each device holds. `dense`: the first device of those whose layers wait for their experts."""

    held: tuple[_Held, ...]
    dense: int

    def having(self, device: int, held: _Held) -> _Layout:
        return replace(self, held=(*self.held[:device], held, *self.held[device + 1 :]))


def by_parts(load: Load) -> Placed | None:
    """The layout that llama.cpp finds; None where it leaves something in system memory."""
    filling = _Filling(load)
    layout = filling.dense()
    found = layout and filling.whole(layout)
    return filling.placed(found) if found else None


class _Filling:
    """The two passes. A trial fits if one device has the room; the others are looked at in their turn."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.last = len(load.memory) - 1
        self.weights = [0, *accumulate(load.weights)]
        self.kv = [0, *accumulate(load.kv)]
        self.experts = [0, *accumulate(part.experts for part in load.parts)]

    def dense(self) -> _Layout | None:
        """Layers without their experts; None where these do not fit, or the last device has not even the output."""
        layout = _Layout(held=(_Held(),) * (self.last + 1), dense=self.last)
        rest = len(self.load.weights)
        for device in reversed(range(self.last + 1)):
            if rest:
                layout = self._more_dense(layout, device, rest)
                rest -= layout.held[device].layers
        return None if rest or not layout.held[self.last].layers else layout

    def _more_dense(self, layout: _Layout, device: int, rest: int) -> _Layout:
        def given(layers: int) -> _Layout:
            partial = max(layers - (device == self.last), 0)  # the output is never partial
            return replace(
                layout.having(device, _Held(layers=layers, partial=partial)),
                dense=device if layers else layout.dense,
            )

        if self._fits(given(rest), device):
            return given(rest)
        return given(most(rest, lambda layers: self._fits(given(layers), device)))

    def whole(self, layout: _Layout) -> _Layout | None:
        """Whole layers from the first device on, with parts of one more; None if experts are left over."""
        for device in range(self.last + 1):
            if device > layout.dense:
                break
            layout = self._more_whole(layout, device)
            if device + 1 < self.last and self._output_may_move(layout, device):
                return None
            if device < self.last:
                layout = self._with_a_part(layout, device)
        return None if any(experts for _, experts in self._elsewhere(layout)) else layout

    def _more_whole(self, layout: _Layout, device: int) -> _Layout:
        waiting = sum(held.partial for held in layout.held[layout.dense :])
        if self._fits(self._everything(layout, device), device):
            return self._everything(layout, device)
        count = most(waiting, lambda layers: self._fits(self._converted(layout, device, layers), device))
        return self._converted(layout, device, count)

    def _everything(self, layout: _Layout, device: int) -> _Layout:
        """All but the output moved to a device, from those that wait for experts; no layer lacks any."""
        moved = 0
        for waiting in range(layout.dense, self.last + 1):
            held = layout.held[waiting]
            kept = min(held.layers, int(waiting == self.last))
            layout = layout.having(waiting, _Held(layers=kept))
            moved += held.layers - kept
        held = layout.held[device]
        return replace(layout.having(device, held.plus(moved, 0)), dense=self.last)

    def _converted(self, layout: _Layout, device: int, layers: int) -> _Layout:
        """So many layers moved to a device with all their experts, the first ones that wait for these."""
        for waiting in range(layout.dense, self.last + 1):
            held = layout.held[waiting]
            taken = min(layers, held.partial)
            layout = replace(layout.having(waiting, held.plus(-taken, -taken)), dense=waiting)
            layout = layout.having(device, layout.held[device].plus(taken, 0))
            layers -= taken
            if layout.held[waiting].partial:
                break
        return layout

    def _with_a_part(self, layout: _Layout, device: int) -> _Layout:
        """With one more layer, if there is room for a part of it here and for the rest on the next device."""
        if not layout.held[layout.dense].layers:
            return layout

        def trial(overflow: Overflow) -> _Layout | None:
            found = self._with_one_more(layout, device, overflow)
            needs, budgets = self.needs(found), self.load.budgets
            return found if all(needs[one] < budgets[one] for one in (device, device + 1)) else None

        if found := trial("gate_down"):
            return trial("down") or found
        return trial("feed_forward") or layout

    def _with_one_more(self, layout: _Layout, device: int, overflow: Overflow) -> _Layout:
        """The first layer that waits for its experts, or else the output, moved here as a partial one."""
        held = layout.held[layout.dense]
        moved = layout.having(layout.dense, held.plus(-1, -min(held.partial, 1)))
        moved = moved.having(device, replace(moved.held[device].plus(1, 1), overflow=overflow))
        if held.partial and not moved.held[layout.dense].partial:
            moved = replace(moved, dense=layout.dense + 1)
        return moved

    def _output_may_move(self, layout: _Layout, device: int) -> bool:
        """Whether llama.cpp may take the output for one more layer, since no other is left, and move it here.

        Where further devices come before the last one, it then counts below zero, and gives up with an error.
        """
        if layout.dense != self.last or layout.held[self.last] != _Held(layers=1):
            return False
        needs = self.needs(self._with_one_more(layout, device, "gate_down"))
        return all(needs[one] < self.load.budgets[one] + _NEAR for one in (device, device + 1))

    def _fits(self, layout: _Layout, device: int) -> bool:
        return self.needs(layout)[device] <= self.load.budgets[device]

    def _elsewhere(self, layout: _Layout) -> list[tuple[int, int]]:
        """For each device what of its layers is on the next one, and the experts in system memory. Bytes."""
        found, start = [], len(self.load.weights) - sum(held.layers for held in layout.held)
        for held in layout.held:
            first, end = start + held.full, start + held.layers
            part: int = 0
            if held.partial and held.overflow != "experts":
                part, first = getattr(self.load.parts[first], held.overflow), first + 1
            found.append((part, self.experts[end] - self.experts[first]))
            start = end
        return found

    def needs(self, layout: _Layout) -> list[int]:
        """Bytes on each device."""
        laid = self._laid(layout)
        return [sum(row) for row in zip(laid.weights, laid.kv, laid.compute, strict=True)]

    def _laid(self, layout: _Layout) -> Placed:
        start = len(self.load.weights) - sum(held.layers for held in layout.held)
        ends = list(accumulate((held.layers for held in layout.held), initial=start))
        if not start and not any(held.partial for held in layout.held):
            return piped(self.load, ends[1:], self._last_busy(layout))
        elsewhere = self._elsewhere(layout)
        received = [0, *(part for part, _ in elsewhere[:-1])]
        weights = [
            self.weights[end] - self.weights[begin] - part - experts + more
            for (begin, end), (part, experts), more in zip(pairwise(ends), elsewhere, received, strict=True)
        ]
        waits = start > 0 or any(experts for _, experts in elsewhere)
        return Placed(
            weights=tuple(weights),
            kv=tuple(self.kv[end] - self.kv[begin] for begin, end in pairwise(ends)),
            compute=tuple(self._compute(layout, device, more, waits) for device, more in enumerate(received)),
            budgets=self.load.budgets,
        )

    def _compute(self, layout: _Layout, device: int, received: int, waits: bool) -> int:  # noqa: FBT001
        """Without a pipeline; while experts wait in system memory, the first device works with these."""
        work = self.load.work
        needs = work.alone[device] if received or self._blocks(layout, device) else work.idle[device]
        needs += self.load.received if received else 0
        return max(needs, self.load.transit) if waits and not device else needs

    def _blocks(self, layout: _Layout, device: int) -> int:
        """Layers on a device beside the output."""
        return max(layout.held[device].layers - (device == self.last), 0)

    def _last_busy(self, layout: _Layout) -> int:
        return max((device for device in range(self.last + 1) if self._blocks(layout, device)), default=0)

    def placed(self, layout: _Layout) -> Placed | None:
        laid = self._laid(layout)
        return laid if laid.fits else None
