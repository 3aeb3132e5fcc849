"""Profile × hardware × candidates -> plan, with the reason for each candidate.

Units are bytes, tokens, and tokens a second. The same input gives the same plan, on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import sqrt
from typing import TYPE_CHECKING, Literal, TypeAlias

from modelforge import policy
from modelforge.advice import Wish, advice_for
from modelforge.errors import BaseProblem, UsageProblem
from modelforge.fit import band_of, fit_of, fit_reason, placed_on
from modelforge.memory import Footprint, offloaded
from modelforge.settings import RunSettings, profile_problem, run_settings
from modelforge.speed import tokens_per_second
from modelforge.units import size_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelforge.bases import Candidate
    from modelforge.hardware import Hardware
    from modelforge.profile import Profile

__all__ = ["Assessed", "Bytes", "Need", "NextBetter", "Plan", "RunSettings", "resolve", "run_settings"]

Verdict: TypeAlias = Literal["picked", "fits", "tight", "too-big", "dropped"]
Decision: TypeAlias = Literal["fits", "tight", "offload", "too-big"]
Origin: TypeAlias = Literal["profile", "default", "given", "longest"]

SLOW = 3.0
"""Tokens a second below which a pick is warned of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What one device must hold, and what it may. Bytes."""

    name: str
    needs: int
    budget: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Bytes:
    """A candidate's memory on the accelerator(s), or in RAM on a CPU target, in bytes summed over devices."""

    weights: int
    kv: int
    compute: int
    projector: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.compute + self.projector


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessed:
    """A candidate and what was found about it. `slack` (bytes) is the tightest device's; negative: lacks."""

    candidate: Candidate
    exact: bool
    bytes: Bytes
    devices: tuple[Need, ...]
    slack: int
    verdict: Verdict
    reason: str
    tokens_per_second: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NextBetter:
    """The next better candidate that was not to be had: what it lacks (bytes), what would make it fit."""

    ref: str
    lacks: int
    would_fit_with: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The decision for one profile on one hardware. `variant` is the model's full name, `NAME:TAG`.

    `candidates` are in the order of preference, best first, dropped ones last. `picked` is None where nothing fits.
    `next_size` is the nearest candidate of a better size where `next_better` is only another quant.
    `num_ctx_from` tells whose the context is: the profile's, the default, one that was given for this plan, or the
    longest that fits.
    """

    profile: str
    variant: str
    hardware: Hardware
    settings: RunSettings
    decision: Decision
    picked: Assessed | None
    candidates: tuple[Assessed, ...]
    next_better: NextBetter | None
    warnings: tuple[str, ...]
    num_ctx_from: Origin = "profile"
    next_size: NextBetter | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """One question while it is worked on: `hardware` has the memory that counts, `profile` its overrides.

    `dropped` has the reasons of the candidates that the policy does not consider, `places` where each one lies.
    """

    profile: Profile
    hardware: Hardware
    settings: RunSettings
    candidates: Sequence[Candidate]
    dropped: Mapping[str, str]
    places: dict[str, Footprint] = field(default_factory=dict)


def resolve(
    profile: Profile,
    hardware: Hardware,
    candidates: Sequence[Candidate],
    *,
    variant: str,
    use_free: bool = False,
    context: int | None = None,
) -> Plan:
    """The plan for a profile on a device set: the first candidate, by preference, that fits whole.

    A profile's overrides for that hardware apply. `use_free` plans on the memory that is free now; `context`
    is a `num_ctx` that stands for the profile's.

    Raises:
        BaseProblem: there are no candidates.
        ProfileProblem: `num_ctx` is above what every candidate was trained for, or the lists of sizes and
            quants match nothing.
        UsageProblem: the hardware says neither devices nor system memory, or `context` is above what every
            candidate was trained for.
    """
    profile = profile.on(hardware.name)
    if context is not None:
        profile = _with_context(profile, context)
    if not candidates:
        raise BaseProblem(f"the base '{profile.base.model}' has no candidates")
    dropped = policy.why_dropped(profile, candidates)
    considered = [candidate for candidate in candidates if candidate.ref not in dropped]
    settings = _settings(profile, considered, given=context)
    counted = _free(hardware) if use_free else hardware
    case = _Case(profile=profile, hardware=counted, settings=settings, candidates=candidates, dropped=dropped)
    assessed = [_assessed(case, one, dropped.get(one.ref)) for one in policy.by_quality(profile, candidates)]
    ordered = _ordered(settings.prefer, assessed)
    picked = next((one for one in ordered if one.verdict == "fits"), None)
    split = _split(case, ordered) if picked is None and profile.resolve.allow_offload else None
    taken = _taken(case, picked) if picked else split
    final = tuple(taken if taken and one.candidate.ref == taken.candidate.ref else one for one in ordered)
    return Plan(
        profile=profile.name,
        variant=variant,
        hardware=hardware,
        settings=settings,
        decision=_decision(picked, split, ordered),
        picked=taken,
        candidates=final,
        next_better=_next_better(case, final, taken),
        next_size=_next_size(case, final, taken),
        warnings=_warnings(case, hardware, taken or final[0]),
        num_ctx_from="given" if context else "default" if settings.num_ctx_is_default else "profile",
    )


def _with_context(profile: Profile, num_ctx: int) -> Profile:
    parameters = profile.parameters.model_copy(update={"num_ctx": num_ctx})
    return replace(profile, parameters=parameters)


def _settings(profile: Profile, considered: Sequence[Candidate], *, given: int | None) -> RunSettings:
    contexts = [candidate.shape.training_context for candidate in considered]
    asked, model, most = profile.parameters.num_ctx, profile.base.model, max(contexts)
    if given is not None and given > most:
        raise UsageProblem(
            f"a context of {given} tokens was asked for, but '{model}' was trained for {most}",
            hint=f"ask for at most {most}, or for 'max'",
        )
    if asked is not None and asked > most:
        raise profile_problem(
            profile,
            "parameters.num_ctx",
            f"num_ctx is {asked}, but '{model}' was trained for {most} tokens",
            hint=f"set num_ctx to at most {most}",
        )
    return run_settings(profile, min(contexts))


def _free(hardware: Hardware) -> Hardware:
    """The hardware with what is free now as its memory, where that is known."""
    devices = tuple(
        device if device.free is None else replace(device, memory=min(device.usable, device.free), reserved=0)
        for device in hardware.devices
    )
    system = hardware.system_memory if hardware.system_free is None else hardware.system_free
    return replace(hardware, devices=devices, system_memory=system)


def _assessed(case: _Case, candidate: Candidate, dropped: str | None) -> Assessed:
    placed = case.places[candidate.ref] = placed_on(candidate, case.settings, case.hardware)
    speed = tokens_per_second(candidate.shape, case.settings, case.hardware, placed=placed)
    reason = dropped or _too_long(case, candidate) or _too_slow(case, speed)
    verdict: Verdict = "dropped" if reason else fit_of(placed)
    return _record(candidate, placed, speed, verdict, reason or fit_reason(placed, verdict))


def _record(
    candidate: Candidate,
    placed: Footprint,
    speed: tuple[float, float] | None,
    verdict: Verdict,
    reason: str,
) -> Assessed:
    shares = placed.shares
    return Assessed(
        candidate=candidate,
        exact=not placed.because,
        bytes=Bytes(
            weights=sum(share.weights for share in shares),
            kv=sum(share.kv for share in shares),
            compute=sum(share.compute for share in shares),
            projector=sum(share.projector for share in shares),
        ),
        devices=tuple(Need(name=share.name, needs=share.needs, budget=share.budget) for share in shares),
        slack=placed.slack,
        verdict=verdict,
        reason=reason,
        tokens_per_second=speed,
    )


def _too_long(case: _Case, candidate: Candidate) -> str:
    limit = candidate.shape.training_context
    return f"num_ctx is above its training context of {limit}" if case.settings.num_ctx > limit else ""


def _too_slow(case: _Case, speed: tuple[float, float] | None) -> str:
    least = case.profile.resolve.min_tokens_per_second
    if least is None or speed is None or _middle(speed) >= least:
        return ""
    return f"too slow: about {_middle(speed):.1f} tok/s, below min_tokens_per_second {least:g}"


def _middle(speed: tuple[float, float]) -> float:
    return sqrt(speed[0] * speed[1])


def _ordered(prefer: str, assessed: Sequence[Assessed]) -> list[Assessed]:
    """By preference, best first, given in order of quality; dropped ones last."""
    considered = [one for one in assessed if one.verdict != "dropped"]
    dropped = [one for one in assessed if one.verdict == "dropped"]
    if prefer == "smallest":
        considered.sort(key=lambda one: one.bytes.total)
    elif prefer == "speed" and all(one.tokens_per_second for one in considered):
        considered.sort(key=lambda one: -_middle(one.tokens_per_second or (1.0, 1.0)))
    elif prefer == "speed":
        considered.sort(key=lambda one: one.candidate.shape.read_cost)
    return considered + dropped


def _taken(case: _Case, picked: Assessed) -> Assessed:
    why = {"quality": "best quality", "speed": "fastest", "smallest": "smallest"}[case.settings.prefer]
    return replace(picked, verdict="picked", reason=f"picked: {why} that fits")


def _split(case: _Case, ordered: Sequence[Assessed]) -> Assessed | None:
    """The smallest candidate with some of its layers on the CPU, where that is allowed and fast enough."""
    for one in sorted(ordered, key=lambda one: one.bytes.total):
        if one.verdict == "dropped":
            continue
        shape = one.candidate.shape
        band = max(band_of(need.budget) for need in one.devices)
        placed = offloaded(
            shape, case.settings, case.hardware, projector=one.candidate.projector_bytes, band=band
        )
        if placed is None:
            continue
        speed = tokens_per_second(shape, case.settings, case.hardware, placed=placed)
        if not _too_slow(case, speed):
            case.places[one.candidate.ref] = placed
            reason = f"picked: {placed.on_device} of {placed.layers} layers fit, the rest stay on the CPU"
            return _record(one.candidate, placed, speed, "picked", reason)
    return None


def _decision(picked: Assessed | None, split: Assessed | None, ordered: Sequence[Assessed]) -> Decision:
    if picked:
        return "fits"
    if split:
        return "offload"
    return "tight" if any(one.verdict == "tight" for one in ordered) else "too-big"


def _next_better(case: _Case, ordered: Sequence[Assessed], taken: Assessed | None) -> NextBetter | None:
    """What stands just before the pick in the order of preference; with no pick, the smallest candidate."""
    if taken is not None:
        before = _before(ordered, taken)
        return _missed(case, before[-1], taken) if before else None
    considered = [one for one in ordered if one.verdict != "dropped"]
    return _missed(case, min(considered or ordered, key=lambda one: one.bytes.total), taken)


def _next_size(case: _Case, ordered: Sequence[Assessed], taken: Assessed | None) -> NextBetter | None:
    """Where the next better candidate is only another quant: the nearest one of a better size."""
    if taken is None or case.settings.prefer != "quality":
        return None
    before = _before(ordered, taken)
    larger = [one for one in before if not policy.same_size(one.candidate, taken.candidate)]
    return _missed(case, larger[-1], taken) if larger and before[-1] is not larger[-1] else None


def _before(ordered: Sequence[Assessed], taken: Assessed) -> list[Assessed]:
    considered = [one for one in ordered if one.verdict != "dropped"]
    return considered[: considered.index(taken)]


def _missed(case: _Case, missed: Assessed, taken: Assessed | None) -> NextBetter:
    band = max(band_of(need.budget) for need in missed.devices)
    return NextBetter(
        ref=missed.candidate.ref,
        lacks=max(band - missed.slack if missed.slack >= 0 else -missed.slack, 0),
        would_fit_with=() if missed.verdict == "dropped" else _advice(case, missed, taken),
    )


def _advice(case: _Case, missed: Assessed, taken: Assessed | None) -> tuple[str, ...]:
    """Changes with each of which the missed candidate fits; or, where there is a better change, another of its size."""
    wish = Wish(
        candidate=missed.candidate,
        settings=case.settings,
        hardware=case.hardware,
        own_batch=case.profile.parameters.num_batch is not None,
        # with a pick that lies whole on the device, offload is not looked at
        offload=taken is None and not case.profile.resolve.allow_offload,
        least_speed=case.profile.resolve.min_tokens_per_second,
    )
    return (*advice_for(wish), *_listing(case, missed, taken))


def _listing(case: _Case, missed: Assessed, taken: Assessed | None) -> tuple[str, ...]:
    """The quant or size that is there but not considered, and would be the pick if the profile listed it.

    Only where the missed candidate is of another size than the pick, or nothing fits: within a size a smaller
    quant is no better than what was picked.
    """
    if taken is not None and (
        case.settings.prefer != "quality" or policy.same_size(missed.candidate, taken.candidate)
    ):
        return ()
    for one in policy.by_quality(case.profile, case.candidates):
        if one.ref not in case.dropped or (taken and not policy.same_size(one, missed.candidate)):
            continue
        long = one.shape.training_context < case.settings.num_ctx
        placed = case.places[one.ref]
        speed = tokens_per_second(one.shape, case.settings, case.hardware, placed=placed)
        if long or fit_of(placed) != "fits" or _too_slow(case, speed):
            continue
        word = policy.listing(case.profile, case.candidates, one)
        if word:
            return (word,)
    return ()


def _warnings(case: _Case, hardware: Hardware, chosen: Assessed) -> tuple[str, ...]:
    profile, settings = case.profile, case.settings
    placed = case.places[chosen.candidate.ref]
    found = list(hardware.warnings)
    if settings.num_ctx_is_default:
        limit = chosen.candidate.shape.training_context
        found.append(f"num_ctx is not set: {settings.num_ctx} is written (the model was trained for {limit})")
    if profile.parameters.num_gpu is not None:
        found.append("num_gpu is set: the server then loads without checking that the model fits")
    lone = policy.lone_warning(profile, case.candidates)
    found += [lone] if lone else []
    if hardware.devices and hardware.system_memory is not None and placed.host > hardware.system_memory:
        found.append(f"{size_text(placed.host)} of system memory are needed beside the GPU; there is less")
    found += [f"estimate: {reason}" for reason in placed.because]
    found += [
        f"the memory of {device.name} is taken from its nominal size"
        for device in hardware.devices
        if not device.exact
    ]
    found += _about_speed(profile, chosen)
    return tuple(dict.fromkeys(found + _short_of_free(case, hardware, chosen)))


def _about_speed(profile: Profile, chosen: Assessed) -> list[str]:
    least, speed = profile.resolve.min_tokens_per_second, chosen.tokens_per_second
    if least is not None and speed is None:
        return ["min_tokens_per_second is not checked: a memory bandwidth is not known"]
    if least is None and speed is not None and chosen.verdict == "picked" and _middle(speed) < SLOW:
        told = f"about {_middle(speed):.1f} tok/s are expected"
        return [f"{told}, slower than people read; min_tokens_per_second drops what is too slow"]
    return []


def _short_of_free(case: _Case, hardware: Hardware, chosen: Assessed) -> list[str]:
    """A warning for each device on which less is free now than the plan needs."""
    free = {device.name: device.free for device in hardware.devices if device.free is not None}
    if not hardware.devices and hardware.system_free is not None:
        free = {chosen.devices[0].name: hardware.system_free}
    return [
        f"{need.name} has only {size_text(free[need.name])} free now; the plan needs {size_text(need.needs)}, "
        f"and {size_text(case.settings.headroom)} kept free"
        for need in chosen.devices
        if need.name in free and need.needs + case.settings.headroom > free[need.name]
    ]
