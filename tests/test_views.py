from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import pytest

from modelforge.checks import Check
from modelforge.errors import Problem, ProfileProblem, SmokeFailed
from modelforge.finding import Finding
from modelforge.hardware import Device, Hardware
from modelforge.modelfile import Loss
from modelforge.resolve import Bytes, Need, NextBetter
from modelforge.runtimes import Entry
from modelforge.runtimes.docker.spec import Preview
from modelforge.shape import shape_of
from modelforge.smoke import SmokeReport
from modelforge.units import GIB, MIB
from modelforge.views import builds, changes, machines, plans, problems
from tests import shapes
from tests.fakes import some_rendered
from tests.samples import a_build, a_result, an_entry, some_assessed, some_hardware, some_plan

BIG = some_assessed("14b", "Q4_K_M", 11.8, reason="too big: lacks 0.8 GiB")
PICK = some_assessed("7b", "Q8_0", 8.7, verdict="picked", reason="picked: best quality that fits")
SMALL = some_assessed("7b", "Q6_K", 7.0, reason="fits")
DROPPED = some_assessed("3b", "Q8_0", 4.0, verdict="dropped", reason="too slow: about 3.0 tok/s")
BETTER = NextBetter(
    ref=BIG.candidate.ref, lacks=int(0.8 * GIB), would_fit_with=("num_ctx 8192", 'kv_cache = "q8_0"')
)
PLAN = some_plan(BIG, PICK, SMALL, DROPPED, next_better=BETTER, warnings=("little is free",))


def test_resolve_tells_decision_reason_and_next_step() -> None:
    assert plans.resolve_lines([PLAN]) == [
        "coder: num_ctx 16384, kv f16, 1 parallel, flash auto, prefer quality, engine 0.32",
        "",
        "rtx-3060-12gb   budget 11.0 GiB (12.0 − 1.0)",
        "   GiB         weights   kv  compute  total  slack  tok/s",
        "   14b Q4_K_M     10.6  0.9      0.3   11.8   −0.8      –   too big",
        " ▸ 7b Q8_0         7.5  0.9      0.3    8.7   +2.3  34–44   picked: best quality that fits",
        "   7b Q6_K         5.8  0.9      0.3    7.0   +4.0  34–44   fits",
        "   … 1 more: -v shows all, with the reasons",
        'next better: 14b Q4_K_M lacks 0.8 GiB; it would fit with num_ctx 8192 or kv_cache = "q8_0"',
    ]


def test_the_next_size_has_a_line_of_its_own() -> None:
    larger = replace(BETTER, would_fit_with=("num_ctx 2048",))
    lines = plans.resolve_lines([replace(PLAN, next_better=None, next_size=larger)])
    assert lines[-1] == "next size: 14b Q4_K_M lacks 0.8 GiB; it would fit with num_ctx 2048"


def test_settings_are_told_again_only_where_they_change() -> None:
    other = replace(
        PLAN, settings=replace(PLAN.settings, num_ctx=4096, num_ctx_is_default=True), num_ctx_from="default"
    )
    headings = [line for line in plans.resolve_lines([PLAN, PLAN, other]) if line.startswith("coder:")]
    assert len(headings) == 2
    assert headings[1].startswith("coder: num_ctx 4096 (default), ")


def test_verbose_shows_dropped_candidates_bytes_and_devices() -> None:
    two = replace(
        PICK,
        devices=(
            Need(name="GPU 0", needs=5 * GIB, budget=11 * GIB),
            Need(name="GPU 1", needs=4 * GIB, budget=11 * GIB),
        ),
    )
    hardware = some_hardware("two", devices=tuple(Device(name=f"GPU {n}", memory=12 * GIB) for n in (0, 1)))
    lines = plans.resolve_lines([some_plan(two, DROPPED, hardware=hardware)], verbose=1)
    assert "   bytes" in lines[3]
    assert "2 × 11.0 GiB" in lines[2]
    assert any("4294967296" in line and line.endswith("too slow: about 3.0 tok/s") for line in lines)
    assert f"   GPU 1: needs {4 * GIB} of {11 * GIB} bytes" in lines


def test_long_tables_show_what_is_next_to_the_pick() -> None:
    above = [some_assessed("70b", f"Q{index}", 40.0 - index) for index in range(20)]
    below = [some_assessed("1b", f"Q{index}", 5.0 - index / 10) for index in range(20)]
    lines = plans.resolve_lines([some_plan(*above, PICK, *below)])
    assert len(lines) <= 15
    assert "   … 33 more: -v shows all, with the reasons" in lines


def test_the_table_fits_100_columns() -> None:
    ways = ("num_ctx 14336", 'kv_cache = "q8_0"', "allow_offload (47 of 49 layers on the GPU, ~9 tok/s)")
    better = replace(BETTER, would_fit_with=ways)
    tight = replace(
        BIG, verdict="tight", reason="too tight: leaves 333.6 KiB, less than the estimate may be off"
    )
    lines = plans.resolve_lines([some_plan(tight, PICK, next_better=better)])
    assert max(len(line) for line in lines) <= 100
    assert lines[-2:] == [
        f"next better: 14b Q4_K_M lacks 0.8 GiB; it would fit with {ways[0]}, {ways[1]}",
        f"  or {ways[2]}",
    ]
    told = plans.resolve_lines([some_plan(tight, PICK, next_better=better)], verbose=1)
    assert any(line.endswith(tight.reason) for line in told)  # -v cuts nothing


def test_a_little_that_lacks_is_not_told_as_nothing() -> None:
    lines = plans.resolve_lines([some_plan(BIG, PICK, next_better=replace(BETTER, lacks=11_264))])
    assert "lacks 11.0 KiB; it would" in lines[-1]


def test_the_budget_is_that_of_all_devices_whichever_are_used() -> None:
    devices = (Device(name="RTX 4090", memory=24 * GIB), Device(name="RTX 3060", memory=12 * GIB))
    alone = replace(PICK, devices=(Need(name="RTX 4090", needs=9 * GIB, budget=23 * GIB),))
    plan = some_plan(alone, hardware=some_hardware("mixed", devices=devices))
    assert plans.resolve_lines([plan])[2] == "mixed   budget 23.0 + 11.0 GiB"
    told = plans.resolve_lines([plan], verbose=1)
    assert f"   RTX 4090: needs {9 * GIB} of {23 * GIB} bytes" in told


def test_small_models_are_told_in_mib() -> None:
    tiny = some_assessed(
        "tiny",
        "Q8_0",
        bytes=Bytes(weights=MIB, kv=3 * MIB, compute=5 * MIB, projector=0),
        devices=(Need(name="CPU", needs=9 * MIB, budget=15 * GIB),),
        slack=15 * GIB - 9 * MIB,
        verdict="picked",
        reason="picked: best quality that fits",
        exact=False,
    )
    plan = some_plan(tiny, hardware=Hardware(name="cpu-16gb", backend="cpu", system_memory=16 * GIB))
    lines = plans.resolve_lines([plan])
    assert lines[2] == "cpu-16gb   budget 15.0 GiB (16.0 − 1.0)"
    assert lines[3].startswith("   MiB ")
    assert lines[4].split()[2:8] == ["Q8_0", "1.0", "3.0", "5.0", "~9.0", "+15351"]
    assert plans.pick_lines(plan)[0].endswith("fits: needs 9.0 MiB of 15.0 GiB (1.0 kept free)")


def test_what_a_server_makes_of_the_pick_is_told() -> None:
    made = replace(PICK, candidate=replace(PICK.candidate, ref="./models/x-F16.gguf", quantize="Q4_K_M"))
    assert plans.pick_lines(some_plan(made))[0].startswith("./models/x-F16.gguf as Q4_K_M   fits: ")


def test_two_candidates_of_one_name_are_told_apart() -> None:
    other = replace(SMALL, candidate=replace(PICK.candidate, ref="coder:7b-base-q8_0"))
    lines = plans.resolve_lines([some_plan(PICK, other)])
    assert any(line.startswith(" ▸ 7b-instruct-q8_0 ") for line in lines)
    assert any(line.startswith("   7b-base-q8_0 ") for line in lines)
    told = plans.resolve_lines([some_plan(PICK, other)], verbose=1)
    assert any(line.startswith("   coder:7b-base-q8_0 ") for line in told)


def test_where_nothing_fits_the_error_teaches() -> None:
    plan = some_plan(BIG, next_better=BETTER)
    assert plans.does_not_fit_lines(plan) == [
        "coder does not fit rtx-3060-12gb (budget 11.0 GiB).",
        "  the smallest candidate, 14b Q4_K_M, needs 11.8 GiB: lacks 0.8 GiB",
        '  it would fit with num_ctx 8192, or kv_cache = "q8_0"',
    ]
    assert "nothing fits; the smallest: 14b Q4_K_M lacks 0.8 GiB" in "\n".join(plans.resolve_lines([plan]))


def test_a_build_begins_with_the_pick() -> None:
    reserved = some_hardware(
        "this", devices=(Device(name="RTX 4090", memory=24 * GIB, reserved=GIB // 2),), origin="probed"
    )
    assert plans.plan_lines(replace(PLAN, hardware=reserved)) == [
        "coder @ this (RTX 4090, 23.5 GiB usable of 24.0)",
        "  pick      coder:7b-instruct-q8_0   fits: needs 8.7 GiB of 11.0 (1.0 kept free)",
        "            not 14b Q4_K_M: lacks 0.8 GiB at num_ctx 16384; would fit with num_ctx 8192",
        "            warning: little is free",
    ]


def test_a_problem_shows_the_line_and_what_is_meant() -> None:
    problem = Problem(
        message="unknown key 'temprature' in [parameters]",
        file="profiles/coding-assistant.toml",
        line=14,
        column=1,
        width=10,
        source="temprature = 0.2",
        hint="did you mean 'temperature'?",
    )
    assert problems.problem_lines(problem) == [
        "profiles/coding-assistant.toml:14:1: unknown key 'temprature' in [parameters]",
        "   14 │ temprature = 0.2",
        "      │ ^^^^^^^^^^ did you mean 'temperature'?",
    ]


def test_the_caret_is_under_what_is_meant_behind_tabs_and_wide_letters() -> None:
    problem = Problem(message="m", file="f", line=1, column=5, source="\t日=7", expected="a number", width=1)
    lines = problems.problem_lines(replace(problem, column=4))
    assert lines[0] == "f:1:4: m, expected a number"
    assert lines[1].index("7") + 1 == lines[2].index("^")  # one letter of two columns before it


def test_a_very_long_line_is_shown_around_its_place() -> None:
    source = "x" * 5000 + "HERE" + "y" * 5000
    lines = problems.problem_lines(
        Problem(message="m", file="f", line=1, column=5001, width=4, source=source)
    )
    start = lines[2].index("^")
    assert lines[1][start : start + 4] == "HERE"
    assert max(map(len, lines)) < 200


def test_problems_without_a_source_show_their_hint_below() -> None:
    error = ProfileProblem("no profile 'codr'", hint="did you mean 'coder'?\nor modelforge list")
    assert problems.error_lines(error) == [
        "no profile 'codr'",
        "  did you mean 'coder'?",
        "  or modelforge list",
    ]


def test_the_summary_counts_files() -> None:
    found = [Problem(message="m", file=file) for file in ("a", "a", "b")]
    assert problems.summary_line(found, 4) == "3 errors in 2 of 4 files"
    assert problems.summary_line(found[:1], 1) == "1 error in 1 of 1 file"
    assert problems.summary_line([], 4) == "4 files checked, no errors"


def test_hardware() -> None:
    machine = Hardware(
        name="this",
        backend="cuda",
        devices=(
            Device(
                name="NVIDIA RTX 4090",
                memory=24 * GIB,
                free=20 * GIB,
                bandwidth=1008 * 10**9,
                compute_capability="8.9",
                model="rtx-4090",
                reserved=GIB // 2,
            ),
            Device(name="T4", memory=15 * GIB, exact=False),
        ),
        system_memory=64 * GIB,
        system_free=32 * GIB,
        warnings=("a MIG device",),
    )
    assert machines.hardware_lines(machine) == [
        "this: cuda",
        "  NVIDIA RTX 4090  24.0 GiB (23.5 usable), 20.0 free, 1008 GB/s, compute 8.9, table name rtx-4090",
        "  T4               ~15.0 GiB",
        "  64.0 GiB system memory, 32.0 free",
        "warning: a MIG device",
    ]


def test_the_end_of_a_build() -> None:
    before = an_entry()
    built = a_build(replaced=before)
    assert builds.outcome_lines(built) == [
        "  promoted  coder:latest     (was: 14b-instruct-q5_K_M of 2026-09-21, kept for rollback)"
    ]
    assert builds.next_lines(built) == ["", "ollama run coder        modelforge rollback coder"]
    assert builds.outcome_lines(a_build()) == ["  promoted  coder:latest"]
    assert builds.next_lines(a_build(runtime=None)) == ["", "modelforge run coder"]


def test_a_model_that_makes_embeddings_is_not_to_be_asked() -> None:
    built = a_build()
    assert built.smoke is not None
    (first, *_) = built.smoke.results
    check = Check(kind="closer_to", verdict="passed", expected="x", got="y")
    built = replace(built, smoke=SmokeReport(results=(replace(first, checks=(check,)),)))
    assert builds.next_lines(built) == ["", "modelforge history coder"]
    assert builds.next_lines(replace(built, replaced=an_entry())) == ["", "modelforge rollback coder"]


def test_an_unchanged_build_is_one_line() -> None:
    unchanged = a_build(status="unchanged", standing=an_entry())
    assert builds.outcome_lines(unchanged) == [
        "coder:latest is up to date (7b Q8_0, smoke passed 2026-09-21). Nothing to do."
    ]
    assert builds.outcome_lines(replace(unchanged, smoke=None)) == [
        "coder:latest is up to date (7b Q8_0, untested). Nothing to do."
    ]
    assert builds.outcome_lines(replace(unchanged, standing=None)) == [  # tested for the first time just now
        "coder:latest is up to date (7b Q8_0, smoke passed). Nothing to do."
    ]
    assert builds.next_lines(unchanged) == []


def test_a_failed_build_says_what_still_stands() -> None:
    failed = a_build(status="smoke-failed", standing=an_entry(), error=SmokeFailed("1 of 2 failed"))
    assert builds.outcome_lines(failed) == [
        "coder:latest is unchanged: it still is the 14b-instruct-q5_K_M of 2026-09-21.",
        "The failed candidate is gone. To look at it: modelforge build coder --keep-failed",
    ]
    kept = replace(failed, kept_failed="modelforge/staged:0123")
    assert builds.outcome_lines(kept)[1:] == [
        "The failed candidate stays until the next build: modelforge/staged:0123"
    ]
    standing = replace(failed, tested_standing=True)
    assert builds.outcome_lines(standing) == [
        "coder:latest stands as it was: nothing was made, its tests failed."
    ]
    assert builds.outcome_lines(replace(failed, standing=None))[0] == "coder:latest was not touched."
    assert builds.outcome_lines(a_build(status="failed")) == []


def test_smoke_lines_are_what_a_build_tells() -> None:
    report = SmokeReport(results=(a_result(), a_result(name="sums two")))
    assert builds.smoke_lines(report) == [
        "✓ adds       0.5 s   61 tok/s on gpu",
        "✓ sums two   0.5 s   61 tok/s on gpu",
        "2 passed",
    ]
    assert builds.smoke_lines(SmokeReport(results=())) == ["no smoke tests"]


def test_history_is_newest_first() -> None:
    older = an_entry(time=1_780_000_000.0, smoke=None, event="rolled-back")
    lines = builds.history_lines("coder:latest", [older, an_entry()])
    assert re.match(r"2026-09-\d\d \d\d:\d\d  promoted  ", lines[0])
    assert lines[0].endswith("2 passed  ollama 0.32.15  0123456789")
    assert "rolled back to" in lines[1]
    assert "untested" in lines[1]
    assert builds.history_lines("x:latest", []) == ["nothing is known of x:latest"]


def test_the_doctor_has_a_remedy_under_what_is_wrong() -> None:
    findings = [
        Finding(good=True, text="Ollama 0.32.15 answers"),
        Finding(good=False, text="no disk", remedy="free some"),
    ]
    assert machines.doctor_lines(findings) == ["✓ Ollama 0.32.15 answers", "✗ no disk", "    free some"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    name: str = "coder:latest"
    plan: Any = PLAN
    stands: bool = True
    differences: tuple[str, ...] = ("system differs",)
    container: Preview | None = None
    fetches: int = 0
    warnings: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(Change(), "system differs", id="changed"),
        pytest.param(Change(differences=()), "Nothing to do", id="same"),
        pytest.param(Change(stands=False, differences=()), "does not stand yet", id="new"),
    ],
)
def test_a_dry_run_tells_pick_and_difference(change: Change, told: str) -> None:
    lines = changes.dry_run_lines(change)
    assert "coder:7b-instruct-q8_0" in lines[1]
    assert told in lines[-1]


def test_a_dry_run_tells_each_warning_of_the_plan_and_of_the_rendering_once() -> None:
    plan = replace(PLAN, warnings=("num_ctx is not set",))
    lines = changes.dry_run_lines(Change(plan=plan, warnings=("the template leaves out\x1b system",)))
    told = [line for line in lines if "warning" in line]
    assert told == [
        "            warning: num_ctx is not set",
        "            warning: the template leaves out\\x1b system",
    ]
    assert not any(
        "warning" in line for line in changes.dry_run_lines(Change(plan=replace(PLAN, warnings=())))
    )


def test_a_dry_run_tells_what_would_come_from_a_registry() -> None:
    lines = changes.dry_run_lines(Change(fetches=2 << 30, stands=False))
    assert "  pull      the base from its registry, 2.0 GiB at most" in lines
    assert not any(line.startswith("  pull") for line in changes.dry_run_lines(Change()))


def test_a_dry_run_shows_the_container_and_what_is_asked_of_the_engine() -> None:
    host = {"DeviceRequests": [{"Driver": "", "Count": -1}], "Devices": []}
    request = {"HostConfig": host}
    container = Preview(image="ollama/ollama:1", volume="v", gpus="all", request=request, note="refused: no")
    lines = changes.dry_run_lines(Change(container=container))
    at = lines.index("  start     ollama/ollama:1, volume v, gpus: all (refused: no)")
    assert lines[at + 1] == '            DeviceRequests: [{"Driver": "", "Count": -1}]'
    assert not any("Devices:" in line for line in lines)


def test_losses_are_named_only_where_there_are_any() -> None:
    made = some_rendered()
    assert changes.loss_lines(made) == []
    lost = replace(made, losses=(Loss(instruction="SYSTEM", reason='has """ and "'),))
    assert changes.loss_lines(lost)[1:] == ['  SYSTEM: has """ and "']


def test_a_rollback_says_what_stands_again() -> None:
    told = " ".join(changes.rollback_lines(an_entry(event="rolled-back")))
    assert "coder:latest is the 14b-instruct-q5_K_M of " in told


def a_profile(**changes: Any) -> Any:
    values = {
        "name": "coder",
        "description": "Pair programmer",
        "base": type("B", (), {"model": "qwen2.5-coder"}),
        "parameters": type("P", (), {"num_ctx": 16384}),
        "vars": {"team": "platform"},
        "origins": {"parameters.num_ctx": "profiles/coder.toml:14", "vars.team": "profiles/_base.toml:2"},
    }
    return type("Profile", (), {**values, **changes})


def test_list_shows_profiles_and_what_stands() -> None:
    entry = Entry(name="coder:t4", digest="", bytes=5 * GIB, modified=0.0)
    lines = machines.list_lines([a_profile(), a_profile(name="reviewer-long")], {"coder": [entry]})
    assert lines == [
        "coder          qwen2.5-coder  Pair programmer",
        "  ✓ coder:t4   5.0 GiB",
        "reviewer-long  qwen2.5-coder  Pair programmer",
    ]
    assert machines.list_lines([], {}) == ["no profiles here; modelforge init makes one"]


def test_explain_shows_where_each_setting_was_set_and_what_is_left_to_the_planner() -> None:
    assert plans.explain_lines(a_profile(), PLAN) == [
        "settings of coder for rtx-3060-12gb:",
        "  parameters.num_batch     512       default",
        "  parameters.num_ctx       16384     profiles/coder.toml:14",
        "  resolve.engine           0.32      default",
        "  resolve.flash_attention  auto      default",
        "  resolve.headroom         1.0 GiB   default",
        "  resolve.kv_cache         f16       default",
        "  resolve.parallel         1         default",
        "  resolve.prefer           quality   default",
        "  vars.team                platform  profiles/_base.toml:2",
    ]


@pytest.mark.parametrize(
    ("whose", "source"), [("longest", "longest"), ("given", "--context"), ("default", "default")]
)
def test_explain_says_whose_a_context_is_that_the_profile_did_not_set(whose: Any, source: str) -> None:
    lines = plans.explain_lines(a_profile(), replace(PLAN, num_ctx_from=whose))
    assert any(line.split() == ["parameters.num_ctx", "16384", source] for line in lines)


def test_a_longest_context_says_what_ends_it() -> None:
    shape = shape_of(shapes.LLAMA_8B.header("Q8_0"))
    rows = [replace(one, candidate=replace(one.candidate, shape=shape)) for one in (BIG, PICK)]
    longest = some_plan(*rows, num_ctx_from="longest")
    lines = plans.resolve_lines([longest])
    assert lines[0].startswith("coder: num_ctx 16384 (longest), ")
    assert lines[-1] == "longest: num_ctx 16384 is as much as fits with 7b Q8_0"
    most = replace(longest, settings=replace(longest.settings, num_ctx=131072))
    told = "longest: num_ctx 131072 is all that it was trained for with 7b Q8_0"
    assert plans.resolve_lines([most])[-1] == told


LONG = "hf.co/somebody/a-very-long-name-of-a-model-that-nobody-would-type-GGUF"


def test_the_widest_rows_fit_100_columns_and_keep_what_tells_them_apart() -> None:
    def long(one: Any, ref: str, **changes: Any) -> Any:
        return replace(one, candidate=replace(one.candidate, ref=ref, size=None), **changes)

    rows = [
        long(BIG, f"{LONG}:UD-Q6_K_XL", reason="x" * 90),
        long(PICK, f"{LONG}:UD-Q5_K_XL"),
        long(SMALL, f"somewhere.else/{LONG}:UD-Q4_K_XL"),
    ]
    ways = (
        "num_ctx 14336",
        'kv_cache = "q8_0"',
        "parallel = 1",
        'flash_attention = "auto"',
        "num_batch 512",
        '"UD-Q3_K_XL" in quants',
    )
    plan = some_plan(*rows, next_better=replace(BETTER, ref=rows[0].candidate.ref, would_fit_with=ways))
    lines = plans.resolve_lines([replace(plan, profile="p" * 60)])
    assert max(map(len, lines)) <= 100
    for tail in ("Q6_K_XL", "Q5_K_XL", "Q4_K_XL"):
        assert any(tail in line for line in lines), tail
    assert any(line.endswith("picked: best quality that fits") for line in lines)
    told = " ".join(lines)
    for way in ways:
        assert way in told
    assert LONG in " ".join(plans.resolve_lines([plan], verbose=1))  # -v cuts nothing


def test_names_of_others_cannot_act_on_the_terminal() -> None:
    evil = replace(PICK, candidate=replace(PICK.candidate, ref="evil\x1b[2J", size=None), reason="\x07")
    plan = some_plan(evil, hardware=some_hardware("h\x1b", devices=(Device(name="d\x1b", memory=GIB),)))
    lines = [
        *plans.resolve_lines([plan]),
        *plans.plan_lines(plan),
        *machines.hardware_lines(plan.hardware),
        *problems.error_lines(ProfileProblem("m\x1b", hint="h\x1b")),
        *builds.history_lines("n\x1b", [an_entry(picked="p\x1b")]),
    ]
    assert not [line for line in lines if "\x1b" in line or "\x07" in line]
