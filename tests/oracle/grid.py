"""The cells of the campaign: what is asked of llama.cpp and of us."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from modelforge.buffers import buffers_of
from modelforge.memory import footprint
from modelforge.settings import automatic_batch
from modelforge.shape import shape_of
from modelforge.units import MIB
from tests.oracle.models import MODELS
from tests.oracle.planner import question, write_sparse
from tests.plans import cpu, gpu, gpus, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.hardware import Hardware
    from modelforge.memory import Footprint
    from modelforge.settings import RunSettings
    from modelforge.shape import ModelShape
    from tests.oracle.planner import Question

CONTEXTS = (2048, 8192, 32768, 1 << 20)
BATCHES = (256, 512, 1024, 2048)
ATTENTION = ((True, "f16"), (True, "q8_0"), (True, "q4_0"), (False, "f16"))
PARALLEL = (1, 4)
BACKENDS = ("cuda", "metal", "cpu")
ROOM = 1 << 42
ENCODER_BATCH = 2048
DECISION_CONTEXTS = (4096, 32768)
CARDS = (2048, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152, 81920, 98304, 143360, 196608)
"""Memory of common cards in MiB."""
SPLITS = ((1, 1), (2, 1), (1, 1, 1), (1, 2, 1, 1))
LARGE = 40960
"""MiB from which on llama.cpp's decisions take seconds; fewer are asked."""
BAND = 64
"""MiB: so close to a card's limit no decision is compared: it is `tight` for us, and never picked."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One plan: a model and the settings it runs with, on one device with room for all or on the CPU."""

    model: str
    quant: str
    context: int
    batch: int
    flash: bool
    kv: str
    parallel: int
    backend: str

    def settings(self, engine: str) -> RunSettings:
        return settings(
            self.context,
            num_batch=self.batch,
            parallel=self.parallel,
            kv_cache=self.kv,
            flash_attention="on" if self.flash else "off",
            engine=engine,
        )

    def hardware(self) -> Hardware:
        return cpu(ROOM >> 30) if self.backend == "cpu" else gpu(ROOM >> 30, self.backend)  # type: ignore[arg-type]

    def question(self, file: Path) -> Question:
        model = MODELS[self.model][0]
        encoder = not model.keys.get("attention.causal", True)
        parallel = 1 if encoder else self.parallel
        return question(
            file,
            memory=[] if self.backend == "cpu" else [ROOM],
            context=min(self.context, model.context) * parallel,
            batch=ENCODER_BATCH if encoder else self.batch,
            parallel=parallel,
            kv=self.kv,
            flash=self.flash,
            embeddings=encoder,
            cuda=self.backend == "cuda",
        )


def cells(name: str) -> Iterator[Cell]:
    """All cells of a model; contexts go up to its own limit. Off CUDA only half the contexts and batches."""
    model, quants = MODELS[name]
    contexts = sorted({min(context, model.context) for context in CONTEXTS})
    if len(contexts) < 2:
        contexts = [model.context // 4, model.context // 2, model.context]
    for backend, context, batch, (flash, kv), parallel in product(
        BACKENDS, contexts, BATCHES, ATTENTION, PARALLEL
    ):
        if backend == "cuda" or (context in contexts[1::2] and batch in BATCHES[1::2]):
            yield Cell(
                model=name,
                quant=quants[0],
                context=context,
                batch=batch,
                flash=flash,
                kv=kv,
                parallel=parallel,
                backend=backend,
            )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Our figures of a cell in bytes: what llama.cpp counts too. `because`: why not exact."""

    weights: int
    cache: int
    compute: int
    because: tuple[str, ...]

    @property
    def whole(self) -> int:
        return self.weights + self.cache + self.compute


def planned(shape: ModelShape, cell: Cell, engine: str) -> Plan:
    """Ours of a cell; in system memory without the output buffer, which llama.cpp's measure leaves out."""
    run, hardware = cell.settings(engine), cell.hardware()
    placed = footprint(shape, run, hardware)
    share = placed.shares[0]
    outputs = buffers_of(shape, run, hardware).logits() if cell.backend == "cpu" else 0
    return Plan(
        weights=share.weights, cache=share.kv, compute=share.compute - outputs, because=placed.because
    )


def truth(cell: Cell, answer: list[list[int]]) -> tuple[int, int, int]:
    """llama.cpp's weights, cache and whole in bytes: on the device, or in system memory if there is none."""
    row = answer[-1 if cell.backend == "cpu" else 0]
    return row[0], row[1], sum(row)


class Files:
    """Sparse files and shapes of models, made at their first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[tuple[str, str], tuple[Path, ModelShape]] = {}

    def get(self, name: str, quant: str) -> tuple[Path, ModelShape]:
        if (name, quant) not in self._made:
            header = MODELS[name][0].header(quant)
            path = self.folder / f"{name}-{quant}.gguf".replace(" ", "_").replace("/", "_")
            self._made[name, quant] = (write_sparse(path, header), shape_of(header))
        return self._made[name, quant]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One decision: whether a model fits whole on cards of so many MiB each."""

    model: str
    quant: str
    cards: tuple[int, ...]
    context: int
    kv: str

    def settings(self, engine: str) -> RunSettings:
        context = min(self.context, MODELS[self.model][0].context)
        return settings(context, kv_cache=self.kv, num_batch=automatic_batch(context), engine=engine)

    def ours(self, shape: ModelShape, engine: str) -> Footprint:
        return footprint(shape, self.settings(engine), gpus(*self.cards))

    @property
    def is_quick(self) -> bool:
        """Whether llama.cpp answers at once: one card that is ample, or a model of no great size."""
        whole = MODELS[self.model][0].header(self.quant).file_bytes // MIB
        return whole < LARGE // 4 or (len(self.cards) == 1 and self.cards[0] > whole)

    def is_close(self, shape: ModelShape, engine: str) -> bool:
        """Whether 64 MiB more or less on each card would change our answer."""
        more, less = (
            replace(self, cards=tuple(card + step for card in self.cards)).ours(shape, engine).slack >= 0
            for step in (BAND, -BAND)
        )
        return more != less

    def question(self, file: Path, placed: Footprint, engine: str) -> Question:
        """For the devices that Ollama would give to llama.cpp: all, or the one it keeps the model on."""
        run = self.settings(engine)
        cards = self.cards if len(placed.shares) > 1 else (max(self.cards),)
        encoder = not MODELS[self.model][0].keys.get("attention.causal", True)
        return question(
            file,
            memory=[card * MIB for card in cards],
            context=run.num_ctx,
            batch=ENCODER_BATCH if encoder else run.num_batch,
            kv=self.kv,
            embeddings=encoder,
            decide=True,
        )


def fits(answer: dict[str, Any], case: Case, layers: int) -> bool:
    """Whether llama.cpp puts all of a model of so many layers (with the output) on the devices, whole or in parts."""
    names = [tensor.name for tensor in MODELS[case.model][0].header(case.quant).tensors]
    in_memory = [re.compile(pattern) for pattern, device in answer["overrides"] if device < 0]
    left = any(pattern.search(name) for pattern in in_memory for name in names)
    return answer["status"] == 0 and not left and not 0 <= answer["layers"] < layers


def is_stricter(case: Case, shape: ModelShape, build: str) -> bool:
    """Whether we may say no where llama.cpp says yes: on several cards with the build that no Ollama has.

    What its first device works with while experts are in system memory, and what recurrent layers add in a pipeline,
    is known by an upper bound alone.
    """
    return build == "b11549" and len(case.cards) > 1 and (shape.experts or shape.state > 0)


def cases(name: str) -> Iterator[Case]:
    """Decisions about a model, on cards around what it needs and on common ones."""
    for quant in MODELS[name][1]:
        header = MODELS[name][0].header(quant)
        whole = header.file_bytes // MIB
        for context, kv in product(DECISION_CONTEXTS, ("f16", "q8_0")):
            sizes = [card for card in CARDS if whole // 2 < card < 3 * whole + 8192][:5]
            near = [whole + extra for extra in (1024, 2048, 4096)]
            for size in sorted({*sizes, *near}):
                yield Case(model=name, quant=quant, cards=(size,), context=context, kv=kv)
            for parts in SPLITS if whole < LARGE else SPLITS[-1:]:
                for extra in (2048, 6144) if whole < LARGE else (65536,):
                    total = whole + extra + 1024 * len(parts)
                    cards = tuple(total * part // sum(parts) for part in parts)
                    yield Case(model=name, quant=quant, cards=cards, context=context, kv=kv)
