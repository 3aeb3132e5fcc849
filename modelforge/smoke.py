"""Smoke tests: ask the built model, check its answers, or the embeddings that it makes.

Every question is asked in the same way on every server: temperature 0, a seed, the plan's num_ctx, a
repeat_penalty and a limit on the answer are always sent, because servers differ in what they take when nothing
is said. What `[parameters]` sets is sent too, but for its temperature and seed; what the test's own
`parameters` set wins over all. `json` and `json_schema` check the answer only: the model has to obey its
prompt, nothing forces the format on it. Embeddings are asked for with the same parameters, as far as they are set:
they have no temperature, no seed and no end.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from modelforge.checks import check_answer, check_vectors
from modelforge.checks.limits import Answer, where_loaded
from modelforge.checks.vectors import Vectors, numbers_text
from modelforge.display import columns, left, shorten, visible
from modelforge.errors import SmokeFailed
from modelforge.events import Step
from modelforge.runtimes import ChatRequest, Embeddings, Turn
from modelforge.units import seconds_text
from modelforge.waiting import told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelforge.checks import Check, Verdict
    from modelforge.events import Emit
    from modelforge.profile.schema import Parameters, SmokeTest
    from modelforge.runtimes import ChatReply, ParameterValue, Placement, Runtime

SEED = 42
NUM_PREDICT = 512
"""Longest answer in tokens where nobody says: a model that never stops would hold the build up for ever."""

_NAME_COLUMNS = 40
_PROMPT_SHOWN = 160
_REPLY_SHOWN = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeContext:
    """How the model is asked: the profile's parameters, the plan's context length in tokens.

    `here`: what answers is the hardware that the plan is for; if not, checks that depend on it are skipped.
    `gpu`: False where what answers is known to have no GPU. Ollama 0.32 tells of VRAM on such machines, too.
    """

    parameters: Parameters
    num_ctx: int
    here: bool
    gpu: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeResult:
    """One test. Seconds count the answer, not the loading; `passed_runs` are those that did not fail.

    Reply, checks and figures are the first failed run's where the test failed, else the last good run's. The
    reply of embeddings is how many numbers came.
    """

    name: str
    verdict: Verdict
    prompt: str
    reply: str
    checks: tuple[Check, ...]
    seconds: float
    tokens_per_second: float | None
    runs: int
    passed_runs: int
    loaded_on: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeReport:
    """All tests of a profile. Empty `results`: there were none."""

    results: tuple[SmokeResult, ...]

    def count(self, verdict: Verdict) -> int:
        """How many tests came out so."""
        return sum(result.verdict == verdict for result in self.results)

    @property
    def passed(self) -> bool:
        """True if no test failed."""
        return self.count("failed") == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    reply: ChatReply | Embeddings
    checks: tuple[Check, ...]
    verdict: Verdict


def run_smoke(
    runtime: Runtime, name: str, tests: Sequence[SmokeTest], context: SmokeContext, emit: Emit
) -> SmokeReport:
    """Runs all tests against the model `name`, one after the other, and tells each as it ends.

    Raises:
        SmokeFailed: the model cannot be loaded, or stopped answering; names the test.
        Unreachable: the runtime is gone.
    """
    width = min(_NAME_COLUMNS, max((columns(visible(test.name)) for test in tests), default=0))
    results: list[SmokeResult] = []
    for test in tests:
        try:
            if results:
                result = _run_test(runtime, name, test, context)
            else:
                with told(emit, stage="load", text="the model") as end:
                    result = _run_test(runtime, name, test, context, on_text=lambda _text: end())
        except SmokeFailed as error:
            raise SmokeFailed(
                f"smoke test '{test.name}' could not run: {error}", hint=error.problems[0].hint
            ) from error
        results.append(result)
        emit(Step(stage="smoke", text="\n".join(result_lines(result, width)), kind=_KINDS[result.verdict]))
    report = SmokeReport(results=tuple(results))
    if tests:
        emit(Step(stage="smoke", text=count_text(report), kind="info" if report.passed else "bad"))
    return report


def _run_test(
    runtime: Runtime,
    name: str,
    test: SmokeTest,
    context: SmokeContext,
    on_text: Callable[[str], None] | None = None,
) -> SmokeResult:
    runs: list[_Run] = []
    placement: Placement | None = None
    for index in range(test.runs):
        reply: ChatReply | Embeddings
        if test.expect.of_embeddings:
            reply = runtime.embed(name, texts_of(test), _set_options(test, context))
        else:
            reply = runtime.chat(name, request_of(test, context, index), on_text)
        if not runs:
            placement = _placement(runtime, name, context)
        checks = _checks(test, context, reply, placement)
        runs.append(_Run(reply=reply, checks=checks, verdict=_verdict_of(checks)))
    return _result(test, runs, where_loaded(placement) if placement else None)


def _checks(
    test: SmokeTest, context: SmokeContext, reply: ChatReply | Embeddings, placement: Placement | None
) -> tuple[Check, ...]:
    if isinstance(reply, Embeddings):
        vectors = Vectors(reply=reply, placement=placement, here=context.here)
        return check_vectors(test.expect, vectors)
    limit = int(str(_options(test, context, 0)["num_predict"]))
    answer = Answer(reply=reply, placement=placement, here=context.here, num_predict=limit)
    return check_answer(test.expect, answer)


def _placement(runtime: Runtime, name: str, context: SmokeContext) -> Placement | None:
    told = runtime.placement(name)
    return told if told is None or context.gpu else replace(told, vram=0)


def request_of(test: SmokeTest, context: SmokeContext, index: int) -> ChatRequest:
    """The question of a test's run, `index` from 0."""
    leading = (Turn(role="system", content=test.system),) if test.system is not None else ()
    before = tuple(Turn(role=turn.role, content=turn.content) for turn in test.messages)
    return ChatRequest(
        messages=(*leading, *before, Turn(role="user", content=test.prompt)),
        options=_options(test, context, index),
        tools=test.tools,
    )


def texts_of(test: SmokeTest) -> tuple[str, ...]:
    """The texts whose embeddings a test asks for: the prompt, and what it is compared with."""
    compared = (test.expect.closer_to, test.expect.than)
    return (test.prompt, *(text or "" for text in compared)) if any(compared) else (test.prompt,)


def _options(test: SmokeTest, context: SmokeContext, index: int) -> dict[str, ParameterValue]:
    """All options of one run; see the module's first lines. An endless num_predict of the profile is not taken."""
    found = _set_options(test, context)
    own = test.parameters.model_dump(exclude_none=True)
    if "num_predict" not in own and int(str(found.get("num_predict", 0))) <= 0:
        found.pop("num_predict", None)
    seed = own.get("seed", SEED)
    defaults = {"repeat_penalty": 1.0, "num_predict": NUM_PREDICT, "temperature": 0.0}
    return {**defaults, **found, "seed": seed + index if seed >= 0 else seed}


def _set_options(test: SmokeTest, context: SmokeContext) -> dict[str, ParameterValue]:
    """What the profile, the plan and the test set, the later over the earlier."""
    profile = context.parameters.model_dump(exclude_none=True, exclude={"stop", "temperature", "seed"})
    return {**profile, "num_ctx": context.num_ctx, **test.parameters.model_dump(exclude_none=True)}


def _verdict_of(checks: Sequence[Check]) -> Verdict:
    verdicts = {check.verdict for check in checks}
    if "failed" in verdicts:
        return "failed"
    return "passed" if "passed" in verdicts else "skipped"


def _result(test: SmokeTest, runs: Sequence[_Run], loaded_on: str | None) -> SmokeResult:
    good = [run for run in runs if run.verdict != "failed"]
    verdict: Verdict = "failed"
    if len(good) >= (test.min_pass or test.runs):
        verdict = good[-1].verdict
    shown = next(run for run in runs if run.verdict == "failed") if verdict == "failed" else good[-1]
    return SmokeResult(
        name=test.name,
        verdict=verdict,
        prompt=test.prompt,
        reply=_said(shown.reply),
        checks=shown.checks,
        seconds=shown.reply.seconds,
        tokens_per_second=None if isinstance(shown.reply, Embeddings) else shown.reply.tokens_per_second,
        runs=len(runs),
        passed_runs=len(good),
        loaded_on=loaded_on,
    )


def _said(reply: ChatReply | Embeddings) -> str:
    return numbers_text(reply.vectors[0]) if isinstance(reply, Embeddings) else reply.text


def tests_digest(tests: Sequence[SmokeTest]) -> str:
    """`sha256:<hex>` of what the tests say: the same for the same tests, whatever their layout in the file."""
    plain = [
        test.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        for test in tests
    ]
    text = json.dumps(plain, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# -- in words ----------------------------------------------------------------------------------------

_KINDS: dict[Verdict, Literal["good", "bad", "info"]] = {"passed": "good", "failed": "bad", "skipped": "info"}
_MARKS = {"passed": "✓", "failed": "✗", "skipped": "–"}


def result_lines(result: SmokeResult, width: int) -> list[str]:
    """The line of a test, its name in `width` columns; where it failed, what was asked, expected and got."""
    figures = [seconds_text(result.seconds)]
    if result.verdict == "skipped":
        figures.append("skipped: " + result.checks[0].got)
    elif result.tokens_per_second is not None and result.verdict == "passed":
        where = f" on {result.loaded_on}" if result.loaded_on else ""
        figures.append(f"{result.tokens_per_second:.0f} tok/s{where}")
    if result.runs > 1:
        figures.append(f"{result.passed_runs} of {result.runs} runs passed")
    name = left(shorten(result.name, max(width, 8)), width)
    line = f"{_MARKS[result.verdict]} {name}   {'   '.join(figures)}"
    return [line, *(_failure_lines(result) if result.verdict == "failed" else ())]


def _failure_lines(result: SmokeResult) -> list[str]:
    reply = shorten(result.reply.strip(), _REPLY_SHOWN) or "(nothing)"
    lines = [f"  prompt    {shorten(result.prompt.strip(), _PROMPT_SHOWN)}"]
    for check in result.checks:
        if check.verdict == "failed":
            wanted = check.kind if check.expected in {"yes", ""} else f"{check.kind} {check.expected}"
            lines += [f"  expected  {wanted}", f"  got       {reply}   ({check.got})"]
            reply = "the same"
    return lines


def count_text(report: SmokeReport) -> str:
    """`2 passed`, `1 of 2 failed`, and how many were skipped."""
    failed, skipped = report.count("failed"), report.count("skipped")
    first = f"{failed} of {len(report.results)} failed" if failed else f"{report.count('passed')} passed"
    return first + (f", {skipped} skipped" if skipped else "")
