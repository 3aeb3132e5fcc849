"""The calls, in order: profile -> hardware -> resolve -> render -> build -> smoke -> promote -> journal.

This is the Python API: everything that the command line does, it does through here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from modelforge.bases.local import is_local, is_registry, local_candidates
from modelforge.bases.quantized import taken_as_is
from modelforge.bases.served import served_candidates
from modelforge.build import Bench, BuildResult, Order, build, seen
from modelforge.errors import BaseProblem, DoesNotFit
from modelforge.events import Step
from modelforge.identity import commit_of, content_of, plan_digest
from modelforge.journal import Journal
from modelforge.longest import resolve_longest
from modelforge.names import canonical
from modelforge.render import Rendered, render
from modelforge.resolve import Plan, resolve
from modelforge.resources import templates
from modelforge.runtimes import NOTHING, BrokenModel, RuntimeInfo
from modelforge.runtimes.standing import differences

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelforge.bases import Candidate
    from modelforge.hardware import Hardware
    from modelforge.runtimes.docker.spec import Preview
    from modelforge.targets import Target, Work


def candidates(work: Work, target: Target) -> tuple[Candidate, ...]:
    """All candidates of a profile's base, for a command that only looks found once. A runtime's are asked for there."""
    if not work.site.look:
        return _candidates(work, target)
    key = (target.profile.base, target.profile.root)
    if key not in work.found:
        work.found[key] = _candidates(work, target)
    return work.found[key]


def _candidates(work: Work, target: Target) -> tuple[Candidate, ...]:
    site, profile = work.site, target.profile
    model = profile.base.model
    if is_local(model, profile.root):
        return local_candidates(
            profile.base, root=profile.root, hashes=site.hashes, headers=site.cache / "headers"
        )
    if is_registry(model):
        raise BaseProblem(
            f"'{model}' is in a registry, and bases from registries are not supported yet",
            hint="pull it first and name it as your Ollama lists it, or use a GGUF file",
        )
    runtime = work.runtime(target.need)
    there = [entry.name for entry in runtime.list()]
    return served_candidates(profile.base, runtime.served(model), there=there)


def plan(
    work: Work, target: Target, *, use_free: bool = False, context: int | Literal["max"] | None = None
) -> Plan:
    """The decision for one target. It may be that nothing fits: see `Plan.decision`.

    `context` stands for the profile's `num_ctx`; "max" is the longest with which the pick still fits.
    """
    there, variant = candidates(work, target), f"{target.profile.model_name}:{target.tag}"
    if context == "max":
        found = resolve_longest(target.profile, target.hardware, there, variant=variant, use_free=use_free)
    else:
        found = resolve(
            target.profile, target.hardware, there, variant=variant, use_free=use_free, context=context
        )
    return replace(found, warnings=(*target.notes, *found.warnings)) if target.notes else found


def rendered(work: Work, target: Target, decided: Plan) -> Rendered:
    """The request and the Modelfile of a plan.

    Raises:
        DoesNotFit: the plan has no pick.
    """
    if decided.picked is None:
        raise does_not_fit(decided)
    folders = (work.site.project.templates, templates())
    return render(target.profile, decided, templates=folders)


def does_not_fit(decided: Plan) -> DoesNotFit:
    """The error for a plan without a pick, with what is lacking and what would help."""
    from modelforge.views.plans import does_not_fit_lines  # noqa: PLC0415 (words only where they are shown)

    first, *rest = does_not_fit_lines(decided)
    return DoesNotFit(first, hint="\n".join(line.strip() for line in rest))


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """How to build: names, tests, waiting, what to keep."""

    name: str | None = None
    smoke: bool = True
    wait: bool = True
    keep_failed: bool = False
    use_free: bool = False


def build_target(
    work: Work, target: Target, options: BuildOptions, on_plan: Callable[[Plan], None]
) -> BuildResult:
    """The whole way for one target. What stops it after the plan comes back in the result.

    `on_plan` hears of the plan only where there is something to do.
    """
    site = work.site
    start = site.now()
    decided = plan(work, target, use_free=options.use_free)
    name = canonical(options.name or decided.variant)
    if decided.picked is None:
        return _refused(decided, name)
    _check_makeable(work, decided)
    made = rendered(work, target, decided)

    def announce() -> None:
        on_plan(decided)
        for warning in made.warnings:
            site.emit(Step(stage="pick", text=warning, kind="warning"))

    resolved = site.now() - start
    order = Order(
        profile=target.profile,
        plan=decided,
        rendered=made,
        name=name,
        content=content_of(site, made),
        plan_digest=plan_digest(decided),
        commit=lambda: commit_of(site),
        announce=announce,
        here=False,
        smoke=options.smoke,
        keep=site.project.settings.keep,
        keep_failed=options.keep_failed,
        wait=options.wait,
    )
    known = _seen(work, order)
    if known is not None:
        return replace(known, seconds={"resolve": resolved})
    runtime = work.runtime(target.need)
    order = replace(
        order, here=work.is_here(target), memory_here=_memory(work.machine()), gpu_here=work.has_gpu()
    )
    bench = Bench(runtime=runtime, journal=Journal(site.state, runtime.info), now=site.now, emit=site.emit)
    result = build(order, bench)
    return replace(result, seconds={"resolve": resolved, **result.seconds})


def _check_makeable(work: Work, decided: Plan) -> None:
    """Refuses weights that the runtime cannot make, before anything is hashed.

    Raises:
        UsageProblem: only a server can make them, and there is none.
    """
    if work.access.kind == "embedded" and decided.picked is not None:
        taken_as_is(decided.picked.candidate)


def _seen(work: Work, order: Order) -> BuildResult | None:
    """The result of a build that is seen to have nothing to do before its runtime is opened."""
    access = work.access
    if access.kind != "docker":
        return None
    info = RuntimeInfo(kind=access.kind, version="", endpoint=access.where)
    return seen(order, Journal(work.site.state, info), access.stands)


def _refused(decided: Plan, name: str) -> BuildResult:
    return BuildResult(
        variant=decided.variant,
        name=name,
        status="refused",
        plan=decided,
        runtime=None,
        digests={"plan": plan_digest(decided), "content": "", "manifest": ""},
        smoke=None,
        error=does_not_fit(decided),
    )


def _memory(machine: Hardware | None) -> int | None:
    """All the memory that a model could be loaded into there, in bytes; None if it is not known."""
    if machine is None or machine.system_memory is None:
        return None
    return machine.system_memory + sum(device.memory for device in machine.devices)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What a build would do, without doing it: the plan, and how what stands differs from it, in words.

    `container` is what an engine would be asked for, None where no container is started.
    """

    name: str
    plan: Plan
    stands: bool
    differences: tuple[str, ...]
    container: Preview | None = None


def dry_run(work: Work, target: Target, options: BuildOptions) -> Change:
    """Plan and compare; nothing is touched.

    Raises:
        DoesNotFit: the plan has no pick.
    """
    decided = plan(work, target, use_free=options.use_free)
    _check_makeable(work, decided)
    made = rendered(work, target, decided)
    name = canonical(options.name or decided.variant)
    container = work.access.preview(target.need)
    runtime = work.runtime(NOTHING if container else None)
    try:
        standing = runtime.show(name)
        wanted = runtime.expected(made) if standing else None
    except BrokenModel as broken:
        return Change(name=name, plan=decided, stands=True, differences=(str(broken),), container=container)
    found = (
        differences(wanted, standing) if wanted and standing else ("its weights are not on the runtime yet",)
    )
    return Change(
        name=name,
        plan=decided,
        stands=standing is not None,
        differences=found if standing else (),
        container=container,
    )
