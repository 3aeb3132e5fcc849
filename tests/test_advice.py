"""What is said to make a candidate fit does: each piece of advice is followed, and planned anew."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelforge.resolve import Plan, resolve
from tests import shapes
from tests.plans import candidate, cpu, gpu, gpus, profile

if TYPE_CHECKING:
    from modelforge.bases import Candidate
    from modelforge.hardware import Hardware
    from modelforge.profile import Profile
    from modelforge.resolve import NextBetter

QUANTS = ("F16", "Q8_0", "Q6_K", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K")


def every(*models: tuple[Any, str], quants: tuple[str, ...] = QUANTS) -> tuple[Candidate, ...]:
    return tuple(candidate(model, size, quant) for model, size in models for quant in quants)


BASES = (
    every((shapes.LLAMA_8B, "8b"), (shapes.LLAMA_1B, "1b")),
    every((shapes.QWEN25_14B, "14b"), (shapes.QWEN25_7B, "7b"), quants=("Q8_0", "Q4_K_M", "Q3_K_M")),
    every((shapes.GEMMA3_12B, "12b")),
    every((shapes.QWEN3_30B_A3B, "30b"), quants=("Q8_0", "Q4_K_M", "Q2_K")),
)


def followed(wanted: Profile, advice: str, plan: Plan) -> Profile:
    """The profile with the advice taken to the letter."""
    parameters, resolving, base = wanted.parameters, wanted.resolve, wanted.base
    if match := re.search(r"num_ctx (\d+)", advice):
        parameters = parameters.model_copy(update={"num_ctx": int(match[1])})
    if match := re.search(r"num_batch (\d+)", advice):
        parameters = parameters.model_copy(update={"num_batch": int(match[1])})
    if match := re.search(r'kv_cache = "(\w+)"', advice):
        resolving = resolving.model_copy(update={"kv_cache": match[1]})
    if "parallel = 1" in advice:
        resolving = resolving.model_copy(update={"parallel": 1})
    if 'flash_attention = "auto"' in advice:
        resolving = resolving.model_copy(update={"flash_attention": "auto"})
    if advice.startswith("allow_offload"):
        resolving = resolving.model_copy(update={"allow_offload": True})
    if match := re.fullmatch(r'"(\w+)" in (quants|sizes)', advice):
        used = [one.candidate for one in plan.candidates if one.verdict != "dropped"]
        now = getattr(base, match[2]) or tuple(one.quant for one in used)
        base = base.model_copy(update={match[2]: (*now, match[1])})
    return replace(wanted, parameters=parameters, resolve=resolving, base=base)


def check(wanted: Profile, hardware: Hardware, among: tuple[Candidate, ...]) -> list[str]:
    """Follows all advice of a plan; what is told of the next better candidate."""
    plan = resolve(wanted, hardware, among, variant="v")
    for better in (plan.next_size, plan.next_better):
        if better is not None:
            follow(plan, better, wanted, hardware, among)
    return list(plan.next_better.would_fit_with) if plan.next_better else []


def follow(
    plan: Plan, better: NextBetter, wanted: Profile, hardware: Hardware, among: tuple[Candidate, ...]
) -> None:
    for advice in better.would_fit_with:
        changed = followed(wanted, advice, plan)
        assert changed != wanted, advice
        again = resolve(changed, hardware, among, variant="v")
        assert again.picked is not None, advice
        verdict = next(one.verdict for one in again.candidates if one.candidate.ref == better.ref)
        if advice.startswith("allow_offload"):
            assert again.decision == "offload", advice
            assert again.picked.reason.startswith("picked: " + " of ".join(re.findall(r"\d+", advice)[:2]))
        elif " in " in advice:
            assert again.picked.candidate.ref != (plan.picked and plan.picked.candidate.ref), advice
            chosen = again.picked.candidate
            assert f'"{chosen.quant if "quants" in advice else chosen.size}"' in advice
        else:
            assert verdict in {"picked", "fits"}, advice
            assert plan.settings.prefer != "quality" or again.picked.candidate.ref != (
                plan.picked and plan.picked.candidate.ref
            ), advice


@hypothesis_settings(max_examples=70, deadline=None)
@given(
    hardware=st.one_of(
        st.floats(1.2, 40).map(gpu),
        st.floats(2, 40).map(lambda gib: gpu(gib, "metal")),
        st.floats(2, 40).map(cpu),
        st.tuples(st.integers(1500, 20_000), st.integers(1500, 20_000)).map(lambda mib: gpus(*mib)),
    ),
    num_ctx=st.sampled_from([512, 1666, 4096, 8192, 16384, 32768]),
    kind=st.sampled_from(["f16", "q8_0", "q5_1", "q4_0"]),
    parallel=st.sampled_from([1, 1, 4]),
    flash=st.sampled_from(["auto", "off"]),
    prefer=st.sampled_from(["quality", "quality", "speed", "smallest"]),
    least=st.sampled_from([None, None, 10.0]),
    batch=st.sampled_from([None, None, 2048]),
    among=st.sampled_from(BASES),
)
def test_each_piece_of_advice_is_true(
    hardware: Hardware, kind: str, flash: str, among: tuple[Candidate, ...], **drawn: Any
) -> None:
    if flash == "off":
        kind = "f16"
    wanted = profile(
        parameters={"num_ctx": drawn["num_ctx"], "num_batch": drawn["batch"]},
        resolve={
            "kv_cache": kind,
            "parallel": drawn["parallel"],
            "flash_attention": flash,
            "prefer": drawn["prefer"],
            "min_tokens_per_second": drawn["least"],
        },
    )
    check(wanted, hardware, among)


@pytest.mark.parametrize(
    ("told", "hardware", "tables"),
    [
        ("num_ctx 9216", gpu(8), {"parameters": {"num_ctx": 16384}}),
        ('kv_cache = "q8_0"', gpu(8), {"parameters": {"num_ctx": 16384}}),
        ("parallel = 1", gpu(8), {"parameters": {"num_ctx": 8192}, "resolve": {"parallel": 4}}),
        (
            'flash_attention = "auto"',
            gpu(20),
            {"parameters": {"num_ctx": 65536}, "resolve": {"flash_attention": "off"}},
        ),
        ("num_batch 512", gpu(7.2), {"parameters": {"num_ctx": 8192, "num_batch": 4096}}),
        ('"Q3_K_M" in quants', gpu(5.2), {"parameters": {"num_ctx": 2048}}),
        ('num_ctx 25600 and kv_cache = "q8_0"', gpu(6.5), {"parameters": {"num_ctx": 131072}}),
    ],
)
def test_every_kind_of_advice_is_given_where_it_helps(
    told: str, hardware: Hardware, tables: dict[str, Any]
) -> None:
    found = check(profile(**tables), hardware, BASES[0])
    assert any(one.split()[0] == told.split(maxsplit=1)[0] for one in found), found


def test_a_size_that_is_not_listed_is_advised_where_nothing_fits() -> None:
    wanted = profile(base={"sizes": ("8b",)}, parameters={"num_ctx": 8192})
    assert '"1b" in sizes' in check(wanted, gpu(4), BASES[0])


def test_offload_is_not_advised_where_something_fits_whole() -> None:
    whole = resolve(profile(parameters={"num_ctx": 8192}), gpu(5), BASES[0], variant="v")
    assert whole.picked is not None
    assert whole.next_better is not None
    assert not any("allow_offload" in told for told in whole.next_better.would_fit_with)


def test_offload_that_is_too_slow_is_not_advised() -> None:
    eight = every((shapes.LLAMA_8B, "8b"), quants=("Q8_0", "Q4_K_M"))

    def told(least: float | None) -> list[str]:
        wanted = profile(parameters={"num_ctx": 8192}, resolve={"min_tokens_per_second": least})
        return check(wanted, gpu(4), eight)

    assert any("allow_offload" in one for one in told(None))
    assert not any("allow_offload" in one for one in told(30.0))


def test_the_next_size_is_told_beside_the_next_quant() -> None:
    sizes = BASES[1]
    plan = resolve(profile(parameters={"num_ctx": 8192}), gpu(7), sizes, variant="v")
    assert plan.picked is not None
    assert plan.picked.candidate.ref == "llama3:7b-Q4_K_M"
    assert plan.next_better is not None
    assert plan.next_better.ref == "llama3:7b-Q8_0"
    assert plan.next_size is not None
    assert plan.next_size.ref == "llama3:14b-Q4_K_M"
    best = resolve(profile(parameters={"num_ctx": 8192}), gpu(10), sizes, variant="v")
    assert best.next_better is not None
    assert best.next_better.ref == "llama3:14b-Q4_K_M"
    assert best.next_size is None
