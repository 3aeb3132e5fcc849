"""Tokens a second, as an estimate with a range. A tie-breaker and a floor, never a promise.

Making a token reads all weights that it uses, and its context, once from memory: `t = t0 + bytes / (η × bandwidth)`.
On llama.cpp's own table of one 8B model in twenty quants this line holds within 3 % for types of 4 bits and
more (tools/quantize/README.md: 4.42 ms + 1.986 ms for each GiB on 32 layers); `η` is the usual share of the
bandwidth that each backend reaches in public benchmarks.

A processor reaches a quarter to all of what it can read, and which it is cannot be seen from here. All: 84 to 91 % on
four cores with one memory channel (ggml-org/llama.cpp#26484), 93 % on a desktop. Less where one core waits for
arithmetic rather than memory: few cores for the bandwidth, types of few bits, large servers (71 and 38 to 41 %, and
22 % with a type that is hard to unpack: ikawrakow/ik_llama.cpp#534). Measured anew in docs/accuracy.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.buffers import buffers_of

if TYPE_CHECKING:
    from modelforge.hardware import Hardware
    from modelforge.memory import Footprint
    from modelforge.settings import RunSettings
    from modelforge.shape import ModelShape

REACHED = {"cuda": 0.68, "rocm": 0.55, "vulkan": 0.5, "metal": 0.65, "cpu": 0.5}
"""Share of the bandwidth that reading weights reaches. With the cpu's, the high end of the range is the bandwidth."""
SECONDS_PER_LAYER = {"cuda": 0.0001, "rocm": 0.00012, "vulkan": 0.00014, "metal": 0.0001, "cpu": 0.00002}
"""What a layer takes however small it is: starting its kernels."""
EXPERTS_REACH = 0.55
"""How much less an accelerator reaches where each token reads other experts: more and smaller kernels.

A processor has none to start: Qwen3 30B-A3B reads 21 GB/s there, dense models of 3B and 8B 21 to 23
(inventivehq.com/blog/moe-on-cpu-benchmark, an i7-8700).
"""
USED_CONTEXT = 2048
"""Tokens of context at which the speed is told; less where `num_ctx` is less."""
RANGE = 1.4
WIDE_RANGE = 2.0


def tokens_per_second(
    shape: ModelShape, settings: RunSettings, hardware: Hardware, *, placed: Footprint | None = None
) -> tuple[float, float] | None:
    """Low and high estimate for one request alone; None where a bandwidth is not known, or nothing is generated.

    `placed` tells where the layers lie; without it they are all on the accelerators. The range is a factor
    1.4 either way, 2 with experts or with layers on the CPU, be it some or all.
    """
    if shape.encoder:
        return None
    off = 0.0 if placed is None or not hardware.devices else 1 - placed.on_device / placed.layers
    fast = _bandwidth(hardware, placed)
    slow = (hardware.system_bandwidth or 0) * REACHED["cpu"]
    if not fast or (off and not slow):
        return None
    read = shape.read_cost + _context_bytes(shape, settings, hardware, None if off else placed)
    fast *= EXPERTS_REACH if shape.experts and hardware.devices else 1
    seconds = read * (1 - off) / fast + (read * off / slow if off else 0.0)
    seconds += len(shape.layers) * SECONDS_PER_LAYER[hardware.backend]
    spread = WIDE_RANGE if shape.experts or off or not hardware.devices else RANGE
    return 1 / seconds / spread, 1 / seconds * spread


def _bandwidth(hardware: Hardware, placed: Footprint | None) -> float:
    """Bytes a second that are reached where the layers lie; over several devices each reads its own part in turn."""
    reached = REACHED[hardware.backend]
    if not hardware.devices:
        return (hardware.system_bandwidth or 0) * REACHED["cpu"]
    rates = {device.name: device.bandwidth or 0 for device in hardware.devices}
    if not all(rates.values()):
        return 0.0
    shares = placed.shares if placed else ()
    whole = sum(share.weights for share in shares)
    taken = sum(share.weights / rates[share.name] for share in shares)
    return (whole / taken if taken else min(rates.values())) * reached


def _context_bytes(
    shape: ModelShape, settings: RunSettings, hardware: Hardware, placed: Footprint | None
) -> int:
    """KV bytes read for a token, with `USED_CONTEXT` tokens of one request in the cache.

    `placed` has the whole cache where all layers lie in one place; else it is worked out.
    """
    if placed is not None:
        context = min(settings.num_ctx, shape.training_context or settings.num_ctx)
        one = sum(share.kv for share in placed.shares) // settings.parallel
        return one * min(USED_CONTEXT, context) // context
    buffers = buffers_of(shape, settings, hardware)
    full = buffers.kv(shape.groups, devices=False) // buffers.streams
    return full * min(USED_CONTEXT, buffers.cells) // buffers.cells
