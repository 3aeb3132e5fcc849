"""What would make a candidate fit: found by trying, smallest change first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING

from modelforge.fit import fits, placed_on, widest_band
from modelforge.memory import offloaded
from modelforge.settings import automatic_batch
from modelforge.speed import tokens_per_second

if TYPE_CHECKING:
    from modelforge.bases import Candidate
    from modelforge.hardware import Hardware
    from modelforge.settings import RunSettings

LEAST_CONTEXT = 2048
"""Shorter contexts are not proposed, unless the one asked for is shorter."""
STEP = 1024
SMALL_STEP = 256
USUAL_BATCH = 512
CHEAPER_CACHE = ("q8_0", "q4_0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A candidate that is to fit, and under which settings on what.

    `own_batch`: the profile sets `num_batch`, so that a shorter context does not make it smaller. `offload`:
    layers on the CPU would be taken if they were allowed. `least_speed` is `min_tokens_per_second`.
    """

    candidate: Candidate
    settings: RunSettings
    hardware: Hardware
    own_batch: bool
    offload: bool
    least_speed: float | None = None

    def fits(self, settings: RunSettings) -> bool:
        """Whether it would fit with other settings, and the batch that the server takes for them."""
        if not self.own_batch:
            flash = settings.flash_attention != "off"
            batch = automatic_batch(settings.num_ctx * settings.parallel, flash=flash)
            settings = replace(settings, num_batch=batch)
        return fits(self.candidate, settings, self.hardware)


def advice_for(wish: Wish) -> tuple[str, ...]:
    """Changes to the profile with each of which the candidate fits, as the profile spells them.

    A shorter context, a cheaper KV cache, fewer requests, flash attention, a smaller batch; two together only
    where none does alone; and layers on the CPU, with how many and how fast, where they would be taken.
    """
    found = _single(wish)
    settings = wish.settings
    smaller = replace(settings, num_batch=USUAL_BATCH)
    if settings.num_batch > USUAL_BATCH and fits(wish.candidate, smaller, wish.hardware):
        found.append(f"num_batch {USUAL_BATCH}")
    if not found:
        found = _together(wish)
    return (*found, *_offload(wish))


def _single(wish: Wish) -> list[str]:
    found, settings = [], wish.settings
    context = _longest(wish, settings)
    if context:
        found.append(f"num_ctx {context}")
    cheaper = next((kind for kind in _cheaper(settings) if wish.fits(replace(settings, kv_cache=kind))), None)
    if cheaper:
        found.append(f'kv_cache = "{cheaper}"')
    if settings.parallel > 1 and wish.fits(replace(settings, parallel=1)):
        found.append("parallel = 1")
    if settings.flash_attention == "off" and wish.fits(replace(settings, flash_attention="auto")):
        found.append('flash_attention = "auto"')
    return found


def _together(wish: Wish) -> list[str]:
    for kind in _cheaper(wish.settings):
        context = _longest(wish, replace(wish.settings, kv_cache=kind))
        if context:
            return [f'num_ctx {context} and kv_cache = "{kind}"']
    return []


def _cheaper(settings: RunSettings) -> tuple[str, ...]:
    """Smaller types of KV cache, the largest first; they need flash attention."""
    if settings.flash_attention == "off":
        return ()
    wide = {"f16": CHEAPER_CACHE, "bf16": CHEAPER_CACHE}
    middle = dict.fromkeys(("q8_0", "q5_1", "q5_0", "q4_1"), CHEAPER_CACHE[1:])
    return (wide | middle).get(settings.kv_cache, ())


def _longest(wish: Wish, settings: RunSettings) -> int | None:
    """The longest context below the one asked for that fits, in round steps; None if none does."""
    step = STEP if settings.num_ctx > LEAST_CONTEXT else SMALL_STEP
    low = LEAST_CONTEXT // step if settings.num_ctx > LEAST_CONTEXT else 1
    high, best = (settings.num_ctx - 1) // step, None
    if low > high or not wish.fits(replace(settings, num_ctx=low * step)):
        return None
    while low <= high:
        middle = (low + high) // 2
        if wish.fits(replace(settings, num_ctx=middle * step)):
            best, low = middle * step, middle + 1
        else:
            high = middle - 1
    return best


def _offload(wish: Wish) -> tuple[str, ...]:
    candidate, settings, hardware = wish.candidate, wish.settings, wish.hardware
    if not wish.offload:
        return ()
    band = widest_band(placed_on(candidate, settings, hardware))
    placed = offloaded(candidate.shape, settings, hardware, projector=candidate.projector_bytes, band=band)
    if placed is None:
        return ()
    speed = tokens_per_second(candidate.shape, settings, hardware, placed=placed)
    middle = sqrt(speed[0] * speed[1]) if speed else None
    if middle is not None and middle < (wish.least_speed or 0):
        return ()
    told = f", ~{middle:.0f} tok/s" if middle is not None else ""
    return (f"allow_offload ({placed.on_device} of {placed.layers} layers on the GPU{told})",)
