"""What would make a candidate fit: found by trying, smallest change first."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING

from modelforge.memory import Footprint, footprint, offloaded
from modelforge.settings import automatic_batch
from modelforge.speed import tokens_per_second

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelforge.bases import Candidate
    from modelforge.hardware import Hardware
    from modelforge.settings import RunSettings

LEAST_CONTEXT = 2048
"""Shorter contexts are not proposed, unless the one asked for is shorter."""
STEP = 1024
SMALL_STEP = 256
USUAL_BATCH = 512
CHEAPER_CACHE = ("q8_0", "q4_0")


def advice_for(
    candidate: Candidate,
    settings: RunSettings,
    hardware: Hardware,
    *,
    fits: Callable[[Footprint], bool],
    band: int,
    own_batch: bool,
) -> tuple[str, ...]:
    """Changes to the profile with each of which the candidate fits, as the profile spells them.

    A shorter context, a smaller batch, a cheaper KV cache; both together only where neither does alone;
    and layers on the CPU, with how many and how fast. `own_batch`: the profile sets `num_batch`, so that a
    shorter context does not make it smaller.
    """

    def good(tried: RunSettings) -> bool:
        if not own_batch:
            tried = _with_automatic_batch(tried)
        return fits(footprint(candidate.shape, tried, hardware, projector=candidate.projector_bytes))

    found = _single(settings, good)
    if settings.num_batch > USUAL_BATCH and fits(_small_batch(candidate, settings, hardware)):
        found.append(f"num_batch {USUAL_BATCH}")
    if not found:
        found = _together(settings, good)
    return (*found, *_offload(candidate, settings, hardware, band))


def _single(settings: RunSettings, good: Callable[[RunSettings], bool]) -> list[str]:
    found = []
    context = _longest(settings, good)
    if context:
        found.append(f"num_ctx {context}")
    cheaper = next((kind for kind in _cheaper(settings) if good(replace(settings, kv_cache=kind))), None)
    if cheaper:
        found.append(f'kv_cache = "{cheaper}"')
    if settings.parallel > 1 and good(replace(settings, parallel=1)):
        found.append("parallel = 1")
    if settings.flash_attention == "off" and good(replace(settings, flash_attention="auto")):
        found.append('flash_attention = "auto"')
    return found


def _together(settings: RunSettings, good: Callable[[RunSettings], bool]) -> list[str]:
    for kind in _cheaper(settings):
        context = _longest(replace(settings, kv_cache=kind), good)
        if context:
            return [f'num_ctx {context} and kv_cache = "{kind}"']
    return []


def _cheaper(settings: RunSettings) -> tuple[str, ...]:
    """Smaller types of KV cache; they need flash attention."""
    if settings.flash_attention == "off":
        return ()
    return {"f16": CHEAPER_CACHE, "bf16": CHEAPER_CACHE, "q8_0": CHEAPER_CACHE[1:]}.get(settings.kv_cache, ())


def _longest(settings: RunSettings, good: Callable[[RunSettings], bool]) -> int | None:
    """The longest context below the one asked for that fits, in round steps; None if none does."""
    step = STEP if settings.num_ctx > LEAST_CONTEXT else SMALL_STEP
    low = LEAST_CONTEXT // step if settings.num_ctx > LEAST_CONTEXT else 1
    high, best = (settings.num_ctx - 1) // step, None
    while low <= high:
        middle = (low + high) // 2
        if good(replace(settings, num_ctx=middle * step)):
            best, low = middle * step, middle + 1
        else:
            high = middle - 1
    return best


def _with_automatic_batch(settings: RunSettings) -> RunSettings:
    flash = settings.flash_attention != "off"
    return replace(settings, num_batch=automatic_batch(settings.num_ctx * settings.parallel, flash=flash))


def _small_batch(candidate: Candidate, settings: RunSettings, hardware: Hardware) -> Footprint:
    settings = replace(settings, num_batch=USUAL_BATCH)
    return footprint(candidate.shape, settings, hardware, projector=candidate.projector_bytes)


def _offload(candidate: Candidate, settings: RunSettings, hardware: Hardware, band: int) -> tuple[str, ...]:
    placed = offloaded(candidate.shape, settings, hardware, projector=candidate.projector_bytes, band=band)
    if placed is None:
        return ()
    speed = tokens_per_second(candidate.shape, settings, hardware, placed=placed)
    told = f", ~{sqrt(speed[0] * speed[1]):.0f} tok/s" if speed else ""
    return (f"allow_offload ({placed.on_device} of {placed.layers} layers on the GPU{told})",)
