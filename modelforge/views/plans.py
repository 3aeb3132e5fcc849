"""Plans in words: the table of candidates, the pick, and what is lacking where nothing fits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING

from modelforge.buffers import CONTEXT_STEP
from modelforge.display import columns, left, shorten, visible
from modelforge.units import GIB, MIB, size_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelforge.profile import Profile
    from modelforge.resolve import Assessed, NextBetter, Plan, RunSettings

_WIDTH = 100
_INDENT = " " * 12
_ABOVE, _BELOW = 4, 3
"""Rows of the table before the pick and after it; `-v` shows all."""
_LONGEST_REASON, _LONGEST_NAME = 40, 60

_HEADS = ("weights", "kv", "compute", "total", "slack", "tok/s")
_THOUSAND = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """The unit of a table's sizes: GiB, MiB for small models, or bytes."""

    name: str
    factor: int

    def text(self, size: int, *, sign: bool = False) -> str:
        """`12.1`, `−0.8`, `+23000`: without the unit."""
        value = size / self.factor
        digits = 0 if self.factor == 1 or abs(value) >= _THOUSAND else 1
        text = f"{abs(value):.{digits}f}"
        negative = value < 0 and float(text) != 0
        return f"{'−' if negative else '+' if sign else ''}{text}"


_GIB, _MIB, _BYTES = Unit(name="GiB", factor=GIB), Unit(name="MiB", factor=MIB), Unit(name="bytes", factor=1)


def resolve_lines(plans: Sequence[Plan], *, verbose: int = 0) -> list[str]:
    """A block for each plan, under a line with the settings wherever these change. Warnings are not in it."""
    lines: list[str] = []
    told = ""
    for plan in plans:
        heading = f"{visible(plan.profile)}: {settings_text(plan.settings, plan.num_ctx_from)}"
        if heading != told:
            lines += ([""] if lines else []) + _wrapped(re.split(r"(?<=,)(?= )", heading))
            told = heading
        lines += ["", *_block(plan, verbose)]
    return [line.rstrip() for line in lines]


def settings_text(settings: RunSettings, num_ctx_from: str = "profile") -> str:
    """`num_ctx 16384, kv f16, 1 parallel, flash auto, prefer quality, engine 0.32`."""
    whose = {"default": " (default)", "given": " (given)", "longest": " (longest)"}.get(num_ctx_from, "")
    return (
        f"num_ctx {settings.num_ctx}{whose}, kv {settings.kv_cache}, {settings.parallel} parallel, "
        f"flash {settings.flash_attention}, prefer {settings.prefer}, engine {settings.engine}"
    )


def _block(plan: Plan, verbose: int) -> list[str]:
    unit = _unit(plan.candidates, verbose)
    shown, hidden = _shown(plan, verbose)
    name = visible(plan.hardware.name)
    lines = [f"{name}   {budget_text(plan)}", *_table(plan, shown, unit, verbose)]
    if hidden:
        lines.append(f"   … {hidden} more: -v shows all, with the reasons")
    if verbose:
        lines += _device_lines(plan, unit)
    return [*lines, *_longest(plan), *_next_better(plan)]


def _longest(plan: Plan) -> list[str]:
    """What ends a context that was chosen: the memory, or the training."""
    if plan.num_ctx_from != "longest" or plan.picked is None:
        return []
    trained, num_ctx = plan.picked.candidate.shape.training_context, plan.settings.num_ctx
    most = "all that it was trained for" if num_ctx + CONTEXT_STEP > trained else "as much as fits"
    return [f"longest: num_ctx {num_ctx} is {most} with {_name(plan, plan.picked.candidate.ref)}"]


def _unit(candidates: Sequence[Assessed], verbose: int) -> Unit:
    if verbose:
        return _BYTES
    return _GIB if max((one.bytes.total for one in candidates), default=GIB) >= GIB else _MIB


def budget_text(plan: Plan) -> str:
    """`budget 11.0 GiB (12.0 − 1.0)`: what a model may take; for several devices `2 × 22.5 GiB`."""
    budgets, totals = _budgets(plan), _totals(plan)
    if not budgets:
        return "budget unknown"
    unit = _unit_of(max(budgets))
    if len(set(budgets)) > 1:
        return "budget " + " + ".join(unit.text(budget) for budget in budgets) + f" {unit.name}"
    kept = totals[0] - budgets[0] if totals else 0
    parts = f" ({unit.text(totals[0])} − {unit.text(kept)})" if totals and kept > 0 else ""
    return (
        f"budget {f'{len(budgets)} × ' if len(budgets) > 1 else ''}{unit.text(budgets[0])} {unit.name}{parts}"
    )


def _unit_of(size: int) -> Unit:
    """The unit in which a size reads well."""
    return _GIB if abs(size) >= GIB // 10 else _MIB


def _budgets(plan: Plan) -> list[int]:
    """Bytes for each device, used or not; where no candidate tells, what the hardware leaves."""
    told = {need.name: need.budget for one in plan.candidates for need in one.devices}
    if told and not plan.hardware.devices:
        return list(told.values())
    left_over = [total - plan.settings.headroom for total in _totals(plan)]
    names = [device.name for device in plan.hardware.devices]
    return [told.get(name, rest) for name, rest in zip(names, left_over, strict=True)] or left_over


def _totals(plan: Plan) -> list[int]:
    """Bytes that programs can have, for each device; on a CPU target the system's."""
    if plan.hardware.devices:
        return [device.usable for device in plan.hardware.devices]
    return [plan.hardware.system_memory] if plan.hardware.system_memory else []


def _shown(plan: Plan, verbose: int) -> tuple[list[Assessed], int]:
    """The rows to show, and how many are left out: those next to the pick tell the decision."""
    if verbose:
        return list(plan.candidates), 0
    rows = [one for one in plan.candidates if one.verdict != "dropped"]
    pick = next((index for index, one in enumerate(rows) if one.verdict == "picked"), len(rows))
    shown = rows[max(0, pick - _ABOVE) : pick + 1 + _BELOW]
    return shown, len(plan.candidates) - len(shown)


def _table(plan: Plan, rows: Sequence[Assessed], unit: Unit, verbose: int) -> list[str]:
    if not rows:
        return ["   no candidates" if not plan.candidates else "   every candidate was dropped"]
    cells = [_HEADS, *(_cells(one, unit) for one in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]  # figures: a column a character
    figures = ["  ".join(map(str.rjust, row, widths)) for row in cells]
    tails = [_reason(one) if verbose else _short_reason(one) for one in rows]
    names = _labels(plan, whole=verbose > 0)
    labels = [names[one.candidate.ref] for one in rows]
    if not verbose:
        labels, tails = _fitted(labels, tails, _WIDTH - len(" ▸ ") - len(figures[0]) - len("     "))
    marks = ["▸" if one.verdict == "picked" else " " for one in rows]
    wide = max(columns(label) for label in labels)
    first = f"{left(f'   {unit.name}', wide + 3)}  {figures[0]}"
    return [first] + [
        f" {mark} {left(label, wide)}  {row}   {tail}"
        for mark, label, row, tail in zip(marks, labels, figures[1:], tails, strict=True)
    ]


def _fitted(labels: list[str], tails: list[str], room: int) -> tuple[list[str], list[str]]:
    """Labels and reasons in `room` columns together: reasons are cut at their end, then labels in their middle.

    A label's beginning is what the others have too, its end tells them apart.
    """
    tails = [shorten(tail, _LONGEST_REASON) for tail in tails]
    most = room - max(columns(tail) for tail in tails)
    return [_cut(label, most) for label in labels], tails


def _cut(text: str, width: int) -> str:
    """The text in at most `width` columns: its beginning, `…` and its end."""
    if columns(text) <= width:
        return text
    start, end = "", ""
    for char in reversed(text):
        if columns(end) + columns(char) > width * 2 // 3:
            break
        end = char + end
    for char in text:
        if columns(start) + columns(char) + columns(end) >= width:
            break
        start += char
    return f"{start}…{end}"


def _labels(plan: Plan, *, whole: bool = False) -> dict[str, str]:
    """What each candidate is called, by its ref: size and quant, or the ref where that would name two.

    Of a ref only what comes after the base's name that all share, unless `whole`.
    """
    short = {one.candidate.ref: _short(one) for one in plan.candidates}
    used = Counter(short.values())
    if len(used) == len(short) and all(one.candidate.size for one in plan.candidates):
        return short
    shared = "" if whole or len(short) == 1 else commonprefix(list(short))  # noqa: RUF071 (characters)
    start = max(shared.rfind(mark) for mark in ":/") + 1
    return {
        ref: visible(ref[start:]) if used[label] > 1 or label == visible(ref) else label
        for ref, label in short.items()
    }


def _short(one: Assessed) -> str:
    size = one.candidate.size
    return visible(f"{size} {one.candidate.quant}" if size else one.candidate.ref)


def _cells(one: Assessed, unit: Unit) -> tuple[str, ...]:
    size = one.bytes
    return (
        unit.text(size.weights + size.projector),
        unit.text(size.kv),
        unit.text(size.compute),
        ("" if one.exact else "~") + unit.text(size.total),
        unit.text(one.slack, sign=True),
        speed_text(one.tokens_per_second),
    )


def speed_text(speed: tuple[float, float] | None) -> str:
    """`34–44`, `8.1–9.4`, or `–` where nothing is known."""
    if speed is None:
        return "–"
    digits = 1 if speed[1] < 10 else 0  # noqa: PLR2004 (below ten, a tenth matters)
    return f"{speed[0]:.{digits}f}–{speed[1]:.{digits}f}"


def _reason(one: Assessed) -> str:
    return visible(one.reason) or one.verdict.replace("-", " ")


def _short_reason(one: Assessed) -> str:
    """The reason in the table, where the slack tells by how much."""
    short = {"too-big": "too big", "tight": "too tight to be sure"}
    return short.get(one.verdict) or _reason(one).partition(", ")[0]


def _device_lines(plan: Plan, unit: Unit) -> list[str]:
    one = plan.picked or next(iter(plan.candidates), None)
    if one is None or max(len(one.devices), len(plan.hardware.devices)) <= 1:
        return []
    return [
        f"   {visible(device.name)}: needs {unit.text(device.needs)} of {unit.text(device.budget)} {unit.name}"
        for device in one.devices
    ]


def _next_better(plan: Plan) -> list[str]:
    first = "next better" if plan.picked else "nothing fits; the smallest"
    found = [(first, plan.next_better), ("next size", plan.next_size)]
    return [line for words, better in found if better for line in _missed(plan, words, better)]


def _missed(plan: Plan, first: str, better: NextBetter) -> list[str]:
    lacks = f"{first}: {_name(plan, better.ref)} lacks {_size(better.lacks)}"
    if not better.would_fit_with:
        return [lacks]
    ways = [visible(way) for way in better.would_fit_with]
    pieces = [f"{lacks};", f" it would fit with {ways[0]}", *(f", {way}" for way in ways[1:-1])]
    return _wrapped([*pieces, *(f" or {way}" for way in ways[1:][-1:])])


def _wrapped(pieces: Sequence[str]) -> list[str]:
    """The pieces one after the other, in lines of at most 100 columns wherever a piece has room in one."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if columns(lines[-1] + piece) <= _WIDTH:
            lines[-1] += piece
        else:
            lines[-1] += "," if piece.startswith(", ") else ""
            lines.append("  " + piece.lstrip(", "))
    return lines


def _name(plan: Plan, ref: str) -> str:
    """Size and quant of a candidate; its whole reference where that would name two."""
    return _cut(_labels(plan).get(ref, visible(ref)), _LONGEST_NAME)


def _size(size: int) -> str:
    if abs(size) < MIB:
        return size_text(size)
    unit = _unit_of(size)
    return f"{unit.text(size)} {unit.name}"


def does_not_fit_lines(plan: Plan) -> list[str]:
    """The error for a plan without a pick: what was too large, by how much, and what would help."""
    profile, hardware = visible(plan.profile), visible(plan.hardware.name)
    lines = [f"{profile} does not fit {hardware} ({budget_text(plan).partition(' (')[0]})."]
    better = plan.next_better
    smallest = next((one for one in plan.candidates if better and one.candidate.ref == better.ref), None)
    if smallest and better:
        needs = f"needs {_size(smallest.bytes.total)}: lacks {_size(better.lacks)}"
        lines.append(f"  the smallest candidate, {_short(smallest)}, {needs}")
    if better and better.would_fit_with:
        lines.append(f"  it would fit with {', or '.join(visible(way) for way in better.would_fit_with)}")
    if not plan.candidates:
        lines.append("  its base has no candidates")
    elif not smallest:
        lines.append(f"  {_reason(plan.candidates[-1])}")
    return lines


def target_line(plan: Plan) -> str:
    """`coding-assistant @ this (RTX 4090, 23.5 GiB usable of 24.0)`: the first line of a build."""
    devices = [visible(device.name) for device in plan.hardware.devices]
    what = devices[0] if devices else "CPU"
    if plan.hardware.origin == "size":
        what = f"one {plan.hardware.backend.upper()} device"
    elif len(devices) > 1:
        what = f"{len(devices)} × {what}" if len(set(devices)) == 1 else ", ".join(devices)
    usable, total = sum(_totals(plan)), sum(device.memory for device in plan.hardware.devices)
    unit = _unit_of(usable)
    memory = f", {unit.text(usable)} {unit.name}" if usable else ""
    of = f" usable of {unit.text(total)}" if total > usable else ""
    return f"{visible(plan.profile)} @ {visible(plan.hardware.name)} ({what}{memory}{of})"


def plan_lines(plan: Plan, *, also: Sequence[str] = ()) -> list[str]:
    """A build's first lines: the target, the pick, why not the next better one, what the plan warns of.

    `also` are warnings of what comes after the plan.
    """
    first, *rest = pick_lines(plan)
    warnings = (f"warning: {visible(text)}" for text in (*plan.warnings, *also))
    return [target_line(plan), f"  {'pick':<10}{first}", *(_INDENT + line for line in (*rest, *warnings))]


def pick_lines(plan: Plan) -> list[str]:
    """What was picked, and why not the next better one."""
    picked = plan.picked
    if picked is None:
        return [line.strip() for line in does_not_fit_lines(plan)]
    needs = ", ".join(_need_text(device.needs, device.budget) for device in picked.devices)
    word = {"offload": "in part on the CPU"}.get(plan.decision, plan.decision)
    kept = plan.settings.headroom
    free = f" ({_GIB.text(kept)} kept free)" if kept else ""
    made = f" as {picked.candidate.quantize}" if picked.candidate.quantize else ""
    lines = [f"{visible(picked.candidate.ref)}{made}   {word}: needs {needs}{free}"]
    better = plan.next_better
    if better:
        would = "".join(f"; would fit with {visible(way)}" for way in better.would_fit_with[:1])
        lacks = f"lacks {_size(better.lacks)} at num_ctx {plan.settings.num_ctx}"
        lines.append(f"not {_name(plan, better.ref)}: {lacks}{would}")
    return lines


def _need_text(needs: int, budget: int) -> str:
    unit = _unit_of(needs)
    same = f"{unit.text(needs)} {unit.name} of {unit.text(budget)}"
    return same if unit is _unit_of(budget) else f"{_size(needs)} of {_size(budget)}"


def explain_lines(profile: Profile, plan: Plan) -> list[str]:
    """Each setting with its value and the place where it was set; of the plan's own, those left to it too."""
    known = dict(profile.origins)
    told = {key: _value(profile, key) for key in known}
    if plan.num_ctx_from != "profile":
        known["parameters.num_ctx"] = plan.num_ctx_from.replace("given", "--context")
        told["parameters.num_ctx"] = str(plan.settings.num_ctx)
    for key, value in _planned(plan.settings).items():
        if key not in known:
            known[key], told[key] = "default", value
    rows = [(key, shorten(told[key], 40), where) for key, where in sorted(known.items())]
    keys = max(columns(key) for key, _, _ in rows)
    values = max(columns(value) for _, value, _ in rows)
    lines = [f"  {left(key, keys)}  {left(value, values)}  {visible(where)}" for key, value, where in rows]
    return [f"settings of {visible(profile.name)} for {visible(plan.hardware.name)}:", *lines]


def _planned(settings: RunSettings) -> dict[str, str]:
    """The settings that a plan rests on whether a profile sets them or not."""
    return {
        "parameters.num_batch": str(settings.num_batch),
        "resolve.engine": settings.engine,
        "resolve.flash_attention": settings.flash_attention,
        "resolve.headroom": size_text(settings.headroom),
        "resolve.kv_cache": settings.kv_cache,
        "resolve.parallel": str(settings.parallel),
        "resolve.prefer": settings.prefer,
    }


def _value(profile: Profile, key: str) -> str:
    """What stands at a dotted key; "" where the record keeps it under another name."""
    found: object = profile
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else getattr(found, part, None)
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, tuple):
        plain = all(isinstance(item, str | int | float) for item in found)
        return ", ".join(str(item) if plain else str(getattr(item, "name", "…")) for item in found)
    return "" if found is None else str(found)
