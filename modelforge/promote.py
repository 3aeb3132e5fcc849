"""The one step that changes a name, what can be undone of it, and the repair of what a crash left.

A server writes a manifest in place: it truncates, then writes. If it dies in between, or its disk is full, the
name is empty. So what stood under the name is kept under a second name first, the result of every copy is
read back, and a note on disk (`journal.Pending`) tells the next run what to look at.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelforge.errors import ForgeError, PromoteFailed, Unreachable
from modelforge.events import Step
from modelforge.journal import Pending, name_key
from modelforge.runtimes import KEPT, STAGED, BrokenModel, Entry

if TYPE_CHECKING:
    from modelforge.events import Emit
    from modelforge.journal import Journal
    from modelforge.runtimes import Runtime, Standing

COPIES = 3
STALE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """What a promote did: the manifest digests that stand now and stood before ("" for nothing)."""

    manifest: str
    replaced: str


def promote(runtime: Runtime, journal: Journal, *, staged: str, name: str, keep: int) -> Promotion:
    """Gives `name` to the model that stands under `staged`, and keeps what stood there.

    The caller holds the name.

    Raises:
        PromoteFailed: it could not be done; what stood before stands again, or will after the next run.
    """
    try:
        wanted = runtime.show(staged)
        if wanted is None:
            raise PromoteFailed(f"{staged} has gone from {runtime.info.endpoint}")
        before = _standing(runtime, name)
        kept = _kept_name(name, before) if before else ""
        journal.note(Pending(name=name, staged=staged, kept=kept))
        if before:
            _keep(runtime, name, before, kept)
        journal.note(Pending(name=name, staged=staged, kept=kept, promoting=True))
        if before:
            runtime.unload(name)
        _copy_over(runtime, source=staged, name=name, wanted=wanted, kept=kept)
        if staged.startswith(f"{STAGED}:"):
            runtime.delete(staged)
        prune_kept(runtime, name, keep=keep)
        journal.forget(name_key(name))
    except PromoteFailed:
        raise
    except ForgeError as error:  # the server refused, died, or its disk is full
        again = "run the same command again: it puts back what stood there, and builds again"
        hint = "\n".join(filter(None, (error.problems[0].hint, again)))
        raise PromoteFailed(f"{name} could not be promoted: {error}", hint=hint) from error
    return Promotion(manifest=wanted.manifest, replaced=before.manifest if before else "")


def abandon(runtime: Runtime, journal: Journal, *, staged: str, name: str) -> None:
    """Takes a staged model away after a failure, as far as the runtime still lets us.

    The note stays where the name may have been left empty: the next run restores it.
    """
    with suppress(ForgeError):
        runtime.delete(staged)
        note = journal.pending().get(name_key(name))
        if note is not None:
            _drop_broken(runtime, note.kept)
        if note is None or not note.promoting or not note.kept or _standing(runtime, name) is not None:
            journal.forget(name_key(name))


def kept_models(runtime: Runtime, name: str) -> tuple[Entry, ...]:
    """What is kept for `name`, newest first."""
    prefix = f"{KEPT}:{name_key(name)}"
    return tuple(
        sorted(
            (entry for entry in runtime.list() if entry.name.casefold().startswith(prefix)),
            key=lambda entry: entry.modified,
            reverse=True,
        )
    )


def prune_kept(runtime: Runtime, name: str, *, keep: int) -> None:
    """Lets go of all but the newest `keep` models that are kept for `name`."""
    for entry in kept_models(runtime, name)[keep:]:
        runtime.delete(entry.name)


def rollback(runtime: Runtime, journal: Journal, *, name: str, keep: int) -> Promotion:
    """Swaps `name` with the newest kept model that differs from it.

    Raises:
        PromoteFailed: nothing is kept.
    """
    now = _standing(runtime, name)
    earlier = [entry for entry in kept_models(runtime, name) if not now or entry.digest != now.manifest]
    if not earlier:
        raise PromoteFailed(
            f"nothing is kept for {name} on {runtime.info.endpoint}",
            hint="a build keeps what it replaces; there has been no second build yet",
        )
    done = promote(runtime, journal, staged=earlier[0].name, name=name, keep=keep + 1)
    runtime.delete(earlier[0].name)
    return done


def recover(runtime: Runtime, journal: Journal, emit: Emit, *, own: str, now: float) -> bool:
    """Undoes what killed builds left: staged models, and a name that a dying server left empty.

    `own` is the name that the caller holds. Builds that are still running are left alone, so are other
    machines' staged models younger than a day. Returns whether anything had to be done.
    """
    did = _mend(runtime, own, emit)
    for key, note in journal.pending().items():
        if key == name_key(own):
            did = _undo(runtime, journal, key, note, emit) or did
            continue
        with journal.try_hold(key) as dead:
            if dead:
                did = _undo(runtime, journal, key, note, emit) or did
    for entry in runtime.list():
        if entry.name.casefold().startswith(f"{STAGED}:"):
            did = _drop_stray(runtime, journal, entry, own=own, now=now) or did
    return did


def _mend(runtime: Runtime, name: str, emit: Emit) -> bool:
    """An empty name is put right even where no note tells of it: another machine may have been the one."""
    try:
        runtime.show(name)
    except BrokenModel:
        newest = next((entry.name for entry in kept_models(runtime, name)), "")
        _restore(runtime, name, newest, emit)
        return True
    return False


def _undo(runtime: Runtime, journal: Journal, key: str, note: Pending, emit: Emit) -> bool:
    if note.staged.startswith(f"{STAGED}:"):
        runtime.delete(note.staged)
    if note.promoting and _standing(runtime, note.name) is None:
        _restore(runtime, note.name, note.kept, emit)
    _drop_broken(runtime, note.kept)
    journal.forget(key)
    return True


def _drop_broken(runtime: Runtime, kept: str) -> None:
    """A kept name that a dying server left empty is of no use to anybody."""
    try:
        if kept:
            runtime.show(kept)
    except BrokenModel:
        runtime.delete(kept)


def _restore(runtime: Runtime, name: str, kept: str, emit: Emit) -> None:
    wanted = _standing(runtime, kept) if kept else None
    if wanted is None:  # there was nothing before: an empty name is taken away
        runtime.delete(name)
        return
    _copy_over(runtime, source=kept, name=name, wanted=wanted, kept="")
    text = f"{name} was left empty by a crash: restored what was kept"
    emit(Step(stage="clean", text=text, kind="warning"))


def _drop_stray(runtime: Runtime, journal: Journal, entry: Entry, *, own: str, now: float) -> bool:
    owner = journal.staged_owner(entry.name.rpartition(":")[2])
    if owner is None:
        if now - entry.modified < STALE_SECONDS:
            return False
        runtime.delete(entry.name)
        return True
    if owner == name_key(own):
        runtime.delete(entry.name)
        return True
    with journal.try_hold(owner) as dead:
        if dead:
            runtime.delete(entry.name)
        return dead


def _standing(runtime: Runtime, name: str) -> Standing | None:
    try:
        return runtime.show(name)
    except BrokenModel:
        return None


def _kept_name(name: str, before: Standing) -> str:
    return f"{KEPT}:{name_key(name)}{before.manifest.removeprefix('sha256:')[:16]}"


def _keep(runtime: Runtime, name: str, before: Standing, kept: str) -> None:
    """Copies `name` to its kept name and makes sure of it."""
    for _ in range(COPIES):
        runtime.copy(name, kept)
        copy = _standing(runtime, kept)
        if copy is not None and copy.manifest == before.manifest:
            return
    raise PromoteFailed(f"{name} could not be kept under a second name, so it was not replaced")


def _copy_over(runtime: Runtime, *, source: str, name: str, wanted: Standing, kept: str) -> None:
    trouble: ForgeError | None = None
    for _ in range(COPIES):
        try:
            runtime.copy(source, name)
            now = runtime.show(name)
        except Unreachable:
            raise
        except ForgeError as error:
            trouble = error
            continue
        if now is not None and replace(now, manifest="") == replace(wanted, manifest=""):
            return
        trouble = PromoteFailed(f"{name} does not have what {source} has after the copy")
    if kept:
        runtime.copy(kept, name)
    raise PromoteFailed(f"{name} could not be promoted: {trouble}") from trouble
