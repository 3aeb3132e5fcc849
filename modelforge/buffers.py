"""KV cache and compute buffer of one model under one set of settings. Pure integer arithmetic, bytes.

Formulas: llama.cpp src/llama-context.cpp, llama-kv-cache.cpp, llama-kv-cache-iswa.cpp and
llama-memory-recurrent.cpp, b10488 to b11549. The KV cache is exact. The compute buffer is a closed form of the
graph's widest point, found by llama.cpp's own planner (tests/oracle, docs/accuracy.md): with weights and cache
within 1.5 % of that where the shape says that its compute is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge.architecture import (
    GATED_DELTA,
    INTERVAL,
    MIXED_FROM_THE_START,
    NARROW_ON_CPU,
    NEARLY_EXACT,
    WINDOWED_ENCODERS,
)
from modelforge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelforge.architecture import Layer
    from modelforge.hardware import Hardware
    from modelforge.settings import RunSettings
    from modelforge.shape import ModelShape

CACHE_BYTES = {
    "f32": (4, 1),
    "f16": (2, 1),
    "bf16": (2, 1),
    "q8_0": (34, 32),
    "q5_1": (24, 32),
    "q5_0": (22, 32),
    "q4_1": (20, 32),
    "q4_0": (18, 32),
    "iq4_nl": (18, 32),
}
"""Bytes and elements of a block, by type of the KV cache."""

CONTEXT_STEP = 256
DEVICE_ALIGNMENT = 128
ROW_PADDING = 512
PIPELINE_COPIES = 4
NARROW = 6
ENCODER_BATCH = 2048
INPUTS = 8
"""Elements for each token that a graph's inputs take beside the embedding: tokens, positions, cells, outputs."""
ROTATION = 128 << 10
"""Bytes of the matrices by which keys and values are rotated before they are quantized."""
ROWS = 3
ROWS_OF_ENCODERS = 2
ROWS_OF_MIXED_BATCHES = 4
"""Rows of embeddings a token beside the widest part; later builds have an input for embeddings among tokens,
and a mixture of experts has the weighted sum."""
UNSURE = 64 * MIB
NEARLY_ROWS = {False: 2, True: 4}
"""Rows of embeddings a token, before and since batches may mix, and a scan for each stream: so much is added on
accelerators where the form is not exact, but was never further too low, for models of 0.5 to 34 B."""
OLD_ENGINE_MINIMUM = 457 * MIB
"""What Ollama before 0.30 keeps free on each GPU for the driver (ml/device.go)."""
_OLD_CUDA = {f"{major}.{minor}" for major in range(6) for minor in range(10)} | {"7.2"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Buffers:
    """What a model needs beside its weights, with the settings as llama.cpp normalises them.

    `cells` are for each of `streams` sequences. `batch` is the physical batch, `outputs` how many tokens of
    it get logits, `rows` the embeddings for each token beside a layer's widest part.
    `mixed`: a build that takes tokens and embeddings in one batch, and has no cache for draft layers (MTP),
    which are not loaded. `quantized` is about the KV cache; `cuda` about devices with ggml's CUDA kernels.
    """

    shape: ModelShape
    cells: int
    streams: int
    batch: int
    outputs: int
    flash: bool
    kv_type: str
    quantized: bool
    cuda: bool
    old_engine: bool
    rows: int
    mixed: bool

    def kv(self, layers: Iterable[tuple[Layer, int]], *, devices: bool) -> int:
        """Bytes of the KV cache and the recurrent state of `(layer, how often)`, on accelerators or not."""
        total = 0
        for layer, times in layers:
            if layer.draft and (self.mixed or self.shape.architecture in INTERVAL):
                continue
            cells = self.cells_of(layer) * self.streams
            # transposed values, as without flash attention, have the rows of the widest layer's
            value = layer.value if self.flash or not layer.value else self.shape.value_widest
            both = self._cache(cells, layer.key, devices) + self._cache(cells, value, devices)
            total += times * (both + layer.state * self.streams)
        return total

    def _cache(self, cells: int, elements: int, devices: bool) -> int:  # noqa: FBT001
        """Bytes of a layer's keys or values. With CUDA rows of blocks end on a multiple of 512, once a tensor."""
        size = cells * cache_bytes(elements, self.kv_type)
        if devices and self.cuda and self.quantized:
            size += cache_bytes(-elements % ROW_PADDING, self.kv_type)
        return _pad(size, DEVICE_ALIGNMENT) if devices else size

    def cells_of(self, layer: Layer) -> int:
        """Cells that a layer keeps for each stream."""
        if layer.window is None:
            return self.cells
        return min(self.cells, _pad(layer.window + self.batch, CONTEXT_STEP))

    def graph(self, *, on_cpu: bool = False, output: bool = True, spread: int = 0) -> int:
        """Bytes of the compute buffer.

        The widest of a layer's feed-forward part, its Mamba part, its attention, and the logits (`output`); then
        the mask. A CPU holds one more row of embeddings a token. Layers spread over several GPUs work in a
        pipeline, for which each keeps its inputs four times: the mask, and `spread` more rows of embeddings.
        """
        shape, tokens = self.shape, 4 * self.batch
        rows = (self.rows + shape.streams + (self._rows_on_cpu() if on_cpu else 0)) * shape.embedding
        body = tokens * (rows + shape.embedding * shape.parallel_blocks + shape.widest)
        if shape.recurrent_width:  # a scan writes the new state beside its result
            body = max(body, tokens * (rows + shape.recurrent_width) + self.streams * shape.scan)
        body += tokens * self._beside(on_cpu=on_cpu)
        peak = body
        if output and not shape.encoder:
            peak = max(peak, 4 * self.outputs * shape.vocabulary + tokens * rows)
        if shape.kv_widest or shape.encoder:
            unpacks = self.cuda and self.quantized and not on_cpu
            rows += self._beside_attention(on_cpu=on_cpu, unpacks=unpacks)
            peak = max(peak, self._attention(rows, body, unpacks=unpacks))
        total = peak + tokens * INPUTS + (ROTATION if self.quantized else 0)
        total += tokens * spread * shape.embedding + (PIPELINE_COPIES if spread else 1) * self.mask()
        if shape.architecture in NEARLY_EXACT and not (on_cpu or self.old_engine):
            total += tokens * NEARLY_ROWS[self.mixed] * shape.embedding + self.streams * shape.scan
        elif not shape.compute_exact or self.old_engine:
            total = total * 5 // 4 + UNSURE
        return total + (OLD_ENGINE_MINIMUM if self.old_engine and not on_cpu else 0)

    def mask(self) -> int:
        """Bytes of the attention mask: one for the whole context, one for the sliding window."""
        widths = {layer.window: self.cells_of(layer) for layer, _ in self.shape.groups if layer.key}
        cells = sum(widths.values())
        if self.shape.encoder:
            cells = self.batch * (1 + (self.shape.architecture in WINDOWED_ENCODERS))
        return (2 if self.flash else 4) * self.batch * cells

    def scan(self) -> int:
        """Bytes that a batch's Mamba part holds."""
        return 4 * self.batch * self.shape.recurrent_width

    def host_graph(self) -> int:
        """Bytes in system memory beside an accelerator: the graph's inputs, and the logits."""
        return self.mask() + 16 * self.batch * self.shape.embedding + self.logits()

    def logits(self) -> int:
        """Bytes of the output buffer in system memory: logits, or an encoder's embeddings."""
        return 4 * self.outputs * (self.shape.embedding if self.shape.encoder else self.shape.vocabulary)

    def _attention(self, rows: int, body: int, *, unpacks: bool) -> int:
        """Bytes at the widest point of attention, beside `rows` elements a token.

        Without flash attention these are all heads' scores, and with latent attention a transposed copy of the
        values; with it, where the cache is quantized, one layer's cache as f16 (`unpacks`). Where attention and
        feed-forward part work side by side, that lasts until the latter's `body` bytes are done.
        """
        shape, tokens = self.shape, 4 * self.batch
        value = shape.heads * shape.latent_value
        reads = [(self.cells_of(layer), layer.key + layer.value) for layer, _ in shape.groups if layer.key]
        latent = shape.query + value + shape.heads * shape.kv_widest + shape.embedding
        if not self.flash:
            scores = tokens * self._width() * shape.heads
            if value:
                return scores + tokens * (rows + latent) + 2 * self.cells * self.streams * shape.latent_value
            cached = 2 * shape.embedding if shape.encoder else max(reads)[1]
            alike = len(shape.groups) == 1 and not shape.experts
            return scores + tokens * (rows + self._queries(2 if alike else 3) + cached)
        unpacked = 2 * self.streams * max((cells * one for cells, one in reads), default=0) if unpacks else 0
        if value:
            return tokens * (rows + latent + (value if unpacks else 0)) + unpacked
        if shape.parallel_blocks and unpacks:
            return body + tokens * shape.embedding + unpacked
        return tokens * (rows + self._queries(2)) + unpacked

    def _rows_on_cpu(self) -> int:
        """Further rows of embeddings on a CPU, which has the input embedding's result in the same buffer."""
        shape = self.shape
        if self.mixed:
            return 1
        if shape.architecture in NARROW_ON_CPU and shape.widest <= NARROW * shape.embedding:
            return 0
        return 2 if shape.latent_value else 1

    def _beside(self, *, on_cpu: bool) -> int:
        """Elements for each token that lie beside a layer's widest part, for what comes along with the embedding.

        The first layers' parts of an image, which later builds have as tokens and as embeddings, in places that
        others seldom fill (at most as often as said here); and the layers' own embeddings, as they come and as the
        layers read them.
        """
        shape = self.shape
        deep = 4 + 2 * on_cpu if self.mixed else 1 + on_cpu
        return deep * shape.deepstack * shape.embedding + 2 * shape.each_layer

    def _beside_attention(self, *, on_cpu: bool, unpacks: bool) -> int:
        """The same beside attention, where scores and unpacked values are too large for the copies' places."""
        shape = self.shape
        deep = 5 + on_cpu if self.mixed else 1 + on_cpu
        results = 0 if self.mixed else shape.results
        return deep * shape.deepstack * shape.embedding + (1 + unpacks) * shape.each_layer + results

    def _queries(self, copies: int) -> int:
        """Elements of queries for a token; wider than the embedding they leave gaps, as large as their copies."""
        shape = self.shape
        if shape.architecture in GATED_DELTA:  # queries and gates are cut out of one projection
            return shape.query * ((4 if self.flash else 2) + (shape.query > shape.embedding))
        return shape.query * (copies if shape.query > shape.embedding else 1)

    def _width(self) -> int:
        return self.batch if self.shape.encoder else self.cells


def buffers_of(shape: ModelShape, settings: RunSettings, hardware: Hardware) -> Buffers:
    """The settings as llama.cpp lays them out: context padded to 256, divided by requests, padded again.

    A context above the model's own is cut to it, as Ollama does.
    """
    num_ctx = min(settings.num_ctx, shape.training_context or settings.num_ctx)
    streams = 1 if shape.encoder else settings.parallel  # Ollama gives an encoder one request at a time
    context = _pad(num_ctx * streams, CONTEXT_STEP)
    cells = _pad(-(-context // streams), CONTEXT_STEP)
    batch = min(ENCODER_BATCH if shape.encoder else settings.num_batch, cells * streams)
    return Buffers(
        shape=shape,
        cells=cells,
        streams=streams,
        batch=batch,
        outputs=batch if shape.encoder or settings.old_engine else streams,
        flash=_flash(settings, hardware),
        kv_type=settings.kv_cache,
        quantized=settings.kv_cache not in {"f16", "bf16", "f32"},
        cuda=hardware.backend in {"cuda", "rocm"},
        old_engine=settings.old_engine,
        rows=_rows(shape, settings),
        mixed=settings.mixed_batches,
    )


def _rows(shape: ModelShape, settings: RunSettings) -> int:
    if shape.encoder:
        return ROWS_OF_ENCODERS + (settings.mixed_batches and shape.architecture in WINDOWED_ENCODERS)
    mixed = settings.mixed_batches or shape.architecture in MIXED_FROM_THE_START
    return ROWS_OF_MIXED_BATCHES if mixed or shape.experts else ROWS


def cache_bytes(elements: int, kv_type: str) -> int:
    """Bytes of a row of `elements` in a KV cache of that type; whole blocks."""
    size, block = CACHE_BYTES[kv_type]
    return -(-elements // block) * size


def _pad(number: int, step: int) -> int:
    return -(-number // step) * step


def _flash(settings: RunSettings, hardware: Hardware) -> bool:
    """Whether flash attention runs: "auto" is on wherever Ollama has kernels for it (ml/device.go)."""
    if settings.flash_attention != "auto":
        return settings.flash_attention == "on"
    return all(device.compute_capability not in _OLD_CUDA for device in hardware.devices)
