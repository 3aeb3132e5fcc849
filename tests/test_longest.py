"""The longest context with which the pick still fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelforge.errors import UsageProblem
from modelforge.longest import resolve_longest
from modelforge.resolve import Plan, resolve
from tests import shapes
from tests.plans import candidate, cpu, gpu, gpus, profile

if TYPE_CHECKING:
    from modelforge.hardware import Hardware

QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS")
LADDER = [candidate(model, size, q) for model, size in ((shapes.LLAMA_8B, "8b"), (shapes.LLAMA_1B, "1b"))
          for q in QUANTS]  # fmt: skip
WINDOWED = [candidate(shapes.GEMMA3_12B, "12b", quant) for quant in QUANTS]


def longest(hardware: Hardware, num_ctx: int | None = 8192, among: Any = LADDER, **tables: Any) -> Plan:
    asked = {} if num_ctx is None else {"num_ctx": num_ctx}
    made = profile(parameters={**asked, **tables.pop("parameters", {})}, **tables)
    return resolve_longest(made, hardware, among, variant="v")


def at(hardware: Hardware, num_ctx: int, among: Any = LADDER, **tables: Any) -> Plan:
    made = profile(parameters=tables.pop("parameters", {}), **tables)
    return resolve(made, hardware, among, variant="v", context=num_ctx)


def picked(plan: Plan) -> str | None:
    return plan.picked.candidate.ref if plan.picked else None


def test_the_profiles_own_pick_gets_all_the_context_that_fits() -> None:
    found = longest(gpu(12))
    assert picked(found) == "llama3:8b-Q8_0"
    assert found.num_ctx_from == "longest"
    context = found.settings.num_ctx
    assert context > 8192
    assert context % 256 == 0
    assert picked(at(gpu(12), context + 256)) == "llama3:8b-Q6_K"


def test_never_more_than_it_was_trained_for() -> None:
    assert longest(gpu(180)).settings.num_ctx == 131072
    assert longest(gpu(80), None, [candidate(shapes.FORGE_TINY, "2.6m", "Q8_0")]).settings.num_ctx == 1024


def test_where_nothing_fits_it_is_the_longest_with_which_something_does() -> None:
    eight = LADDER[: len(QUANTS)]
    assert at(gpu(6.5), 131072, eight).picked is None
    found = longest(gpu(6.5), 131072, eight)
    assert (picked(found), found.num_ctx_from) == ("llama3:8b-IQ4_XS", "longest")
    assert found.settings.num_ctx < 131072
    assert at(gpu(6.5), found.settings.num_ctx + 256, eight).picked is None


def test_where_nothing_ever_fits_it_is_the_profiles_plan() -> None:
    found = longest(gpu(2), 8192, LADDER[: len(QUANTS)])
    assert (found.picked, found.settings.num_ctx, found.num_ctx_from) == (None, 8192, "profile")


def test_layers_stay_on_the_device() -> None:
    eight = LADDER[: len(QUANTS)]
    found = longest(gpu(6.5), 131072, eight, resolve={"allow_offload": True})
    assert (found.decision, picked(found)) == ("fits", "llama3:8b-IQ4_XS")
    assert longest(gpu(2), 8192, eight, resolve={"allow_offload": True}).decision == "offload"


def test_a_context_that_is_no_multiple_is_not_made_shorter() -> None:
    odd = [candidate(shapes.GEMMA2_9B, "9b", "Q4_K_M")]
    assert longest(gpu(48), 8191, odd).settings.num_ctx == 8192
    fits = at(gpu(48), 1000, odd)
    assert longest(gpu(48), 1000, odd).settings.num_ctx >= fits.settings.num_ctx


def test_a_given_context_stands_for_the_profiles() -> None:
    found = at(gpu(24), 20000, parameters={"num_ctx": 8192})
    assert (found.settings.num_ctx, found.num_ctx_from, found.settings.num_batch) == (20000, "given", 1024)
    assert not any("num_ctx is not set" in told for told in found.warnings)
    with pytest.raises(
        UsageProblem, match="200000 tokens was asked for, but 'llama3' was trained for 131072"
    ):
        at(gpu(24), 200_000)


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    hardware=st.one_of(
        st.floats(1.5, 40).map(gpu),
        st.floats(3, 40).map(cpu),
        st.tuples(st.integers(1500, 20_000), st.integers(1500, 20_000)).map(lambda mib: gpus(*mib)),
    ),
    num_ctx=st.one_of(st.none(), st.integers(4, 8192), st.integers(8192, 131_072)),
    kind=st.sampled_from(["f16", "q8_0"]),
    prefer=st.sampled_from(["quality", "smallest", "speed"]),
    among=st.sampled_from([LADDER, WINDOWED]),
)
def test_one_step_more_does_not_fit(
    hardware: Hardware, num_ctx: int | None, kind: str, prefer: str, among: Any
) -> None:
    tables: dict[str, Any] = {"resolve": {"kv_cache": kind, "prefer": prefer}}
    own = resolve(
        profile(parameters={} if num_ctx is None else {"num_ctx": num_ctx}, **tables),
        hardware,
        among,
        variant="v",
    )
    found = longest(hardware, num_ctx, among, **tables)
    context = found.settings.num_ctx
    if found.num_ctx_from != "longest":
        assert own.picked is None
        assert at(hardware, 256, among, **tables).picked is None
        return
    assert found.picked is not None
    assert picked(at(hardware, context, among, **tables)) == picked(found)
    if own.picked is not None:
        assert context >= own.settings.num_ctx
        assert picked(found) == picked(own)
    trained = found.picked.candidate.shape.training_context
    if context + 256 <= trained:
        more = at(hardware, context // 256 * 256 + 256, among, **tables)
        assert picked(more) != picked(found)
