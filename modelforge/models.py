"""What is done with models that stand: ask them, test them, roll them back, look at what stood."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.errors import ForgeError, SmokeFailed, UsageProblem
from modelforge.events import Step
from modelforge.journal import Journal, JournalEntry, last_promotion
from modelforge.names import canonical, parse
from modelforge.pipeline import plan
from modelforge.profile.load import load_profile
from modelforge.promote import recover, rollback
from modelforge.runtimes import ANYTHING, NOTHING, OWN, ChatRequest, Turn
from modelforge.runtimes.choose import access_for
from modelforge.smoke import SmokeContext, SmokeReport, run_smoke

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelforge.profile import Profile
    from modelforge.runtimes import ChatReply, Entry, Need, Runtime
    from modelforge.site import Site
    from modelforge.targets import Target, Work


def full_name(site: Site, name: str) -> str:
    """The model's full name: a profile's name stands for its model's.

    Raises:
        UsageProblem: it is no model name.
    """
    try:
        profile = load_profile(site.project, name)
    except ForgeError:  # not a profile, or one that is broken now: its model may stand all the same
        return canonical(name)
    return canonical(profile.model_name)


def _runtime_of(work: Work, name: str, need: Need) -> Runtime:
    """The runtime that last promoted the name, unless the command line names one."""
    site = work.site
    last = None if site.runtime_given else last_promotion(site.state, name, project=str(site.project.root))
    if last is not None:
        work.close()
        work.access = access_for(site, last)
    return work.runtime(need)


def _must_stand(runtime: Runtime, name: str) -> None:
    if runtime.show(name) is None:
        info = runtime.info
        raise UsageProblem(
            f"{name} does not stand on {info.kind} at {info.endpoint}",
            hint=f"build it: modelforge build {name.partition(':')[0]}",
        )


def ask(work: Work, name: str, prompt: str, on_text: Callable[[str], None] | None) -> ChatReply:
    """One answer of a model that stands, its text handed on as it comes.

    Raises:
        UsageProblem: there is no such model.
    """
    full = full_name(work.site, name)
    runtime = _runtime_of(work, full, ANYTHING)
    _must_stand(runtime, full)
    request = ChatRequest(messages=(Turn(role="user", content=prompt),), options={})
    return runtime.chat(full, request, on_text)


def smoke_standing(work: Work, target: Target, *, name: str | None) -> tuple[str, SmokeReport]:
    """Runs a profile's tests against the model that stands: its name and the report.

    Raises:
        SmokeFailed: there are no tests, or they could not run.
    """
    profile = target.profile
    if not profile.smoke:
        raise SmokeFailed(f"{profile.name} has no [[smoke]] tests", hint="add one to its profile")
    full = canonical(name or f"{profile.model_name}:{target.tag}")
    runtime = _runtime_of(work, full, target.need)
    _must_stand(runtime, full)
    decided = plan(work, target)
    context = SmokeContext(
        parameters=profile.parameters,
        num_ctx=decided.settings.num_ctx,
        here=work.is_here(target),
        gpu=work.has_gpu(),
    )
    return full, run_smoke(runtime, full, profile.smoke, context, work.site.emit)


def rollback_name(work: Work, name: str) -> JournalEntry:
    """Swaps a name with the newest model kept for it; the line that the journal got.

    Raises:
        PromoteFailed: nothing is kept.
    """
    site = work.site
    full = full_name(site, name)
    runtime = _runtime_of(work, full, NOTHING)
    journal = Journal(site.state, runtime.info)
    waiting = Step(stage="wait", text=f"for a build of {full} to end")
    with journal.hold(full, wait=True, on_wait=lambda: site.emit(waiting)):
        recover(runtime, journal, site.emit, own=full, now=site.now())
        done = rollback(runtime, journal, name=full, keep=site.project.settings.keep)
        entry = _rolled_back(site, journal, full, done.manifest, done.replaced)
        journal.append(entry)
    return entry


def _rolled_back(site: Site, journal: Journal, name: str, manifest: str, replaced: str) -> JournalEntry:
    """A line that says what is known of the model that stands again."""
    known = next((line for line in reversed(journal.entries()) if line.manifest == manifest), None)
    info = journal.info
    return JournalEntry(
        event="rolled-back",
        time=site.now(),
        name=name,
        runtime=info.kind,
        endpoint=info.endpoint,
        version=info.version,
        image=info.image,
        project=str(site.project.root),
        profile=known.profile if known else "",
        hardware=known.hardware if known else "",
        picked=known.picked if known else "",
        commit=known.commit if known else "",
        plan=known.plan if known else "",
        content=known.content if known else "",
        manifest=manifest,
        replaced=replaced,
        tests=known.tests if known else "",
        smoke=known.smoke if known else None,
        untested=known.untested if known else True,
    )


def history(work: Work, name: str) -> tuple[str, tuple[JournalEntry, ...]]:
    """What this machine's journal knows of a name on the runtime that last promoted it, newest first."""
    site = work.site
    full = full_name(site, name)
    last = last_promotion(site.state, full, project=str(site.project.root))
    if last is None:
        return full, ()
    journal = Journal.of(site.state, last)
    lines = [line for line in journal.entries() if line.name.casefold() == full.casefold()]
    return full, tuple(reversed(lines))


def standing_models(
    work: Work, profiles: Sequence[Profile]
) -> tuple[Mapping[str, tuple[Entry, ...]], ForgeError | None]:
    """For each profile the models of its name on the runtime; and what kept us from looking, if anything did."""
    try:
        entries = [
            entry for entry in work.runtime(NOTHING).list() if entry.name.rpartition(":")[0] not in OWN
        ]
    except ForgeError as error:
        return {}, error
    found = {}
    for profile in profiles:
        wanted = parse(profile.model_name).repository
        found[profile.name] = tuple(entry for entry in entries if parse(entry.name).repository == wanted)
    return found, None
