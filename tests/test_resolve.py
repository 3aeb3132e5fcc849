"""Which candidate is picked, why the others are not, and what would change it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelforge.errors import BaseProblem, ExitCode, ProfileProblem
from modelforge.hardware import Device, Hardware
from modelforge.resolve import Plan, resolve
from modelforge.units import GIB, MIB
from tests import shapes
from tests.plans import candidate, cpu, gpu, gpus, profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelforge.bases import Candidate
    from modelforge.profile import Profile
    from modelforge.resolve import Assessed

QUANTS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M")
LADDER = [candidate(shapes.LLAMA_8B, "8b", q) for q in QUANTS] + [
    candidate(shapes.LLAMA_1B, "1b", q) for q in QUANTS
]
USUAL = [one for one in LADDER if one.quant not in {"F16", "Q3_K_M"}]
ALL: dict[str, Any] = {"base": {"quants": QUANTS}}
TINY = [candidate(shapes.FORGE_TINY, "2.6M", quant) for quant in ("F16", "Q8_0", "Q4_0")]


def plan(
    hardware: Hardware, candidates: list[Candidate] = LADDER, of: Profile | None = None, **tables: Any
) -> Plan:
    tables.setdefault("parameters", {"num_ctx": 8192})
    return resolve(of or profile(**tables), hardware, candidates, variant="coder:test")


def picked(found: Plan) -> str | None:
    return found.picked.candidate.ref.removeprefix("llama3:") if found.picked else None


def verdicts(found: Plan) -> dict[str, str]:
    return {one.candidate.ref.removeprefix("llama3:"): one.verdict for one in found.candidates}


def reason(found: Plan, ref: str) -> str:
    return next(one.reason for one in found.candidates if one.candidate.ref == f"llama3:{ref}")


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(2.5, "1b-Q6_K"), (4, "1b-F16"), (8, "8b-Q5_K_M"), (12, "8b-Q8_0"), (24, "8b-F16"), (80, "8b-F16")],
)
def test_the_pick_grows_with_the_card(memory: float, expected: str) -> None:
    found = plan(gpu(memory), **ALL)
    assert picked(found) == expected
    assert found.decision == "fits"
    assert found.picked is not None
    assert found.picked.reason == "picked: best quality that fits"


def test_candidates_are_told_best_first_with_exact_bytes() -> None:
    found = plan(gpu(24))
    refs = [one.candidate.ref for one in found.candidates if one.verdict != "dropped"]
    assert refs == [
        f"llama3:{size}-{q}" for size in ("8b", "1b") for q in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
    ]
    best = found.candidates[0]
    assert best.exact
    assert best.bytes.kv == 1024 * MIB
    assert best.bytes.total == sum(need.needs for need in best.devices)
    assert best.slack == best.devices[0].budget - best.devices[0].needs
    assert best.devices[0].budget == 23 * GIB


def test_by_default_full_precision_and_what_is_below_the_floor_are_dropped() -> None:
    found = plan(gpu(80))
    assert picked(found) == "8b-Q8_0"
    assert verdicts(found)["8b-F16"] == verdicts(found)["8b-Q3_K_M"] == "dropped"
    assert reason(found, "8b-F16") == "not listed: F16 is considered only if listed in quants, or alone"
    assert (
        reason(found, "8b-Q3_K_M") == "below the floor: Q3_K_M is under IQ4_XS; list it in quants to allow it"
    )


def test_full_precision_alone_is_considered() -> None:
    assert picked(plan(gpu(24), [candidate(shapes.LLAMA_8B, "8b", "F16")])) == "8b-F16"
    sizes = [candidate(shapes.LLAMA_8B, "8b", "F16"), candidate(shapes.LLAMA_1B, "1b", "Q8_0")]
    assert picked(plan(gpu(24), sizes)) == "8b-F16"


def test_the_floor_holds_only_where_there_is_something_better() -> None:
    low = [candidate(shapes.LLAMA_8B, "8b", quant) for quant in ("Q3_K_M", "Q2_K")]
    assert picked(plan(gpu(24), low)) == "8b-Q3_K_M"
    alone = plan(gpu(24), low[1:])
    assert picked(alone) == "8b-Q2_K"
    assert "Q2_K is below the floor (IQ4_XS); considered because it is the only candidate" in alone.warnings


def test_a_beaten_quant_is_dropped_where_the_better_one_exists() -> None:
    both = [candidate(shapes.LLAMA_8B, "8b", quant) for quant in ("IQ4_XS", "Q4_0")]
    found = plan(gpu(24), both)
    assert reason(found, "8b-Q4_0") == "dominated: IQ4_XS is no larger and better"
    assert verdicts(plan(gpu(24), TINY, parameters={}))["2.6M-Q4_0"] == "fits"


def test_lists_of_the_profile_rule() -> None:
    found = plan(gpu(24), base={"quants": ("q4_k_m", "Q3_K_M"), "sizes": ("1B", "8b")})
    assert picked(found) == "1b-Q4_K_M"
    assert verdicts(found)["8b-Q8_0"] == "dropped"
    assert reason(found, "8b-Q8_0") == "not listed: Q8_0 is not in quants"
    only = plan(gpu(24), base={"sizes": ("1b",)})
    assert picked(only) == "1b-Q8_0"
    assert reason(only, "8b-Q8_0") == "not listed: size 8b is not in sizes"


def test_lists_that_match_nothing_say_what_there_is() -> None:
    with pytest.raises(ProfileProblem) as caught:
        plan(gpu(24), TINY, base={"quants": ("Q5_K_M",)})
    assert caught.value.problems[0].hint == "the base has: 2.6M F16, 2.6M Q8_0, 2.6M Q4_0"


def test_of_several_devices_one_that_is_full_is_no_reason_to_call_it_tight() -> None:
    needs = plan(gpus(9000, 9000), USUAL[:1], parameters={"num_ctx": 8192}).candidates[0]
    assert len(needs.devices) == 2
    for spare in range(0, 400, 20):
        found = plan(gpus(7000 + spare, 6000), USUAL[:1])
        assert found.picked is not None, spare
        assert all(need.needs + 64 * MIB <= need.budget for need in found.picked.devices)


def test_a_pick_that_is_slower_than_people_read_is_warned_of() -> None:
    slow = plan(cpu(64), [candidate(shapes.LLAMA_70B, "70b", "Q4_K_M")])
    assert picked(slow) == "70b-Q4_K_M"
    told = (
        "about 0.6 tok/s are expected, slower than people read; min_tokens_per_second drops what is too slow"
    )
    assert told in slow.warnings
    assert not any("slower than people read" in one for one in plan(gpu(24)).warnings)


def test_the_only_candidate_is_considered_whatever_is_listed() -> None:
    found = plan(gpu(24), LADDER[1:2], base={"quants": ("Q4_K_M",)})
    assert picked(found) == "8b-Q8_0"
    assert "not listed: Q8_0 is not in quants; considered because it is the only candidate" in found.warnings


def test_smallest_and_fastest_stay_above_the_floor() -> None:
    assert picked(plan(gpu(24), resolve={"prefer": "smallest"})) == "1b-Q4_K_M"
    assert picked(plan(gpu(24), resolve={"prefer": "speed"})) == "1b-Q4_K_M"
    assert picked(plan(gpu(24, bandwidth=None), resolve={"prefer": "speed"})) == "1b-Q4_K_M"


def test_what_is_too_slow_is_dropped() -> None:
    found = plan(cpu(64), resolve={"min_tokens_per_second": 15.0})
    assert picked(found) == "1b-Q8_0"
    assert "below min_tokens_per_second 15" in reason(found, "8b-Q8_0")


def test_a_least_speed_that_cannot_be_checked_is_said() -> None:
    found = plan(gpu(24, bandwidth=None), resolve={"min_tokens_per_second": 15.0})
    assert picked(found) == "8b-Q8_0"
    assert "min_tokens_per_second is not checked: a memory bandwidth is not known" in found.warnings


def test_in_the_dead_band_under_the_budget_it_is_tight_and_not_picked() -> None:
    need = plan(gpu(80)).candidates[0].bytes.total
    for spare, verdict in ((63 * MIB, "tight"), (64 * MIB, "picked"), (-1, "too-big")):
        found = plan(gpus((need + GIB + spare) / MIB), USUAL)
        assert verdicts(found)["8b-Q8_0"] == verdict, spare
    tight = plan(gpus((need + GIB + 10 * MIB) / MIB), USUAL[:1])
    assert (tight.decision, tight.picked) == ("tight", None)
    assert reason(tight, "8b-Q8_0") == "too tight: leaves 10.0 MiB, less than the estimate may be off"


def test_next_better_is_the_step_above_the_pick_and_what_it_takes_is_true() -> None:
    found = plan(gpu(7.9))
    assert picked(found) == "8b-Q5_K_M"
    better = found.next_better
    assert better is not None
    assert better.ref == "llama3:8b-Q6_K"
    slack = next(one.slack for one in found.candidates if one.candidate.ref == better.ref)
    assert better.lacks == -slack
    context = next(int(told.split()[1]) for told in better.would_fit_with if told.startswith("num_ctx"))
    assert picked(plan(gpu(7.9), parameters={"num_ctx": context})) == "8b-Q6_K"
    assert picked(plan(gpu(7.9), parameters={"num_ctx": context + 1024})) != "8b-Q6_K"
    assert 'kv_cache = "q8_0"' in better.would_fit_with
    assert picked(plan(gpu(7.9), resolve={"kv_cache": "q8_0"})) == "8b-Q6_K"


def test_nothing_better_is_null() -> None:
    assert plan(gpu(80)).next_better is None


def test_when_nothing_fits_the_smallest_says_what_it_takes() -> None:
    found = plan(gpu(5), [one for one in USUAL if one.size == "8b"], parameters={"num_ctx": 16384})
    assert (found.decision, found.picked) == ("too-big", None)
    better = found.next_better
    assert better is not None
    assert better.ref == "llama3:8b-Q4_K_M"
    assert better.lacks > 0
    assert any(
        told.startswith("allow_offload (") and "of 33 layers" in told for told in better.would_fit_with
    )


def test_offload_only_where_it_is_allowed() -> None:
    eight = [one for one in USUAL if one.size == "8b"]
    found = plan(gpu(5), eight, resolve={"allow_offload": True})
    assert found.decision == "offload"
    assert picked(found) == "8b-Q4_K_M"
    assert found.picked is not None
    assert "of 33 layers fit, the rest stay on the CPU" in found.picked.reason
    assert found.picked.devices[0].needs <= found.picked.devices[0].budget
    assert not found.picked.exact


def test_a_fit_goes_before_offload() -> None:
    assert plan(gpu(5), resolve={"allow_offload": True}).decision == "fits"


def test_the_context_may_not_exceed_what_the_base_was_trained_for() -> None:
    written = profile(
        parameters={"num_ctx": 200_000}, origins={"parameters.num_ctx": "profiles/coder.toml:14:1"}
    )
    with pytest.raises(ProfileProblem) as caught:
        plan(gpu(24), of=written)
    problem = caught.value.problems[0]
    assert problem.message == "num_ctx is 200000, but 'llama3' was trained for 131072 tokens"
    assert (problem.place, problem.hint) == ("profiles/coder.toml:14:1", "set num_ctx to at most 131072")
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_candidate_with_a_shorter_context_is_dropped_where_others_have_it() -> None:
    gemma = candidate(shapes.GEMMA2_9B, "9b", "Q4_K_M")
    found = plan(gpu(24), [gemma, *USUAL], parameters={"num_ctx": 16384})
    assert reason(found, "9b-Q4_K_M") == "num_ctx is above its training context of 8192"


@pytest.mark.parametrize(("candidates", "expected"), [(USUAL, 4096), (TINY, 1024)])
def test_an_absent_context_is_4096_or_what_the_model_has_and_it_is_said(
    candidates: list[Candidate], expected: int
) -> None:
    found = plan(gpu(24), candidates, parameters={})
    assert (found.settings.num_ctx, found.settings.num_ctx_is_default) == (expected, True)
    assert any(told.startswith(f"num_ctx is not set: {expected} is written") for told in found.warnings)
    assert not any("num_ctx" in told for told in plan(gpu(24)).warnings)


@pytest.mark.parametrize(
    ("context", "parallel", "batch"), [(4096, 1, 512), (4096, 2, 1024), (32768, 1, 1024), (32768, 2, 2048)]
)
def test_the_batch_is_ollamas_unless_set(context: int, parallel: int, batch: int) -> None:
    tables: dict[str, Any] = {"resolve": {"parallel": parallel}}
    assert plan(gpu(80), parameters={"num_ctx": context}, **tables).settings.num_batch == batch
    assert (
        plan(gpu(80), parameters={"num_ctx": context, "num_batch": 256}, **tables).settings.num_batch == 256
    )


@pytest.mark.parametrize(
    ("engine", "taken"),
    [(None, "0.32"), ("0.24", "0.24"), ("0.30.4", "0.30"), ("0.0.0", "0.32"), ("1.2", "1.2")],
)
def test_the_engine_is_a_version(engine: str | None, taken: str) -> None:
    assert plan(gpu(24), resolve={"engine": engine}).settings.engine == taken


def test_no_candidates_is_an_error() -> None:
    with pytest.raises(BaseProblem, match="no candidates"):
        plan(gpu(24), [])


def test_overrides_for_the_hardware_apply() -> None:
    small = profile(parameters={"num_ctx": 2048})
    both = replace(profile(parameters={"num_ctx": 8192}), overrides={"test": small})
    assert plan(gpu(24), of=both).settings.num_ctx == 2048


def loaded(free: int) -> Hardware:
    return Hardware(
        name="this",
        backend="cuda",
        devices=(Device(name="RTX 4090", memory=24 * GIB, free=free * GIB),),
        origin="probed",
    )


def test_a_model_still_loaded_does_not_change_the_pick_but_is_said() -> None:
    found = plan(loaded(4))
    assert picked(found) == "8b-Q8_0"
    assert any(
        told.startswith("RTX 4090 has only 4.0 GiB free now; the plan needs 8.") for told in found.warnings
    )
    assert not any("free now" in told for told in plan(loaded(24)).warnings)


def test_free_memory_counts_where_it_is_asked_for() -> None:
    free = resolve(profile(parameters={"num_ctx": 8192}), loaded(4), LADDER, variant="v", use_free=True)
    assert picked(free) == "1b-Q8_0"
    assert free.hardware.devices[0].memory == 24 * GIB


def test_warnings_tell_what_a_plan_rests_on() -> None:
    guess = replace(gpu(24), devices=(Device(name="A40", memory=45 * GIB, exact=False),))
    found = plan(
        guess,
        [candidate(shapes.QWEN3_NEXT_80B, "80b", "Q4_K_M"), *USUAL],
        parameters={"num_ctx": 8192, "num_gpu": 20},
    )
    assert "the memory of A40 is taken from its nominal size" in found.warnings
    assert "num_gpu is set: the server then loads without checking that the model fits" in found.warnings


def test_an_inexact_plan_says_why() -> None:
    model = replace(shapes.LLAMA_70B, architecture="internlm2")
    found = plan(gpu(80), [candidate(model, "70b", "Q4_K_M")])
    assert found.picked is not None
    assert not found.picked.exact
    assert "estimate: the compute buffer of 'internlm2' models is over-estimated" in found.warnings


@pytest.mark.parametrize(
    ("mib", "expected"), [(24, "2.6M-F16"), (12, "2.6M-Q8_0"), (10, "2.6M-Q4_0"), (5, None)]
)
def test_a_model_of_a_few_mib_has_a_real_choice(mib: int, expected: str | None) -> None:
    tables: dict[str, Any] = {"base": {"quants": ("F16", "Q8_0", "Q4_0")}, "resolve": {"headroom": "0B"}}
    assert picked(plan(gpus(mib), TINY, None, parameters={}, **tables)) == expected


def test_sizes_without_labels_are_told_apart_by_their_parameters() -> None:
    unlabelled = [replace(one, size=None) for one in USUAL]
    assert picked(plan(gpu(24), unlabelled[::-1])) == "8b-Q8_0"


RANK = {
    f"{size}-{quant}": index
    for index, (size, quant) in enumerate((s, q) for s in ("8b", "1b") for q in QUANTS)
}
RANK_OF_NONE = len(RANK)
WIDER = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16")
TWO = st.tuples(st.integers(1000, 20_000), st.integers(1000, 20_000))
DEVICES = st.one_of(st.integers(1000, 30_000).map(lambda mib: (mib,)), TWO)


def rank(found: Plan) -> int:
    name = picked(found)
    return RANK[name] if name else RANK_OF_NONE


def at(mib: tuple[int, ...], num_ctx: int, cache: str = "f16", prefer: str = "quality", **more: Any) -> Plan:
    """A plan for GPUs of so many MiB; none: for a CPU with that much."""
    tables: dict[str, Any] = {
        "parameters": {"num_ctx": num_ctx},
        "resolve": {"kv_cache": cache, "prefer": prefer, **more},
    }
    return plan(gpus(*mib), **ALL, **tables)


@hypothesis_settings(max_examples=50, deadline=None)
@given(
    devices=DEVICES,
    more=st.integers(0, 20_000),
    which=st.integers(0, 1),
    context=st.integers(256, 131_072),
    least=st.sampled_from([None, 20.0, 60.0]),
)
def test_more_memory_never_gives_a_worse_pick(
    devices: tuple[int, ...], more: int, which: int, context: int, least: float | None
) -> None:
    grown = list(devices)
    grown[which % len(grown)] += more
    if len(devices) > 1:
        least = None  # what moves to a larger but slower card may be too slow there
    here, there = (at(one, context, min_tokens_per_second=least) for one in (devices, tuple(grown)))
    assert rank(there) <= rank(here)


@hypothesis_settings(max_examples=40, deadline=None)
@given(memory=st.floats(1.5, 64), more=st.floats(0, 64), context=st.integers(256, 131_072))
def test_more_system_memory_never_gives_a_worse_pick(memory: float, more: float, context: int) -> None:
    tables: dict[str, Any] = {"parameters": {"num_ctx": context}}
    here, there = (plan(cpu(gib), **ALL, **tables) for gib in (memory, memory + more))
    assert rank(there) <= rank(here)


@hypothesis_settings(max_examples=50, deadline=None)
@given(
    devices=DEVICES,
    context=st.integers(256, 131_072),
    more=st.integers(0, 100_000),
    kind=st.sampled_from(WIDER),
    wider=st.sampled_from(WIDER),
)
@example(devices=(1615, 1652), context=1537, more=256, kind="q4_0", wider="q4_0")
@example(devices=(2222, 2751), context=32_769, more=256, kind="q4_0", wider="q4_0")
@example(devices=(1929, 2738), context=17_034, more=512, kind="f16", wider="f16")
def test_more_context_or_a_wider_cache_never_gives_a_better_pick(
    devices: tuple[int, ...], context: int, more: int, kind: str, wider: str
) -> None:
    kind, wider = sorted((kind, wider), key=WIDER.index)
    here = at(devices, context, kind)
    assert rank(at(devices, min(context + more, 131_072), kind)) >= rank(here)
    assert rank(at(devices, context, wider)) >= rank(here)


@hypothesis_settings(max_examples=50, deadline=None)
@given(
    devices=DEVICES,
    context=st.integers(256, 131_072),
    prefer=st.sampled_from(["quality", "smallest", "speed"]),
    least=st.sampled_from([None, 30.0]),
    listed=st.sampled_from([None, ("Q4_K_M", "Q8_0"), ("Q3_K_M", "Q6_K")]),
    shuffled=st.permutations(LADDER),
)
def test_the_pick_is_the_best_by_the_policy_of_those_that_fit(
    devices: tuple[int, ...],
    context: int,
    prefer: str,
    least: float | None,
    listed: tuple[str, ...] | None,
    shuffled: list[Candidate],
) -> None:
    tables: dict[str, Any] = {
        "base": {"quants": listed},
        "parameters": {"num_ctx": context},
        "resolve": {"prefer": prefer, "min_tokens_per_second": least},
    }
    found = plan(gpus(*devices), LADDER, None, **tables)
    assert found == plan(gpus(*devices), shuffled, None, **tables)  # the same input gives the same plan
    fitting = [one for one in found.candidates if one.verdict in {"picked", "fits"}]
    assert (found.picked is None) == (not fitting)
    if found.picked is None:
        return
    middle = {
        one.candidate.ref: sum(one.tokens_per_second) if one.tokens_per_second else 0.0 for one in fitting
    }
    orders: dict[str, Callable[[Assessed], float]] = {
        "quality": lambda one: RANK[one.candidate.ref.removeprefix("llama3:")],
        "smallest": lambda one: one.bytes.total,
        "speed": lambda one: -middle[one.candidate.ref],
    }
    best = orders[prefer]
    assert best(found.picked) == min(map(best, fitting))
    assert all(need.needs <= need.budget for need in found.picked.devices)


def test_the_order_of_the_candidates_changes_nothing() -> None:
    assert plan(gpu(8), LADDER[::-1]) == plan(gpu(8), LADDER)


def test_planning_is_cheap() -> None:
    six, hardware, wanted = USUAL[:6], gpu(8), profile(parameters={"num_ctx": 8192})
    start = time.perf_counter()
    for _ in range(100):
        resolve(wanted, hardware, six, variant="v")
    assert time.perf_counter() - start < 1.0
