"""Writes docs/accuracy.md: the whole campaign, measured again.

python -m tests.oracle.report
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from modelforge.units import MIB
from tests.oracle import grid
from tests.oracle.models import MODELS
from tests.oracle.pages import ENGINES, TOOLS, page, span
from tests.oracle.planner import PLANNERS
from tests.oracle.speed_page import found as speed_of
from tests.oracle.speed_page import replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelforge.gguf import Header
    from modelforge.shape import ModelShape
    from tests.oracle.planner import Planner

PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"
PERCENT = 100
RULES = ("modelforge", "Ollama's preflight: file + f16 KV cache", "parameters × bits × 1.2")


@dataclass(kw_only=True)
class Errors:
    """What was found for models of one architecture: differences in bytes, and in percent of llama.cpp's."""

    cells: int = 0
    refused: int = 0
    exact: bool = True
    weights: list[int] = field(default_factory=list)
    cache: list[int] = field(default_factory=list)
    compute: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    rules: dict[str, list[float]] = field(default_factory=lambda: {rule: [] for rule in RULES})

    def add(self, other: Errors) -> None:
        self.cells += other.cells
        self.refused += other.refused
        self.exact &= other.exact
        for name in ("weights", "cache", "compute", "whole", "bytes"):
            getattr(self, name).extend(getattr(other, name))
        for rule in RULES:
            self.rules[rule] += other.rules[rule]


@dataclass(kw_only=True)
class Decisions:
    """How often both said yes, both no, only llama.cpp yes, only we yes; and what was too close to compare."""

    yes: int = 0
    no: int = 0
    stricter: int = 0
    false: int = 0
    close: int = 0

    def add(self, other: Decisions) -> None:
        for name in ("yes", "no", "stricter", "false", "close"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def total(self) -> int:
        return self.yes + self.no + self.stricter + self.false + self.close


def measure(planner: Planner, engine: str, name: str, folder: Path) -> Errors:
    """All cells of a model."""
    sys.stderr.write(f"b{planner.build}: the cells of {name}\n")
    found, quant = Errors(), MODELS[name][1][0]
    cells = list(grid.cells(name))
    file, shape = grid.Files(folder).get(name, quant)
    header = MODELS[name][0].header(quant)
    for cell, answer in zip(cells, planner.ask([cell.question(file) for cell in cells], folder), strict=True):
        found.cells += 1
        if answer is None:
            found.refused += 1
            continue
        plan, (weights, cache, whole) = grid.planned(shape, cell, engine), grid.truth(cell, answer)
        compute = whole - weights - cache
        found.exact &= not plan.because
        if cell.backend != "metal":
            found.weights.append(plan.weights - weights)
        found.cache.append(plan.cache - cache)
        found.compute.append(PERCENT * (plan.compute - compute) / compute)
        found.whole.append(PERCENT * (plan.whole - whole) / whole)
        found.bytes.append(plan.whole - whole)
        if cell.backend == "cuda" and cell.flash and cell.kv == "f16" and not shape.encoder:
            guesses = (plan.whole, preflight(header, shape, cell), by_rule_of_thumb(header))
            for rule, guess in zip(RULES, guesses, strict=True):
                found.rules[rule].append(PERCENT * (guess - whole) / whole)
    return found


def preflight(header: Header, shape: ModelShape, cell: grid.Cell) -> int:
    """What Ollama 0.32 forecasts before it starts llama.cpp (llm/llama_server.go, PredictServerVRAM).

    The file's size, and 2 × layers × the fewest KV heads (at least one) × embedding / heads × context × 2 bytes.
    """
    model = MODELS[cell.model][0]
    kv_heads = min(model.kv_heads) if isinstance(model.kv_heads, tuple) else model.kv_heads
    head = model.embedding // model.heads if model.heads else 0
    context = min(cell.context, model.context) * cell.parallel
    return header.file_bytes + 2 * len(shape.layers) * max(kv_heads, 1) * head * context * 2


def by_rule_of_thumb(header: Header) -> int:
    """Parameters × bits of a weight / 8 × 1.2, as it goes round in articles and calculators; bits as in the name."""
    parameters = sum(prod(tensor.dims) for tensor in header.tensors)
    kinds: dict[str, int] = {}
    for tensor in header.tensors:
        kinds[tensor.type] = kinds.get(tensor.type, 0) + prod(tensor.dims)
    usual = max(kinds, key=lambda kind: kinds[kind])
    bits = int(
        next(letter for letter in usual.replace("16", "F").replace("32", "E") if letter in "123456789FE")
        .replace("F", "16")
        .replace("E", "32")
    )
    return parameters * bits * 12 // 80


def decide(planner: Planner, engine: str, name: str, folder: Path) -> dict[int, Decisions]:
    """All decisions about a model, by the number of cards."""
    sys.stderr.write(f"b{planner.build}: the decisions about {name}\n")
    files, cases = grid.Files(folder), list(grid.cases(name))
    plans = [case.ours(files.get(name, case.quant)[1], engine) for case in cases]
    questions = [
        case.question(files.get(name, case.quant)[0], plan, engine)
        for case, plan in zip(cases, plans, strict=True)
    ]
    found: dict[int, Decisions] = {}
    for case, plan, answer in zip(cases, plans, planner.ask(questions, folder), strict=True):
        here = found.setdefault(len(case.cards), Decisions())
        if answer is None or case.is_close(files.get(name, case.quant)[1], engine):
            here.close += 1
            continue
        fits, ours = grid.fits(answer, case, plan.layers), plan.slack >= 0
        if ours != fits:
            sys.stderr.write(f"{case}: slack {plan.slack / MIB:.0f} MiB, llama.cpp {answer}\n")
        name_of = {
            (True, True): "yes",
            (False, False): "no",
            (False, True): "stricter",
            (True, False): "false",
        }
        setattr(here, name_of[ours, fits], getattr(here, name_of[ours, fits]) + 1)
    return found


def cells_table(errors: dict[str, Errors]) -> list[str]:
    lines = [
        "| architecture | cells | weights | KV cache | compute % | footprint % | most under |",
        "|---|---:|---:|---:|---|---|---:|",
    ]
    for architecture, found in sorted(errors.items()):
        mark = "" if found.exact else " ~"
        under = max(0, -min(found.bytes)) / MIB
        weights, cache = (max(map(abs, values)) for values in (found.weights, found.cache))
        lines.append(
            f"| {architecture}{mark} | {found.cells - found.refused} | {weights} | {cache} |"
            f" {span(found.compute)} | {span(found.whole)} | {under:.0f} MiB |"
        )
    return lines


def decisions_table(found: dict[int, Decisions]) -> list[str]:
    lines = [
        "| cards | decisions | both fit | neither | llama.cpp alone | false “fits” | too close |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cards, one in sorted(found.items()):
        numbers = (one.total, one.yes, one.no, one.stricter, one.false, one.close)
        lines.append(f"| {cards} | " + " | ".join(map(str, numbers)) + " |")
    return lines


def rules_table(errors: Iterable[Errors]) -> list[str]:
    lines = [
        "| rule | median error | 90 % below | largest | too low by over 2 % |",
        "|---|---:|---:|---:|---:|",
    ]
    every = list(errors)
    for rule in RULES:
        values = sorted(value for found in every for value in found.rules[rule])
        sizes = sorted(map(abs, values))
        low = sum(value < -2 for value in values) / len(values)
        lines.append(
            f"| {rule} | {median(sizes):.1f} % | {sizes[len(sizes) * 9 // 10]:.0f} % | {sizes[-1]:.0f} % |"
            f" {PERCENT * low:.0f} % |"
        )
    return lines


def by_architecture(found: Sequence[tuple[str, Errors]]) -> dict[str, Errors]:
    sums: dict[str, Errors] = {}
    for name, errors in found:
        sums.setdefault(MODELS[name][0].architecture, Errors()).add(errors)
    return sums


def main() -> None:
    """Measures with both builds and writes the page. Fails on a false "fits"."""
    planners = {build: make() for build, make in PLANNERS.items()}
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:

        def folder(*parts: str) -> Path:
            made = Path(scratch, *(part.replace("/", "_") for part in parts))
            made.mkdir(parents=True, exist_ok=True)
            return made

        cells = {
            build: {
                name: pool.submit(measure, planner, ENGINES[build], name, folder(build, name))
                for name in MODELS
            }
            for build, planner in planners.items()
        }
        decided = [
            pool.submit(decide, planners["b10488"], ENGINES["b10488"], name, folder("decide", name))
            for name in MODELS
        ]
        errors = {
            build: by_architecture([(name, one.result()) for name, one in found.items()])
            for build, found in cells.items()
        }
        decisions: dict[int, Decisions] = {}
        for future in decided:
            for cards, one in future.result().items():
                decisions.setdefault(cards, Decisions()).add(one)
    written = page(
        models=len(MODELS),
        cells={build: cells_table(found) for build, found in errors.items()},
        decisions=decisions_table(decisions),
        rules=rules_table(errors["b10488"].values()),
        tools=TOOLS,
    )
    speed = speed_of(PAGE.read_text(encoding="utf-8"))  # tests.oracle.speed measures that
    PAGE.write_text(replaced(written, speed), encoding="utf-8")
    if any(one.false for one in decisions.values()):
        raise SystemExit("there are false 'fits'; see above")


if __name__ == "__main__":
    main()
