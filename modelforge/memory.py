"""A model's footprint on a device set: what lies on each device. Pure integer arithmetic, bytes.

Placement follows llama.cpp's own planner as Ollama uses it (common/fit.cpp, b10488; server/sched.go, 0.32):
with everything on accelerators these hold all tensors but the input embedding; a model without an output
matrix gets a copy of that embedding there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelforge.architecture import GATED_DELTA
from modelforge.buffers import Buffers, buffers_of
from modelforge.errors import UsageProblem
from modelforge.experts import by_parts
from modelforge.shape import Parts
from modelforge.spread import Load, Placed, Work, by_filling, by_memory, can_hold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelforge.hardware import Hardware
    from modelforge.settings import RunSettings
    from modelforge.shape import ModelShape

_PIPELINE_ROWS = {False: (4, 8), True: (12, 7)}
"""Rows of embeddings a token that the first and each further GPU of a pipeline keeps on top, before and since
batches may mix tokens and embeddings (llama.cpp's planner, b10488 and b11549)."""
_PIPELINE_SCANS = (3, 7)
"""Quarters of a Mamba part's width that the first and each further GPU of a pipeline keeps on top; never too little
(by llama.cpp's planner, b10488 and b11549, together with `_PIPELINE_STATES`)."""
_PIPELINE_STATES = 8
"""Rows of embeddings a token that recurrent layers add on each GPU of a pipeline, likewise."""
_RECEIVED_ROWS = 4
"""Rows of embeddings a token that a device keeps on top which takes over a part of another's layer, likewise."""
_GATED_OUTPUT_ROWS = 5
"""Rows of embeddings a token that a gated delta net's output keeps behind a pipeline, in b10488 alone."""
_IDLE_ROWS = 3
"""Rows of embeddings that a device keeps for each token with logits, if it has the output alone."""
SINGLE_GPU_PERCENT = 80
"""How full Ollama's forecast may be for a model to be kept on one of several GPUs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What lies on one device, and what may: its memory less the headroom. Bytes."""

    name: str
    weights: int
    kv: int
    compute: int
    projector: int
    budget: int

    @property
    def needs(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.compute + self.projector


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Where a model lies. `host` is what stays in system memory beside the accelerators, in bytes.

    `on_device` of `layers` layers are on accelerators (the output counts as one). `because` says what is
    not exact. `roomy`: whether several devices could each keep some bytes more free; None where nobody asked.
    """

    shares: tuple[Share, ...]
    host: int
    on_device: int
    layers: int
    because: tuple[str, ...]
    roomy: bool | None = None

    @property
    def slack(self) -> int:
        """Bytes that the tightest device has left; below zero: lacks."""
        return min(share.budget - share.needs for share in self.shares)

    @property
    def needs(self) -> int:
        """Bytes on all devices."""
        return sum(share.needs for share in self.shares)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One question: a model's buffers, and for each device its name, memory and budget in bytes."""

    shape: ModelShape
    buffers: Buffers
    names: tuple[str, ...]
    memory: tuple[int, ...]
    headroom: int
    projector: int
    drafts: int
    because: tuple[str, ...]

    def budget(self, device: int) -> int:
        return self.memory[device] - self.headroom


def footprint(
    shape: ModelShape, settings: RunSettings, hardware: Hardware, *, projector: int = 0, cpu_layers: int = 0
) -> Footprint:
    """What a model needs on a device set, and where.

    On accelerators all layers but the first `cpu_layers` are there. Several devices are checked one by one:
    the largest alone where Ollama's forecast keeps the model on it, else layers spread by memory, else
    filled device after device. `projector` is the bytes of image or sound encoders in files of their own;
    they count twice, as Ollama keeps the same again free for their graph.

    Without accelerators everything lies in system memory, and the headroom is kept free of that. The file
    counts once: Ollama maps nothing there, so what the CPU repacks is moved and not copied.

    Raises:
        UsageProblem: the hardware says neither devices nor system memory.
    """
    job = _job(shape, settings, hardware, projector)
    if not hardware.devices:
        return _in_ram(job)
    return _offloaded(job, cpu_layers) if cpu_layers else _on_devices(job)


def has_room(
    shape: ModelShape, settings: RunSettings, hardware: Hardware, *, projector: int, bands: Sequence[int]
) -> bool | None:
    """Whether all layers could lie on the devices with so many bytes kept free on each on top of the headroom.

    None where the devices are not filled with whole layers.
    """
    if shape.experts or any(layer.draft for layer in shape.layers):
        return None
    load = _load(_job(shape, settings, hardware, projector), 0)
    budgets = tuple(budget - band for budget, band in zip(load.budgets, bands, strict=True))
    return can_hold(replace(load, budgets=budgets))


def _job(shape: ModelShape, settings: RunSettings, hardware: Hardware, projector: int) -> _Job:
    extra = 2 * (projector + shape.weights.projector)
    buffers = buffers_of(shape, settings, hardware)
    return _Job(
        shape=shape,
        buffers=buffers,
        names=tuple(device.name for device in hardware.devices) or ("RAM",),
        memory=tuple(device.usable for device in hardware.devices) or (_system_memory(hardware),),
        headroom=settings.headroom,
        projector=extra,
        drafts=_drafts(shape, buffers, settings.drafts),
        because=_because(shape, settings, images=extra > 0),
    )


def offloaded(
    shape: ModelShape, settings: RunSettings, hardware: Hardware, *, projector: int = 0, band: int = 0
) -> Footprint | None:
    """The footprint with the fewest layers in system memory with which every device and that memory do.

    None where there is no accelerator, or not even the output fits. `band` bytes are kept free on top.
    """
    if not hardware.devices:
        return None
    low, high, best = 1, len(shape.layers), None
    while low <= high:
        middle = (low + high) // 2
        found = footprint(shape, settings, hardware, projector=projector, cpu_layers=middle)
        if found.slack >= band:
            best, high = found, middle - 1
        else:
            low = middle + 1
    if best is not None and hardware.system_memory is not None and best.host > hardware.system_memory:
        return None
    return best


def _system_memory(hardware: Hardware) -> int:
    if hardware.system_memory is None:
        raise UsageProblem(
            f"hardware '{hardware.name}' says neither which devices it has nor how much system memory",
            hint="set system_memory, or a [[device]], in its file",
        )
    return hardware.system_memory


def _because(shape: ModelShape, settings: RunSettings, *, images: bool) -> tuple[str, ...]:
    because = list(shape.inexact_because)
    if images:
        because.append("the memory for reading images is estimated")
    if settings.drafts and shape.weights.drafts:
        because.append("the memory for draft layers (MTP) is over-estimated")
    if settings.old_engine:
        because.append(f"Ollama {settings.engine} plans by its own rules; its need is over-estimated")
    return tuple(because)


def _drafts(shape: ModelShape, buffers: Buffers, tokens: int) -> int:
    """Bytes for draft layers (MTP) that predict `tokens` at a time; never too little.

    Their weights, a context of their own with as wide a graph, and the recurrent state to go back to for each token.
    """
    if not tokens or not shape.weights.drafts:
        return 0
    layers = [(replace(layer, draft=False), 1) for layer in shape.layers if layer.draft]
    states = tokens * shape.state * buffers.streams
    return shape.weights.drafts + buffers.kv(layers, devices=True) + buffers.graph() + states


def _in_ram(job: _Job) -> Footprint:
    shape, buffers = job.shape, job.buffers
    share = Share(
        name=job.names[0],
        weights=shape.weights.file,
        kv=buffers.kv(shape.groups, devices=False),
        compute=buffers.graph(on_cpu=True) + buffers.logits() + job.drafts,
        projector=job.projector,
        budget=job.budget(0),
    )
    return Footprint(shares=(share,), host=0, on_device=0, layers=len(shape.layers) + 1, because=job.because)


def _on_devices(job: _Job) -> Footprint:
    shares, because = _chosen(job), job.because
    if len(shares) > 1 and job.shape.state:
        because = (
            *because,
            "with recurrent layers on several devices the compute buffers are over-estimated",
        )
    return Footprint(
        shares=shares,
        host=job.shape.weights.input + job.buffers.host_graph(),
        on_device=len(job.shape.layers) + 1,
        layers=len(job.shape.layers) + 1,
        because=because,
    )


def _chosen(job: _Job) -> tuple[Share, ...]:
    """One device if there is only one, or if Ollama's forecast keeps the model on the largest; else all."""
    if len(job.memory) == 1:
        return (_alone(job, 0),)
    largest = job.memory.index(max(job.memory))
    forecast = job.shape.weights.file + job.buffers.kv(job.shape.groups, devices=False) + job.projector
    if forecast * 100 <= job.memory[largest] * SINGLE_GPU_PERCENT:
        alone = _alone(job, largest)
        if alone.needs <= alone.budget:
            return (alone,)
    return _spread(job, cpu_layers=0)


def _alone(job: _Job, device: int) -> Share:
    return Share(
        name=job.names[device],
        weights=job.shape.device_weights,
        kv=job.buffers.kv(job.shape.groups, devices=True),
        compute=job.buffers.graph() + job.drafts,
        projector=job.projector,
        budget=job.budget(device),
    )


def _offloaded(job: _Job, cpu_layers: int) -> Footprint:
    """The first `cpu_layers` in system memory; the graph has room for one of them on its way to a device."""
    shape, buffers = job.shape, job.buffers
    kept = [(layer, 1) for layer in shape.layers[:cpu_layers]]
    host = shape.weights.input + sum(shape.weights.blocks[:cpu_layers])
    return Footprint(
        shares=_spread(job, cpu_layers),
        host=host + buffers.kv(kept, devices=False) + buffers.graph(on_cpu=True) + buffers.logits(),
        on_device=len(shape.layers) + 1 - cpu_layers,
        layers=len(shape.layers) + 1,
        because=(*job.because, "with layers on the CPU the split is estimated"),
    )


def _spread(job: _Job, cpu_layers: int) -> tuple[Share, ...]:
    """The layers over all devices: by memory, else as llama.cpp fills one device after the other."""
    load = _load(job, cpu_layers)
    placed = by_memory(load)
    if not placed.fits and not any(layer.draft for layer in job.shape.layers):
        placed = _by_hand(job, load, whole=not cpu_layers) or placed
    return tuple(
        Share(
            name=name,
            weights=placed.weights[device],
            kv=placed.kv[device],
            compute=placed.compute[device] - (job.projector if device == 0 else 0),
            projector=job.projector if device == 0 else 0,
            budget=placed.budgets[device],
        )
        for device, name in enumerate(job.names)
    )


def _by_hand(job: _Job, load: Load, *, whole: bool) -> Placed | None:
    """Not for a model with draft layers: llama.cpp fills fewer layers than it has, so its first end in memory.

    Nor for a mixture of experts whose tensors are not known, or of which layers are on the CPU.
    """
    if job.shape.experts:
        return by_parts(load) if load.parts and whole else None
    return by_filling(load)


def _load(job: _Job, cpu_layers: int) -> Load:
    """What is to be spread, without the first `cpu_layers`; the graph has room for one of these on its way."""
    shape, buffers = job.shape, job.buffers
    kv = (*(buffers.kv([(layer, 1)], devices=True) for layer in shape.layers), 0)
    row = 4 * buffers.batch * shape.embedding
    parts = shape.weights.parts
    return Load(
        weights=(*shape.weights.blocks, shape.weights.output)[cpu_layers:],
        kv=kv[cpu_layers:],
        parts=(*parts, *(Parts(),) * (len(kv) - len(parts))) if parts else (),
        work=_work(job, max(shape.weights.blocks) if cpu_layers else 0),
        received=_RECEIVED_ROWS * row,
        transit=_transit(job) + job.projector,
        memory=job.memory,
        budgets=tuple(job.budget(device) for device in range(len(job.memory))),
    )


def _transit(job: _Job) -> int:
    """What the first device works with while experts are in system memory, from which it copies them.

    By llama.cpp's planner, b10488: two tensors and a row of embeddings a token, to the byte. In b11549: never more
    than one tensor beside all that a layer needs.
    """
    one, two = job.shape.weights.copies
    if job.buffers.mixed:
        return one + job.buffers.graph()
    return two + 4 * job.buffers.batch * job.shape.embedding


def _work(job: _Job, transit: int) -> Work:
    """What each device needs whatever its layers; without a pipeline where layers are in `transit` from memory."""
    buffers, last = job.buffers, len(job.memory) - 1
    beside = [
        (job.projector if device == 0 else 0) + (job.drafts if device == last else 0) + transit
        for device in range(last + 1)
    ]
    more = _PIPELINE_STATES if job.shape.state else 0
    first, further = (0 if transit else rows + more for rows in _PIPELINE_ROWS[buffers.mixed])
    side_by_side = transit or job.shape.parallel_blocks
    scans = [0 if side_by_side else quarters * buffers.scan() // 4 for quarters in _PIPELINE_SCANS]

    def graphs(spread: int, scan: int = 0) -> tuple[int, ...]:
        return tuple(
            buffers.graph(output=device == last, spread=spread) + scan + beside[device]
            for device in range(last + 1)
        )

    logits = 4 * buffers.outputs * (job.shape.vocabulary + _IDLE_ROWS * job.shape.embedding)
    return Work(
        idle=tuple(size + (logits if device == last else 0) for device, size in enumerate(beside)),
        alone=graphs(0),
        first=graphs(first, scans[0]),
        further=graphs(further, scans[1]),
        output=logits
        + beside[last]
        + _output_rows(job.shape, buffers) * 4 * buffers.batch * job.shape.embedding,
    )


def _output_rows(shape: ModelShape, buffers: Buffers) -> int:
    """Rows of embeddings a token that a device keeps which ends a pipeline with the output alone: mostly none."""
    return 0 if buffers.mixed or shape.architecture not in GATED_DELTA else _GATED_OUTPUT_ROWS
