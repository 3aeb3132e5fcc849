"""Whether a candidate fits: what it needs of each device against what that may give, with room for a small error."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from modelforge.hardware import Device, Hardware
from modelforge.memory import Footprint, Share, footprint, has_room
from modelforge.same import Same
from modelforge.units import MIB, size_text

if TYPE_CHECKING:
    from modelforge.bases import Candidate
    from modelforge.hardware import Backend
    from modelforge.settings import RunSettings
    from modelforge.shape import ModelShape

Fit: TypeAlias = Literal["fits", "tight", "too-big"]

BAND = 64 * MIB
BAND_SHARE = 32
"""A candidate must leave 64 MiB of the budget, or a 32nd of it where that is less: so far the estimate may be off."""


def band_of(budget: int) -> int:
    """Bytes that must be left of a device's budget."""
    return max(min(BAND, budget // BAND_SHARE), 0)


def widest_band(placed: Footprint) -> int:
    """The largest of the devices' bands, in bytes."""
    return max(band_of(share.budget) for share in placed.shares)


def fit_of(placed: Footprint) -> Fit:
    """Whether every device holds its share, and leaves its band or could."""
    if placed.slack < 0:
        return "too-big"
    roomy = _leaves_bands(placed) if placed.roomy is None else placed.roomy
    return "fits" if roomy else "tight"


def _leaves_bands(placed: Footprint) -> bool:
    return all(share.budget - share.needs >= band_of(share.budget) for share in placed.shares)


def placed_on(candidate: Candidate, settings: RunSettings, hardware: Hardware) -> Footprint:
    """Where a candidate lies on a device set, with the bands left free where there is a way to.

    Layers that fill one of several devices to the brim while another has room are no risk: the server moves
    one. So what counts there is whether some split leaves each its band. That also makes more memory, or less
    context, never fit worse; a mixture of experts alone, which is split by parts of layers, may on three devices.
    """
    shape, projector = candidate.shape, candidate.projector_bytes
    if len(hardware.devices) < 2:  # noqa: PLR2004 (a pair)
        return _alone(candidate, settings, hardware)
    placed = footprint(shape, settings, hardware, projector=projector)
    if placed.slack < 0:
        return placed
    bands = [band_of(device.usable - settings.headroom) for device in hardware.devices]
    roomy = has_room(shape, settings, hardware, projector=projector, bands=bands)
    if roomy is False and len(placed.shares) == 1:
        roomy = _leaves_bands(placed)
    placed = replace(placed, roomy=roomy)
    if fit_of(placed) == "fits":
        return placed
    return replace(_with_bands(candidate, settings, hardware, max(bands)) or placed, roomy=roomy)


def _with_bands(
    candidate: Candidate, settings: RunSettings, hardware: Hardware, band: int
) -> Footprint | None:
    """The devices filled anew with a band kept free on each; None where that does not go."""
    kept = replace(settings, headroom=settings.headroom + band)
    roomy = footprint(candidate.shape, kept, hardware, projector=candidate.projector_bytes)
    if roomy.slack < 0:
        return None
    return replace(roomy, shares=tuple(replace(share, budget=share.budget + band) for share in roomy.shares))


def _alone(candidate: Candidate, settings: RunSettings, hardware: Hardware) -> Footprint:
    """The footprint on one device, or in RAM: the same on all of a kind, but for the budget."""
    device = hardware.devices[0] if hardware.devices else None
    memory = device.usable if device else hardware.system_memory
    if memory is None:
        return footprint(candidate.shape, settings, hardware)  # which has the words for it
    kind = (hardware.backend, device is not None, device.compute_capability if device else None)
    placed = _on_a_kind(Same(candidate.shape), settings, kind, candidate.projector_bytes)
    (share,) = placed.shares
    own = Share(
        name=device.name if device else share.name,
        weights=share.weights,
        kv=share.kv,
        compute=share.compute,
        projector=share.projector,
        budget=memory - settings.headroom,
    )
    return Footprint(
        shares=(own,),
        host=placed.host,
        on_device=placed.on_device,
        layers=placed.layers,
        because=placed.because,
    )


@lru_cache(maxsize=4096)
def _on_a_kind(
    shape: Same[ModelShape], settings: RunSettings, kind: tuple[Backend, bool, str | None], projector: int
) -> Footprint:
    """What a model needs on any one device of a backend and compute capability, or in RAM."""
    backend, is_device, capability = kind
    device = Device(name="", memory=0, compute_capability=capability)
    hardware = Hardware(name="", backend=backend, devices=(device,) if is_device else (), system_memory=0)
    return footprint(shape.all[0], settings, hardware, projector=projector)


def fits(candidate: Candidate, settings: RunSettings, hardware: Hardware) -> bool:
    """Whether a candidate fits whole."""
    return fit_of(placed_on(candidate, settings, hardware)) == "fits"


def fit_reason(placed: Footprint, verdict: str) -> str:
    """`too big: lacks 0.8 GiB on GPU1`."""
    tightest = min(placed.shares, key=lambda share: share.budget - share.needs)
    left = tightest.budget - tightest.needs
    where = f" on {tightest.name}" if len(placed.shares) > 1 else ""
    if verdict == "too-big":
        return f"too big: lacks {size_text(-left)}{where}"
    if verdict == "tight":
        return f"too tight: leaves {size_text(left)}{where}, less than the estimate may be off"
    return "fits"
