"""The name moves in one step, what stood is kept, and a crash anywhere leaves something the next run mends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.errors import BuildFailed, PromoteFailed, Unreachable
from modelforge.journal import Journal, Pending
from modelforge.promote import kept_models, promote, recover, rollback
from tests.fakes import FakeRuntime, Heard, some_standing

if TYPE_CHECKING:
    from pathlib import Path

NAME = "coder:latest"
NOW = 1_800_000_000.0


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def journal(tmp_path: Path, runtime: FakeRuntime) -> Journal:
    return Journal(tmp_path / "state", runtime.info)


def stage(runtime: FakeRuntime, journal: Journal, system: str) -> str:
    staged = f"modelforge/staged:{journal.staged_tag(NAME)}"
    journal.note(Pending(name=NAME, staged=staged))
    runtime.stand(staged, some_standing(system=system))
    return staged


def systems(runtime: FakeRuntime) -> list[str]:
    return [runtime.models[entry.name].system for entry in kept_models(runtime, NAME)]


def test_a_first_promote_leaves_just_the_name(runtime: FakeRuntime, journal: Journal) -> None:
    done = promote(runtime, journal, staged=stage(runtime, journal, "one"), name=NAME, keep=3)
    assert runtime.names() == [NAME]
    assert runtime.models[NAME].system == "one"
    assert done.replaced == ""
    assert journal.pending() == {}


def test_what_stood_is_unloaded_and_kept(runtime: FakeRuntime, journal: Journal) -> None:
    before = runtime.stand(NAME, some_standing(system="old"))
    done = promote(runtime, journal, staged=stage(runtime, journal, "new"), name=NAME, keep=3)
    assert runtime.models[NAME].system == "new"
    assert systems(runtime) == ["old"]
    assert done.replaced == before.manifest
    assert runtime.called("unload") == [(NAME,)]


def test_only_the_newest_are_kept(runtime: FakeRuntime, journal: Journal) -> None:
    for number in range(6):
        promote(runtime, journal, staged=stage(runtime, journal, f"v{number}"), name=NAME, keep=3)
    assert systems(runtime) == ["v4", "v3", "v2"]


def test_another_models_kept_versions_are_not_touched(runtime: FakeRuntime, journal: Journal) -> None:
    runtime.stand("other:latest", some_standing(system="other"))
    promote(runtime, journal, staged=stage(runtime, journal, "one"), name="other:latest", keep=1)
    for number in range(4):
        promote(runtime, journal, staged=stage(runtime, journal, f"v{number}"), name=NAME, keep=1)
    assert [runtime.models[entry.name].system for entry in kept_models(runtime, "other:latest")] == ["other"]


def test_rollback_swaps_with_the_newest_kept_and_back(runtime: FakeRuntime, journal: Journal) -> None:
    for version in ("one", "two", "three"):
        promote(runtime, journal, staged=stage(runtime, journal, version), name=NAME, keep=3)
    rollback(runtime, journal, name=NAME, keep=3)
    assert runtime.models[NAME].system == "two"
    assert systems(runtime) == ["three", "one"]
    rollback(runtime, journal, name=NAME, keep=3)
    assert runtime.models[NAME].system == "three"


def test_rollback_brings_a_deleted_name_back(runtime: FakeRuntime, journal: Journal) -> None:
    for version in ("one", "two"):
        promote(runtime, journal, staged=stage(runtime, journal, version), name=NAME, keep=3)
    runtime.delete(NAME)
    rollback(runtime, journal, name=NAME, keep=3)
    assert runtime.models[NAME].system == "one"


def test_rollback_with_nothing_kept_says_so(runtime: FakeRuntime, journal: Journal) -> None:
    runtime.stand(NAME)
    with pytest.raises(PromoteFailed, match="nothing is kept for coder:latest"):
        rollback(runtime, journal, name=NAME, keep=3)


@pytest.mark.parametrize("nth", [1, 2])
def test_a_copy_that_leaves_an_empty_name_is_repeated(
    runtime: FakeRuntime, journal: Journal, nth: int
) -> None:
    runtime.stand(NAME, some_standing(system="old"))
    staged = stage(runtime, journal, "new")
    runtime.fail("copy", BuildFailed("no space left on device"), nth=nth, when="broken")
    if nth == 1:  # the copy to the kept name: nothing was replaced yet
        with pytest.raises(PromoteFailed):
            promote(runtime, journal, staged=staged, name=NAME, keep=3)
        assert runtime.models[NAME].system == "old"
    else:
        promote(runtime, journal, staged=staged, name=NAME, keep=3)
        assert runtime.models[NAME].system == "new"


def test_a_server_that_dies_in_the_copy_is_put_right_by_the_next_run(
    runtime: FakeRuntime, journal: Journal
) -> None:
    runtime.stand(NAME, some_standing(system="old"))
    staged = stage(runtime, journal, "new")
    runtime.fail("copy", Unreachable("connection reset"), nth=2, when="broken")
    with pytest.raises(PromoteFailed, match="connection reset"):
        promote(runtime, journal, staged=staged, name=NAME, keep=3)
    assert NAME in runtime.broken

    heard = Heard()
    assert recover(runtime, journal, heard, own=NAME, now=NOW)
    assert runtime.models[NAME].system == "old"
    assert staged not in runtime.models
    assert journal.pending() == {}
    assert heard.texts == ["coder:latest was left empty by a crash: restored what was kept"]


def test_an_empty_name_without_a_note_is_restored_too(runtime: FakeRuntime, journal: Journal) -> None:
    for version in ("one", "two"):
        promote(runtime, journal, staged=stage(runtime, journal, version), name=NAME, keep=3)
    runtime.break_name(NAME)
    assert recover(runtime, journal, Heard(), own=NAME, now=NOW)
    assert runtime.models[NAME].system == "one"


def test_an_empty_name_that_never_stood_is_taken_away(runtime: FakeRuntime, journal: Journal) -> None:
    staged = stage(runtime, journal, "new")
    runtime.fail("copy", Unreachable("reset"), nth=1, when="broken")
    with pytest.raises(PromoteFailed):
        promote(runtime, journal, staged=staged, name=NAME, keep=3)
    recover(runtime, journal, Heard(), own=NAME, now=NOW)
    assert runtime.names() == []
    assert runtime.broken == set()


def test_a_name_deleted_by_hand_is_not_brought_back(runtime: FakeRuntime, journal: Journal) -> None:
    for version in ("one", "two"):
        promote(runtime, journal, staged=stage(runtime, journal, version), name=NAME, keep=3)
    runtime.delete(NAME)
    recover(runtime, journal, Heard(), own=NAME, now=NOW)
    assert NAME not in runtime.models


def test_recover_takes_dead_builds_of_any_name_away(runtime: FakeRuntime, journal: Journal) -> None:
    for name in (NAME, "reviewer:latest"):
        runtime.stand(f"modelforge/staged:{journal.staged_tag(name)}")
    recover(runtime, journal, Heard(), own=NAME, now=NOW)
    assert runtime.names() == []


def test_recover_leaves_running_builds_alone(runtime: FakeRuntime, journal: Journal) -> None:
    running = f"modelforge/staged:{journal.staged_tag('reviewer:latest')}"
    runtime.stand(running)
    journal.note(Pending(name="reviewer:latest", staged=running))
    with journal.hold("reviewer:latest", wait=False, on_wait=lambda: None):
        recover(runtime, journal, Heard(), own=NAME, now=NOW)
    assert runtime.names() == [running]


def test_another_machines_staged_model_goes_after_a_day(runtime: FakeRuntime, journal: Journal) -> None:
    strange = "modelforge/staged:" + "0" * 32
    runtime.stand(strange)
    recover(runtime, journal, Heard(), own=NAME, now=runtime.modified[strange] + 3600)
    assert runtime.names() == [strange]
    recover(runtime, journal, Heard(), own=NAME, now=runtime.modified[strange] + 25 * 3600)
    assert runtime.names() == []
