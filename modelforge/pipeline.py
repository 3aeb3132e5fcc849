"""The calls, in order: profile -> hardware -> resolve -> render -> build -> smoke -> promote -> journal.

This is the Python API: everything that the command line does, it does through here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from modelforge.bases import HubFile, RegistryModel
from modelforge.bases.quantized import taken_as_is
from modelforge.build import Bench, BuildResult, Order, build, seen
from modelforge.candidates import find
from modelforge.errors import DoesNotFit
from modelforge.events import Step
from modelforge.identity import commit_of, content_of, plan_digest
from modelforge.journal import Journal
from modelforge.longest import resolve_longest
from modelforge.names import canonical, parse
from modelforge.render import Rendered, render
from modelforge.resolve import Plan, resolve
from modelforge.resources import templates
from modelforge.runtimes import NOTHING, BrokenModel, RuntimeInfo
from modelforge.runtimes.standing import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from modelforge.bases import Candidate, Found
    from modelforge.download import Fetch
    from modelforge.hardware import Hardware
    from modelforge.runtimes import Runtime
    from modelforge.runtimes.docker.spec import Preview
    from modelforge.targets import Target, Work


def candidates(work: Work, target: Target) -> Found:
    """All candidates of a profile's base, for a command that only looks found once."""
    if not work.site.look:
        return find(work, target)
    key = (target.profile.base, target.profile.root)
    if key not in work.found:
        work.found[key] = find(work, target)
    return work.found[key]


def plan(
    work: Work, target: Target, *, use_free: bool = False, context: int | Literal["max"] | None = None
) -> Plan:
    """The decision for one target. It may be that nothing fits: see `Plan.decision`.

    `context` stands for the profile's `num_ctx`; "max" is the longest with which the pick still fits.
    """
    base, variant = candidates(work, target), f"{target.profile.model_name}:{target.tag}"
    there = base.candidates
    if context == "max":
        found = resolve_longest(target.profile, target.hardware, there, variant=variant, use_free=use_free)
    else:
        found = resolve(
            target.profile, target.hardware, there, variant=variant, use_free=use_free, context=context
        )
    notes = (*target.notes, *base.notes)
    return replace(found, warnings=(*notes, *found.warnings)) if notes else found


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
        fetch=_fetch(work, made.base),
        gather=None if made.base.gathered else lambda base: _gather(work, base),
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


def _fetch(work: Work, base: Candidate) -> Fetch | None:
    """Where the blobs of a base in a registry come from. Nobody is called before one is opened."""
    source = base.source
    if not isinstance(source, RegistryModel):
        return None
    from modelforge.download import Fetch  # noqa: PLC0415 (only where something may have to be fetched)

    name = parse(source.name)

    def opened(digest: str, start: int) -> AbstractContextManager[Iterator[bytes]]:
        registry = work.source(name.host.casefold(), insecure=source.insecure).registry
        return registry.stream(f"{name.namespace}/{name.model}", digest, start)

    return Fetch(open=opened, folder=work.site.downloads)


def _gather(work: Work, base: Candidate) -> Candidate:
    """A base of files that are all on this machine."""
    files = {file.digest: file for file in base.files if isinstance(file, HubFile)}

    def opened(digest: str, start: int) -> AbstractContextManager[Iterator[bytes]]:
        return work.hub().stream(files[digest], start)

    from modelforge.download import Fetch  # noqa: PLC0415 (only for what is not here as it is needed)
    from modelforge.gather import gather  # noqa: PLC0415

    site = work.site
    return gather(base, Fetch(open=opened, folder=site.downloads), site.hashes, site.emit)


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

    `container` is what an engine would be asked for, None where no container is started. `fetches` is how many bytes
    would come from a registry or the Hub, at most: blobs that the runtime has from other models are not fetched again.
    `warnings` are those of the rendering; the plan has its own.
    """

    name: str
    plan: Plan
    stands: bool
    differences: tuple[str, ...]
    container: Preview | None = None
    fetches: int = 0
    warnings: tuple[str, ...] = ()


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
        elsewhere = isinstance(made.base.source, RegistryModel) or made.base.on_hub
        wanted = runtime.expected(made) if standing or elsewhere else None
    except BrokenModel as broken:
        return Change(
            name=name,
            plan=decided,
            stands=True,
            differences=(str(broken),),
            container=container,
            warnings=made.warnings,
        )
    found = (
        differences(wanted, standing) if wanted and standing else ("its weights are not on the runtime yet",)
    )
    return Change(
        name=name,
        plan=decided,
        stands=standing is not None,
        differences=found if standing else (),
        container=container,
        fetches=0 if wanted else _fetched_bytes(work, runtime, made),
        warnings=made.warnings,
    )


def _fetched_bytes(work: Work, runtime: Runtime, made: Rendered) -> int:
    """What a build that finds no weights would fetch: nothing where the model is there, of which they are made."""
    source = made.base.source
    if not isinstance(source, RegistryModel):
        from modelforge.gather import to_fetch  # noqa: PLC0415

        return to_fetch(made.base, work.site.downloads, work.site.hashes)
    as_it_is = replace(made, base=replace(made.base, quantize=None))
    if made.base.quantize and runtime.expected(as_it_is) is not None:
        return 0
    return sum({blob.digest: blob.bytes for blob in source.blobs}.values())
