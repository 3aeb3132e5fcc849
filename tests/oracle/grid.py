"""The cells of the campaign: what is asked of llama.cpp and of us."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from modelforge.shape import shape_of
from tests.oracle.models import MODELS
from tests.oracle.planner import question, write_sparse
from tests.plans import cpu, gpu, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.hardware import Hardware
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
