"""Stage -> smoke -> promote -> journal, for one variant.

What holds whenever this process dies: the old name answers, nothing half-made is visible under it, and the
next run of any build on this endpoint takes away what is left. `promote` has the delicate step.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from modelforge.bases import RegistryModel
from modelforge.errors import BuildFailed, ForgeError, SmokeFailed, Unreachable
from modelforge.events import Step
from modelforge.journal import JournalEntry, Pending
from modelforge.names import canonical
from modelforge.promote import Promotion, abandon, promote, recover
from modelforge.report import smoke_dict, smoke_from_dict
from modelforge.runtimes import STAGED, BrokenModel
from modelforge.runtimes.standing import differences
from modelforge.smoke import SmokeContext, SmokeReport, run_smoke, tests_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelforge.bases import Candidate
    from modelforge.download import Fetch
    from modelforge.events import Emit
    from modelforge.journal import EventKind, Journal
    from modelforge.profile import Profile
    from modelforge.render import Rendered
    from modelforge.resolve import Plan
    from modelforge.runtimes import Runtime, RuntimeInfo, Standing

Status: TypeAlias = Literal["built", "unchanged", "failed", "smoke-failed", "refused"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What to build. `name` is the model's full name; `here`: the plan's hardware is the runtime's machine.

    `content` and `plan_digest` identify what is built (`sha256:<hex>`), `commit` the project's
    state. `announce` is called once, before any work is done. `fetch` is where a base in a registry comes from;
    `gather` makes the base one of files that are here, None where it is none of files or they are here.
    """

    profile: Profile
    plan: Plan
    rendered: Rendered
    name: str
    content: str
    plan_digest: str
    commit: Callable[[], str]
    announce: Callable[[], None]
    here: bool
    smoke: bool = True
    keep: int = 3
    keep_failed: bool = False
    wait: bool = True
    memory_here: int | None = None
    gpu_here: bool = True
    fetch: Fetch | None = None
    gather: Callable[[Candidate], Candidate] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """What became of a variant. `replaced` is the journal's line of what stood there before, if it is known.

    `digests` has plan, content and manifest; `seconds` resolve, create, smoke and promote, and bring where a base was
    brought from a registry. `error` is what
    stopped it, None if nothing did. `kept_failed` is the staged name of a model that failed its tests and was
    to stay; `tested_standing`: nothing was made, the tests ran on the model that stands.
    """

    variant: str
    name: str
    status: Status
    plan: Plan
    runtime: RuntimeInfo | None
    digests: Mapping[str, str]
    smoke: SmokeReport | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    replaced: JournalEntry | None = None
    standing: JournalEntry | None = None
    error: ForgeError | None = None
    kept_failed: str = ""
    tested_standing: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Where a build happens: the runtime, its journal, the clock (Unix seconds), and who listens."""

    runtime: Runtime
    journal: Journal
    now: Callable[[], float]
    emit: Emit


def build(order: Order, bench: Bench) -> BuildResult:
    """Builds one variant, or finds that it stands already. Errors come back in the result."""
    result = BuildResult(
        variant=order.plan.variant,
        name=order.name,
        status="failed",
        plan=order.plan,
        runtime=bench.runtime.info,
        digests={"plan": order.plan_digest, "content": order.content, "manifest": ""},
        smoke=None,
        standing=bench.journal.last(canonical(order.name)),
    )
    try:
        return _build(order, bench, result)
    except Unreachable as error:
        from modelforge.download import DownloadCut  # noqa: PLC0415 (only where something was brought, or is gone)

        registry = isinstance(error, DownloadCut)  # else the runtime, which answered before
        return replace(result, error=error if registry else _died(bench, error))
    except _SmokeTestsFailed as failed:
        return replace(
            result,
            status="smoke-failed",
            smoke=failed.report,
            error=SmokeFailed(str(failed)),
            seconds=failed.seconds,
            tested_standing=failed.model == order.name,
            kept_failed=failed.model if order.keep_failed and failed.model != order.name else "",
        )
    except SmokeFailed as error:
        try:
            bench.runtime.list()
        except Unreachable as gone:  # no answer to a test, because nobody is left to give one
            return replace(result, error=_died(bench, gone))
        return replace(result, status="smoke-failed", error=error)
    except ForgeError as error:
        return replace(result, error=error)


_AGAIN = "run the same command: it puts right what was left half-done"


def _died(bench: Bench, error: ForgeError) -> BuildFailed:
    info = bench.runtime.info
    again = _AGAIN if info.kind == "docker" else f"start it again, then {_AGAIN}"
    return BuildFailed(
        f"{info.kind} at {info.endpoint} stopped answering: {error}",
        hint="\n".join(filter(None, (error.problems[0].hint, again))),
    )


class _SmokeTestsFailed(Exception):
    """Carries the report of failed tests up to where the result is made."""

    def __init__(self, report: SmokeReport, seconds: Mapping[str, float], *, model: str) -> None:
        super().__init__(f"{report.count('failed')} of {len(report.results)} smoke tests failed")
        self.report = report
        self.seconds = seconds
        self.model = model


def seen(order: Order, journal: Journal, stands: Callable[[str, str], bool]) -> BuildResult | None:
    """The result of a build that has nothing to do, where that can be told without opening the runtime; else None.

    The journal says which manifest was made of this content, `stands` whether the name has just that one.
    """
    name = canonical(order.name)
    last = journal.last(name)
    if last is None or last.content != order.content or not last.manifest or journal.pending():
        return None
    if _tests_due(order, journal) or not stands(name, last.manifest):
        return None
    return BuildResult(
        variant=order.plan.variant,
        name=order.name,
        status="unchanged",
        plan=order.plan,
        runtime=replace(journal.info, version=last.version, image=last.image),
        digests={"plan": order.plan_digest, "content": order.content, "manifest": last.manifest},
        smoke=_known_report(order, journal),
        standing=last,
    )


def _build(order: Order, bench: Bench, result: BuildResult) -> BuildResult:
    if not _leftovers(bench):
        with suppress(BrokenModel):  # an empty name is put right below, under the lock
            standing = _up_to_date(order, bench)
            if standing is not None and not _tests_due(order, bench.journal):
                return _unchanged(order, bench, result, standing)
    with bench.journal.hold(
        canonical(order.name),
        wait=order.wait,
        on_wait=lambda: bench.emit(Step(stage="wait", text=f"for another build of {order.name} to end")),
    ):
        recover(bench.runtime, bench.journal, bench.emit, own=canonical(order.name), now=bench.now())
        standing = _up_to_date(order, bench)
        if standing is None:
            order.announce()
            return _make(order, bench, result)
        if not _tests_due(order, bench.journal):
            return _unchanged(order, bench, result, standing)
        order.announce()
        return _test_standing(order, bench, result, standing)


def _leftovers(bench: Bench) -> bool:
    """Whether a killed build left something to put right, which needs the lock."""
    return bool(bench.journal.pending()) or any(
        entry.name.casefold().startswith(f"{STAGED}:")
        and bench.journal.staged_owner(entry.name.rpartition(":")[2])
        for entry in bench.runtime.list()
    )


def _up_to_date(order: Order, bench: Bench) -> Standing | None:
    """What stands under the name, if it is just what would be made."""
    wanted = bench.runtime.expected(order.rendered)
    standing = bench.runtime.show(order.name) if wanted is not None else None
    if wanted is None or standing is None or differences(wanted, standing):
        return None
    return standing


def _known_report(order: Order, journal: Journal) -> SmokeReport | None:
    last = journal.last(canonical(order.name))
    if last is None or last.smoke is None or last.content != order.content:
        return None
    if last.tests != tests_digest(order.profile.smoke):
        return None
    return smoke_from_dict(last.smoke)


def _tests_due(order: Order, journal: Journal) -> bool:
    if not order.smoke or not order.profile.smoke:
        return False
    report = _known_report(order, journal)
    return report is None or not report.passed


def _unchanged(order: Order, bench: Bench, result: BuildResult, standing: Standing) -> BuildResult:
    return replace(
        result,
        status="unchanged",
        smoke=_known_report(order, bench.journal),
        digests={**result.digests, "manifest": standing.manifest},
    )


def _test_standing(order: Order, bench: Bench, result: BuildResult, standing: Standing) -> BuildResult:
    """The tests changed, or nobody knows how they went: they run on the model that stands."""
    start = bench.now()
    report = _smoke(order, bench, order.name)
    seconds = {"smoke": bench.now() - start}
    if not report.passed:
        raise _SmokeTestsFailed(report, seconds, model=order.name)
    _write_down(bench, _entry(order, bench, "tested", report, manifest=standing.manifest, replaced=""))
    return replace(_unchanged(order, bench, result, standing), smoke=report, seconds=seconds)


def _make(order: Order, bench: Bench, result: BuildResult) -> BuildResult:
    name = canonical(order.name)
    staged = f"{STAGED}:{bench.journal.staged_tag(name)}"
    seconds: dict[str, float] = {}
    keep_staged = False
    done: Promotion | None = None
    try:
        bench.journal.note(Pending(name=name, staged=staged))
        start = bench.now()
        info = bench.runtime.info
        given = f", gpus: {info.gpus}" if info.gpus else ""
        bench.emit(Step(stage="create", text=f"{info.kind} {info.version} at {info.endpoint}{given}"))
        rendered = _brought(order, bench, seconds)
        start = bench.now()
        bench.runtime.create(rendered, staged, bench.emit)
        seconds["create"] = bench.now() - start
        report = _staged_smoke(order, bench, staged, seconds)
        if report is not None and not report.passed:
            keep_staged = order.keep_failed
            raise _SmokeTestsFailed(report, seconds, model=staged)
        start = bench.now()
        done = promote(bench.runtime, bench.journal, staged=staged, name=order.name, keep=order.keep)
        seconds["promote"] = bench.now() - start
    finally:
        if done is None and not keep_staged:
            abandon(bench.runtime, bench.journal, staged=staged, name=name)
    _write_down(
        bench, _entry(order, bench, "promoted", report, manifest=done.manifest, replaced=done.replaced)
    )
    return replace(
        result,
        status="built",
        smoke=report,
        seconds=seconds,
        replaced=result.standing if done.replaced else None,
        digests={**result.digests, "manifest": done.manifest},
    )


def _brought(order: Order, bench: Bench, seconds: dict[str, float]) -> Rendered:
    """What is to be made, on a base that the runtime has or can be sent: one from elsewhere is brought first.

    What a server has made of one stands without it.
    """
    rendered, base = order.rendered, order.rendered.base
    registry = base.source if isinstance(base.source, RegistryModel) and order.fetch else None
    if registry is None and order.gather is None:
        return rendered
    made = order.gather is not None or base.quantize is not None
    if made and bench.runtime.expected(rendered) is not None:
        return rendered
    start = bench.now()
    if order.gather is not None:
        base = order.gather(base)
    elif registry is not None and order.fetch is not None:
        base = replace(base, source=bench.runtime.bring(registry, order.fetch, bench.emit))
    seconds["bring"] = bench.now() - start
    return replace(rendered, base=base)


def _staged_smoke(order: Order, bench: Bench, staged: str, seconds: dict[str, float]) -> SmokeReport | None:
    if not order.profile.smoke:
        text = f"{order.profile.name} has no [[smoke]] tests: promoted untested"
        bench.emit(Step(stage="smoke", text=text, kind="warning"))
        return None
    if not order.smoke:
        bench.emit(Step(stage="smoke", text="left out (--no-smoke): promoted untested", kind="warning"))
        return None
    start = bench.now()
    report = _smoke(order, bench, staged)
    seconds["smoke"] = bench.now() - start
    return report


def _smoke(order: Order, bench: Bench, name: str) -> SmokeReport:
    picked = order.plan.picked
    if not order.here and order.memory_here is not None and picked and picked.bytes.total > order.memory_here:
        raise SmokeFailed(
            f"untested: {picked.candidate.ref} is too large to be loaded on this machine",
            hint="build it where it fits, or --no-smoke to promote it untested",
        )
    context = SmokeContext(
        parameters=order.profile.parameters,
        num_ctx=order.plan.settings.num_ctx,
        here=order.here,
        gpu=order.gpu_here,
    )
    try:
        return run_smoke(bench.runtime, name, order.profile.smoke, context, bench.emit)
    finally:
        with suppress(ForgeError):
            bench.runtime.unload(name)


def _write_down(bench: Bench, entry: JournalEntry) -> None:
    """The journal is only a hint: where it cannot be written, what was done stays done."""
    try:
        bench.journal.append(entry)
    except (OSError, ForgeError) as error:
        text = f"the journal cannot be written, so history will not know of this build: {error}"
        bench.emit(Step(stage="promote", text=text, kind="warning"))


def _entry(
    order: Order, bench: Bench, event: EventKind, report: SmokeReport | None, *, manifest: str, replaced: str
) -> JournalEntry:
    info = bench.runtime.info
    return JournalEntry(
        event=event,
        time=bench.now(),
        name=canonical(order.name),
        runtime=info.kind,
        endpoint=info.endpoint,
        version=info.version,
        project=str(order.profile.root),
        profile=order.profile.name,
        hardware=order.plan.hardware.name,
        picked=order.plan.picked.candidate.ref if order.plan.picked else "",
        commit=order.commit(),
        plan=order.plan_digest,
        content=order.content,
        manifest=manifest,
        replaced=replaced,
        tests=tests_digest(order.profile.smoke),
        smoke=smoke_dict(report) if report else None,
        untested=report is None,
        image=info.image,
    )
