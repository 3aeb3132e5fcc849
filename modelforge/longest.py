"""The longest context that fits: for `resolve --context max`. Tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from modelforge.buffers import CONTEXT_STEP
from modelforge.resolve import Plan, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelforge.bases import Candidate
    from modelforge.hardware import Hardware
    from modelforge.profile import Profile


def resolve_longest(
    profile: Profile,
    hardware: Hardware,
    candidates: Sequence[Candidate],
    *,
    variant: str,
    use_free: bool = False,
) -> Plan:
    """The plan with the longest `num_ctx`, a multiple of 256, with which the profile's own pick stays the pick.

    The candidate is the one picked at the profile's `num_ctx`: who asks for the longest context wants to know how
    much more that model can have, not to trade it for a worse one. Where nothing fits whole at that `num_ctx`,
    it is the longest shorter one with which anything does, and the pick is the best that fits there. Where
    nothing ever fits, the plan is that of the profile.

    Raises:
        As `resolve` does.
    """

    def at(num_ctx: int) -> Plan:
        return resolve(profile, hardware, candidates, variant=variant, use_free=use_free, context=num_ctx)

    own = resolve(profile, hardware, candidates, variant=variant, use_free=use_free)
    start = own.settings.num_ctx
    if own.picked is None or own.decision == "offload":
        found = _longest(at, 0, start, lambda plan: plan.decision == "fits")
        return _chosen(found) if found else own
    ref = own.picked.candidate.ref

    def same(plan: Plan) -> bool:
        return plan.decision == "fits" and plan.picked is not None and plan.picked.candidate.ref == ref

    most = own.picked.candidate.shape.training_context
    found = _longest(at, start, most + 1, same)
    return _chosen(found or own)


def _longest(at: Callable[[int], Plan], low: int, above: int, good: Callable[[Plan], bool]) -> Plan | None:
    """The plan at the largest multiple of 256 from `low` to below `above` that is good; by bisection.

    What is good at one context is so at every shorter one: memory only grows with the context.
    """
    first, last = max(-(-low // CONTEXT_STEP), 1), (above - 1) // CONTEXT_STEP
    best = None
    while first <= last:
        middle = (first + last) // 2
        plan = at(middle * CONTEXT_STEP)
        if good(plan):
            best, first = plan, middle + 1
        else:
            last = middle - 1
    return best


def _chosen(plan: Plan) -> Plan:
    return replace(plan, num_ctx_from="longest")
