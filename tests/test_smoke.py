from __future__ import annotations

from typing import Any

import pytest

from modelforge.errors import SmokeFailed, Unreachable
from modelforge.events import Step, silent
from modelforge.profile.schema import Parameters, SmokeTest
from modelforge.runtimes import Placement
from modelforge.smoke import SmokeContext, SmokeReport, request_of, run_smoke
from modelforge.smoke import tests_digest as digest_of
from tests.fakes import ON_GPU, FakeRuntime, Heard, some_reply

CONTEXT = SmokeContext(parameters=Parameters(), num_ctx=1024, here=True)
ELSEWHERE = SmokeContext(parameters=Parameters(), num_ctx=1024, here=False)


def a_test(name: str = "adds", prompt: str = "Add 1 and 2.", **keys: Any) -> SmokeTest:
    return SmokeTest.model_validate({"name": name, "prompt": prompt, "expect": {"contains": "3"}, **keys})


def run(
    runtime: FakeRuntime, *tests: SmokeTest, context: SmokeContext = CONTEXT
) -> tuple[SmokeReport, list[str]]:
    heard = Heard()
    runtime.stand("staged")
    report = run_smoke(runtime, "staged", tests, context, heard)
    return report, heard.texts


def test_what_passes_is_told_in_a_line_each() -> None:
    runtime = FakeRuntime(default="3", place=ON_GPU)
    report, told = run(runtime, a_test("adds"), a_test("adds two numbers"))
    assert told == [
        "✓ adds               0.5 s   50 tok/s on gpu",
        "✓ adds two numbers   0.5 s   50 tok/s on gpu",
        "2 passed",
    ]
    assert report.passed
    assert report.count("passed") == 2


def test_a_failure_shows_prompt_expected_and_got() -> None:
    runtime = FakeRuntime(answers={"Give JSON.": "Sure! Here is the object:\n{}"}, default="3")
    report, told = run(
        runtime, a_test("sums"), a_test("answers in JSON", "Give JSON.", expect={"json": True})
    )
    assert told[1].split("\n") == [
        "✗ answers in JSON   0.5 s",
        "  prompt    Give JSON.",
        "  expected  json",
        "  got       Sure! Here is the object:\\n{}   (not JSON at 1:1: Expecting value)",
    ]
    assert told[2] == "1 of 2 failed"
    assert not report.passed


def test_every_failed_expectation_is_told() -> None:
    _, told = run(FakeRuntime(default="two"), a_test(expect={"contains": ["1", "2"], "not_contains": "tw"}))
    assert [line.strip() for line in told[0].split("\n")[2:]] == [
        "expected  contains 1",
        "got       two   (not there)",
        "expected  contains 2",
        "got       the same   (not there)",
        "expected  not_contains tw",
        "got       the same   (found at 1:1: two)",
    ]


def test_the_model_is_asked_the_same_way_everywhere() -> None:
    runtime = FakeRuntime(default="3")
    run(runtime, a_test())
    (_, request) = runtime.chats[0]
    assert request.options == {
        "temperature": 0.0,
        "seed": 42,
        "num_ctx": 1024,
        "repeat_penalty": 1.0,
        "num_predict": 512,
    }
    assert [(turn.role, turn.content) for turn in request.messages] == [("user", "Add 1 and 2.")]
    assert request.format is None


@pytest.mark.parametrize(
    ("profile", "own", "sent"),
    [
        pytest.param(
            {"temperature": 0.7, "seed": 7}, {}, {"temperature": 0.0, "seed": 42}, id="profile-sampling"
        ),
        pytest.param(
            {"top_k": 3, "repeat_penalty": 1.2}, {}, {"top_k": 3, "repeat_penalty": 1.2}, id="profile"
        ),
        pytest.param(
            {"top_k": 3}, {"top_k": 5, "temperature": 0.5}, {"top_k": 5, "temperature": 0.5}, id="own"
        ),
        pytest.param({"num_predict": -1}, {}, {"num_predict": 512}, id="endless-profile"),
        pytest.param({"num_predict": 64}, {}, {"num_predict": 64}, id="profile-limit"),
        pytest.param({}, {"num_predict": -1}, {"num_predict": -1}, id="endless-test"),
        pytest.param({"num_ctx": 99}, {}, {"num_ctx": 1024}, id="the-plan-decides-num-ctx"),
        pytest.param({}, {"num_ctx": 64}, {"num_ctx": 64}, id="own-num-ctx"),
        pytest.param({}, {"seed": 5}, {"seed": 7}, id="own-seed-counts-on"),
        pytest.param({}, {"seed": -1}, {"seed": -1}, id="random"),
    ],
)
def test_who_decides_an_option(profile: dict[str, Any], own: dict[str, Any], sent: dict[str, Any]) -> None:
    context = SmokeContext(parameters=Parameters.model_validate(profile), num_ctx=1024, here=True)
    options = request_of(a_test(parameters=own), context, 2 if "seed" in own else 0).options
    assert {key: options[key] for key in sent} == sent


def test_the_profiles_stop_is_left_to_the_model() -> None:
    context = SmokeContext(parameters=Parameters(stop=("x",)), num_ctx=8, here=True)
    assert "stop" not in request_of(a_test(), context, 0).options


def test_a_test_brings_its_own_system_turns_and_tools() -> None:
    tool = {"type": "function", "function": {"name": "add"}}
    test = a_test(system="Be brief.", messages=[{"role": "assistant", "content": "Hm?"}], tools=[tool])
    request = request_of(test, CONTEXT, 0)
    assert [turn.role for turn in request.messages] == ["system", "assistant", "user"]
    assert request.tools == (tool,)


def test_enough_good_runs_pass_and_each_has_the_next_seed() -> None:
    runtime = FakeRuntime(answers={"Add 1 and 2.": ["4", "3", "3"]})
    report, told = run(runtime, a_test(runs=3, min_pass=2))
    assert [request.options["seed"] for _, request in runtime.chats] == [42, 43, 44]
    (result,) = report.results
    assert (result.verdict, result.reply, result.runs, result.passed_runs) == ("passed", "3", 3, 2)
    assert told[0] == "✓ adds   0.5 s   50 tok/s on cpu   2 of 3 runs passed"


def test_too_few_good_runs_fail_and_the_first_failure_is_shown() -> None:
    runtime = FakeRuntime(answers={"Add 1 and 2.": ["3", "4", "5"]})
    (result,) = run(runtime, a_test(runs=3))[0].results
    assert (result.verdict, result.reply, result.passed_runs) == ("failed", "4", 1)


def test_a_test_that_cannot_be_judged_here_is_skipped() -> None:
    fast = a_test("is fast", expect={"max_seconds": 1, "loaded_on": "gpu"})
    report, told = run(FakeRuntime(default="3"), a_test(), fast, context=ELSEWHERE)
    assert told[1] == "– is fast   0.5 s   skipped: not judged: this is not the hardware that the plan is for"
    assert told[2] == "1 passed, 1 skipped"
    assert report.passed


def test_what_can_be_judged_elsewhere_is() -> None:
    both = a_test(expect={"contains": "3", "max_seconds": 0.001})
    assert run(FakeRuntime(default="3"), both, context=ELSEWHERE)[0].results[0].verdict == "passed"
    assert run(FakeRuntime(default="4"), both, context=ELSEWHERE)[0].results[0].verdict == "failed"


def test_an_answer_that_is_cut_is_told_with_its_limit() -> None:
    runtime = FakeRuntime(default="one two three four")
    _, told = run(runtime, a_test(expect={"contains": "four"}, parameters={"num_predict": 2}))
    assert told[0].endswith("got       one two   (not there; the answer was cut at num_predict 2)")


def test_a_model_that_cannot_be_loaded_names_the_test() -> None:
    runtime = FakeRuntime(default=SmokeFailed("unable to load model", hint="free some memory"))
    with pytest.raises(SmokeFailed, match="smoke test 'adds' could not run: unable to load model") as caught:
        run(runtime, a_test())
    assert caught.value.problems[0].hint == "free some memory"


def test_a_runtime_that_is_gone_is_not_a_failed_test() -> None:
    with pytest.raises(Unreachable):
        run(FakeRuntime(default=Unreachable("connection refused")), a_test())


def test_no_tests_say_nothing_and_load_nothing() -> None:
    runtime = FakeRuntime()
    report, told = run(runtime)
    assert (report.results, told, runtime.chats) == ((), [], [])


def test_a_failure_is_told_as_bad() -> None:
    heard = Heard()
    runtime = FakeRuntime(default="4")
    runtime.stand("staged")
    run_smoke(runtime, "staged", [a_test()], CONTEXT, heard)
    assert [event.kind for event in heard.events if isinstance(event, Step)] == ["bad", "bad"]


def test_foreign_text_cannot_act_on_the_terminal() -> None:
    _, told = run(FakeRuntime(default="\x1b[2J\x07"), a_test("na\x1bme"))
    assert "\x1b" not in "".join(told)
    assert "\\x1b[2J\\x07" in told[0]


def test_a_long_answer_is_kept_whole_and_shown_short() -> None:
    long = some_reply("x" * 5000)
    report, told = run(FakeRuntime(default=long), a_test())
    assert max(map(len, told[0].split("\n"))) <= 100
    assert report.results[0].reply == "x" * 5000


def test_the_digest_of_tests_knows_what_they_say_and_nothing_else() -> None:
    one = digest_of([a_test(expect={"json": True, "contains": ["a"]})])
    assert one.startswith("sha256:")
    assert len(one) == 71
    assert one == digest_of([a_test(expect={"contains": ["a"], "json": True}, runs=1)])
    assert one != digest_of([a_test(expect={"json": False, "contains": ["a"]})])
    assert digest_of([]) != one


NEARER = {"dimensions": 2, "closer_to": "Forgot my password", "than": "Lisbon"}


def embedding(**keys: Any) -> SmokeTest:
    return a_test("finds a paraphrase", "Reset my password", **{"expect": NEARER, **keys})


def encoder(**vectors: Any) -> FakeRuntime:
    runtime = FakeRuntime(place=ON_GPU)
    runtime.vectors = {
        "Reset my password": (1.0, 0.0),
        "Forgot my password": (3.0, 1.0),
        "Lisbon": (1.0, 3.0),
        **{text.replace("_", " "): vector for text, vector in vectors.items()},
    }
    return runtime


def test_embeddings_are_asked_for_and_told_as_answers_are() -> None:
    runtime = encoder()
    report, told = run(runtime, embedding(), a_test(expect={"contains": "ok"}))
    assert told == [
        "✓ finds a paraphrase   0.2 s",
        "✓ adds                 0.5 s   50 tok/s on gpu",
        "2 passed",
    ]
    assert runtime.embeds == [
        ("staged:latest", ("Reset my password", "Forgot my password", "Lisbon"), {"num_ctx": 1024})
    ]
    result = report.results[0]
    assert (result.reply, result.seconds, result.tokens_per_second) == ("2 numbers", 0.25, None)
    assert (result.loaded_on, result.prompt) == ("gpu", "Reset my password")
    assert [(check.kind, check.got) for check in result.checks] == [
        ("dimensions", "2 numbers"),
        ("closer_to", "0.95 against 0.32"),
    ]
    assert len(runtime.chats) == 1


def test_a_paraphrase_that_is_farther_is_shown_with_both_similarities() -> None:
    report, told = run(encoder(Lisbon=(1.0, 0.1)), embedding())
    assert not report.passed
    assert told[0].split("\n") == [
        "✗ finds a paraphrase   0.2 s",
        "  prompt    Reset my password",
        '  expected  closer_to "Forgot my password" than "Lisbon"',
        "  got       2 numbers   (0.95 against 1.00)",
    ]


def test_a_length_alone_asks_for_the_prompts_vector_alone() -> None:
    runtime = encoder()
    _, told = run(runtime, embedding(expect={"dimensions": 768}))
    assert [texts for _, texts, _ in runtime.embeds] == [("Reset my password",)]
    assert [line.strip() for line in told[0].split("\n")[2:]] == [
        "expected  dimensions 768",
        "got       2 numbers   (2 numbers)",
    ]


def test_embeddings_are_made_with_what_is_set_and_nothing_else() -> None:
    parameters = Parameters(num_ctx=99, num_thread=2, temperature=0.7, seed=7, num_predict=-1, stop=("x",))
    context = SmokeContext(parameters=parameters, num_ctx=1024, here=True)
    runtime = encoder()
    run(runtime, embedding(), embedding(parameters={"num_ctx": 64, "num_batch": 32}), context=context)
    assert [options for _, _, options in runtime.embeds] == [
        {"num_ctx": 1024, "num_thread": 2, "num_predict": -1},
        {"num_ctx": 64, "num_thread": 2, "num_predict": -1, "num_batch": 32},
    ]


def test_runs_of_embeddings_are_counted() -> None:
    runtime = encoder(Lisbon=[(1.0, 0.1), (1.0, 3.0), (1.0, 3.0)])
    report, told = run(runtime, embedding(runs=3, min_pass=2))
    (result,) = report.results
    assert (result.verdict, result.runs, result.passed_runs) == ("passed", 3, 2)
    assert told[0] == "✓ finds a paraphrase   0.2 s   2 of 3 runs passed"


def test_a_model_without_embeddings_names_the_test() -> None:
    error = SmokeFailed("staged answers chats and makes no embeddings", hint="test its answers")
    with pytest.raises(SmokeFailed, match="smoke test 'finds a paraphrase' could not run: staged") as caught:
        run(encoder(Lisbon=error), embedding())
    assert caught.value.problems[0].hint == "test its answers"


@pytest.mark.parametrize("other", [{"dimensions": 3}, {"closer_to": "Lost"}, {"than": "Porto"}])
def test_the_digest_of_tests_knows_what_embeddings_are_compared_with(other: dict[str, Any]) -> None:
    assert digest_of([embedding()]) != digest_of([embedding(expect={**NEARER, **other})])


def test_a_silent_listener_will_do() -> None:
    runtime = FakeRuntime(default="3")
    runtime.stand("staged")
    assert run_smoke(runtime, "staged", [a_test()], CONTEXT, silent).passed


def test_a_machine_without_a_gpu_has_no_vram_whatever_the_server_tells() -> None:
    runtime = FakeRuntime(place=Placement(bytes=1000, vram=380))
    runtime.stand("coder")
    test = SmokeTest.model_validate({"name": "a", "prompt": "b", "expect": {"loaded_on": "cpu"}})
    context = SmokeContext(parameters=Parameters(), num_ctx=1024, here=True, gpu=False)
    report = run_smoke(runtime, "coder", [test], context, Heard())
    assert report.passed
    assert report.results[0].loaded_on == "cpu"
