"""Which candidates are considered, and in what order: the default quants, the floor, the ladder of sizes."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from modelforge import quants
from modelforge.bases.headers import has_token
from modelforge.same import Same
from modelforge.settings import profile_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelforge.bases import Candidate
    from modelforge.errors import ProfileProblem
    from modelforge.profile import Profile

_LABEL = re.compile(r"(\d+(?:\.\d+)?)([bm])")
NATIVE = {"MXFP4": frozenset({"gpt-oss", "gptoss"})}
"""Architectures that were trained in a quant, so that it is their best."""
QAT = "Q4_0"
"""What quantization-aware training is for: files that are named `qat` were trained to be stored so."""
QAT_LOSS = quants.loss("Q4_K_M", 0.0) - 1e-6
"""A QAT file ranks just above Q4_K_M: nobody has measured both against one reference."""


def by_quality(profile: Profile, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates, best first: the ladder of sizes, then the quant's loss, then the name.

    The ladder is the profile's `sizes`; without it, more parameters are better.
    """
    return _by_quality(profile.base.sizes, Same(*candidates))


@lru_cache(maxsize=128)
def _by_quality(sizes: Sequence[str] | None, key: Same[Candidate]) -> tuple[Candidate, ...]:
    """Kept for the other hardware and settings that the same candidates are planned for."""
    ladder = [size.casefold() for size in sizes or ()]
    largest: dict[str, float] = {}
    for candidate in key.all:
        label = _label(candidate)
        largest[label] = max(largest.get(label, 0.0), _parameters(candidate))

    def rank(candidate: Candidate) -> tuple[float, float, str]:
        label = _label(candidate)
        step = ladder.index(label) if label in ladder else len(ladder)
        return (float(step) if ladder else -largest[label], _loss(candidate), candidate.ref)

    return tuple(sorted(key.all, key=rank))


def why_dropped(profile: Profile, candidates: Sequence[Candidate]) -> Mapping[str, str]:
    """For the refs that are not considered, the reason.

    What the profile lists is always considered, and so is a candidate that is alone. Else: of each size,
    every quant that no other of that size beats, from Q8_0 down to IQ4_XS. F16 and its like, and what is
    below the floor, only where there is nothing else: F16 in its size, the floor in the whole base.

    Raises:
        ProfileProblem: the profile's lists match none of several candidates.
    """
    if len(candidates) == 1:
        return {}
    reasons = _reasons(profile.base.sizes, profile.base.quants, Same(*candidates))
    if reasons is None:
        raise _nothing_listed(profile, candidates)
    return reasons


@lru_cache(maxsize=128)
def _reasons(
    sizes: Sequence[str] | None, listed_quants: Sequence[str] | None, key: Same[Candidate]
) -> Mapping[str, str] | None:
    """Reasons by ref; None where the lists match nothing."""
    reasons = {candidate.ref: _not_listed(sizes, listed_quants, candidate) for candidate in key.all}
    listed = [candidate for candidate in key.all if not reasons[candidate.ref]]
    if not listed:
        return None
    if not listed_quants and len(listed) > 1:
        for candidate in listed:
            same = [other for other in listed if _label(other) == _label(candidate)]
            reasons[candidate.ref] = _beaten(candidate, same) or _below(candidate, listed)
    return {ref: reason for ref, reason in reasons.items() if reason}


def lone_warning(profile: Profile, candidates: Sequence[Candidate]) -> str | None:
    """A warning if the only candidate is one that would not have been taken had there been others."""
    if len(candidates) != 1:
        return None
    only = candidates[0]
    reason = _not_listed(profile.base.sizes, profile.base.quants, only)
    if reason:
        return f"{reason}; considered because it is the only candidate"
    if not profile.base.quants and not _at_floor(only):
        return (
            f"{only.quant} is below the floor ({quants.FLOOR}); considered because it is the only candidate"
        )
    return None


def same_size(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates are of one size."""
    return _label(one) == _label(other)


def listing(profile: Profile, candidates: Sequence[Candidate], wanted: Candidate) -> str:
    """The one entry in the profile's lists with which a candidate would be considered: `"Q3_K_M" in quants`; or "".

    Where there is no list yet, it would hold what is considered now, and that entry.
    """
    dropped = why_dropped(profile, candidates)
    now = [candidate for candidate in candidates if candidate.ref not in dropped]
    used = [candidate.quant for candidate in now]
    tries: list[tuple[str, dict[str, tuple[str, ...]]]] = [
        (f'"{wanted.quant}" in quants', {"quants": (*(profile.base.quants or used), wanted.quant)})
    ]
    if profile.base.sizes and wanted.size:
        tries.append((f'"{wanted.size}" in sizes', {"sizes": (*profile.base.sizes, wanted.size)}))
    for words, lists in tries:
        changed = replace(profile, base=profile.base.model_copy(update=lists))
        if wanted.ref not in why_dropped(changed, candidates):
            return words
    return ""


def _nothing_listed(profile: Profile, candidates: Sequence[Candidate]) -> ProfileProblem:
    there = ", ".join(dict.fromkeys(f"{one.size or ''} {one.quant}".strip() for one in candidates))
    key = "base.quants" if profile.base.quants else "base.sizes"
    listed = ", ".join(profile.base.quants or profile.base.sizes or ())
    message = f"nothing of '{profile.base.model}' is listed in the profile ({listed})"
    return profile_problem(profile, key, message, hint=f"the base has: {there}")


def _not_listed(
    sizes: Sequence[str] | None, listed_quants: Sequence[str] | None, candidate: Candidate
) -> str:
    if sizes and _label(candidate) not in {size.casefold() for size in sizes}:
        return f"not listed: size {candidate.size} is not in sizes"
    if listed_quants and _spelled(candidate.quant) not in map(_spelled, listed_quants):
        return f"not listed: {candidate.quant} is not in quants"
    return ""


def _beaten(candidate: Candidate, same_size: Sequence[Candidate]) -> str:
    quant = quants.get(candidate.quant)
    if quant is None or _native(candidate):
        return ""
    if (quant.full or quant.native_only) and any(map(_usual, same_size)):
        return f"not listed: {quant.name} is considered only if listed in quants, or alone"
    better = [other for other in same_size if _beats(other, candidate)]
    return f"dominated: {min(better, key=_loss).quant} is no larger and better" if better else ""


def _beats(one: Candidate, other: Candidate) -> bool:
    """Whether a file is no larger than another one of its size, by their real bytes, and better."""
    if one.shape.weights.file > other.shape.weights.file:
        return False
    return _loss(one) < _loss(other) if _native(one) else quants.beats(one.quant, other.quant)


def _below(candidate: Candidate, others: Sequence[Candidate]) -> str:
    if _at_floor(candidate) or not any(_at_floor(other) for other in others):
        return ""
    return f"below the floor: {candidate.quant} is under {quants.FLOOR}; list it in quants to allow it"


def _native(candidate: Candidate) -> bool:
    """Whether a model was trained to be stored in its quant."""
    if candidate.quant == QAT:
        return has_token(candidate.ref, "qat")
    return candidate.shape.architecture in NATIVE.get(candidate.quant, ())


def _at_floor(candidate: Candidate) -> bool:
    return _native(candidate) or not quants.below_floor(candidate.quant, candidate.shape.bits)


def _usual(candidate: Candidate) -> bool:
    quant = quants.get(candidate.quant)
    rare = quant is not None and (quant.full or quant.native_only)
    return _native(candidate) or (not rare and _at_floor(candidate))


def _loss(candidate: Candidate) -> float:
    if _native(candidate):
        return QAT_LOSS if candidate.quant == QAT else 0.0
    return quants.loss(candidate.quant, candidate.shape.bits)


def _spelled(quant: str) -> str:
    return quants.canonical(quant) or quant.casefold()


def _label(candidate: Candidate) -> str:
    """What says that two candidates are of one size: their label, else their parameters to two digits."""
    return candidate.size.casefold() if candidate.size else f"{candidate.shape.parameters:.1e}"


def _parameters(candidate: Candidate) -> float:
    """Parameters from the tensors, else from a label such as `7b`."""
    match = _LABEL.fullmatch(candidate.size.casefold()) if candidate.size else None
    said = float(match[1]) * (1e9 if match[2] == "b" else 1e6) if match else 0.0
    return float(candidate.shape.parameters) or said
