"""Models that stand: asked, tested and rolled back where they were last promoted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelforge import models, pipeline
from modelforge.errors import ExitCode, PromoteFailed, SmokeFailed, Unreachable, UsageProblem
from modelforge.journal import Journal
from modelforge.overview import load_all
from modelforge.pipeline import BuildOptions, build_target
from modelforge.runtimes import BrokenModel, RuntimeInfo
from modelforge.runtimes.choose import access_of
from modelforge.targets import targets
from tests.fakes import FakeRuntime, some_standing
from tests.projects import CODER, REVIEWER, FakeAccess, Place, place

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.journal import JournalEntry
    from modelforge.site import Site

STORE = RuntimeInfo(kind="embedded", version="1", endpoint="/store")


@pytest.fixture
def store() -> FakeRuntime:
    """A second runtime, which the journal may lead to."""
    return FakeRuntime(info=STORE, default="from the store")


@pytest.fixture
def here(tmp_path: Path, store: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = place(tmp_path, coder=CODER, reviewer=REVIEWER)
    known = {made.runtime.info.endpoint: made.runtime, STORE.endpoint: store}

    def access_for(site: Site, entry: JournalEntry) -> FakeAccess:
        found = FakeAccess(place=made, real=access_of(site))
        found.runtime = known[entry.endpoint]
        return found

    monkeypatch.setattr(models, "access_for", access_for)
    monkeypatch.setattr(pipeline, "commit_of", lambda _site: "c0ffee")
    return made


def build(here: Place, on: FakeRuntime | None = None, profile: str = "coder", **changes: object) -> None:
    default = here.runtime
    here.runtime = on or default
    work = here.work()
    (target,) = targets(work, profile, ())
    options = replace(BuildOptions(smoke=False), **changes)  # type: ignore[arg-type]
    assert build_target(work, target, options, lambda _plan: None).error is None
    here.runtime = default


# -- run -----------------------------------------------------------------------------------------------


def test_a_profiles_name_is_its_models(here: Place) -> None:
    build(here)
    here.runtime.answers["Hi"] = "Hello."
    pieces: list[str] = []
    reply = models.ask(here.work(), "coder", "Hi", pieces.append)
    assert (reply.text, pieces) == ("Hello.", ["Hello."])
    ((name, request),) = here.runtime.chats
    assert (name, request.options) == ("coder:latest", {})


def test_it_is_asked_where_it_was_last_promoted(here: Place, store: FakeRuntime) -> None:
    build(here)
    build(here, on=store)
    assert models.ask(here.work(), "coder", "Hi", None).text == "from the store"


def test_a_runtime_on_the_command_line_wins(here: Place, store: FakeRuntime) -> None:
    build(here)
    build(here, on=store)
    assert models.ask(here.work(runtime_given=True), "coder", "Hi", None).text == "ok"


def test_another_projects_promotion_does_not_lead_away(
    here: Place, store: FakeRuntime, tmp_path: Path
) -> None:
    build(here)
    line = Journal(tmp_path / "state", here.runtime.info).entries()[0]
    Journal(tmp_path / "state", STORE).append(
        replace(line, endpoint="/store", runtime="embedded", project="/another", time=line.time + 1000)
    )
    store.stand("coder:latest")
    assert models.ask(here.work(), "coder", "Hi", None).text == "ok"


def test_a_model_that_does_not_stand_says_how_to_build_it(here: Place) -> None:
    with pytest.raises(UsageProblem, match="coder:latest does not stand on ollama") as caught:
        models.ask(here.work(), "coder", "Hi", None)
    assert caught.value.problems[0].hint == "build it: modelforge build coder"


def test_a_model_that_no_profile_made_can_be_asked(here: Place) -> None:
    here.runtime.stand("llama3.2:1b")
    assert models.ask(here.work(), "llama3.2:1b", "Hi", None).text == "ok"


def test_a_broken_model_is_no_bug_of_ours(here: Place) -> None:
    here.runtime.break_name("coder:latest")
    with pytest.raises(BrokenModel) as caught:
        models.ask(here.work(), "coder", "Hi", None)
    assert caught.value.exit_code == ExitCode.BUILD_FAILED


def test_a_broken_profile_does_not_keep_its_model_from_answering(here: Place) -> None:
    build(here)
    here.write(coder="syntax = = error")
    assert models.ask(here.work(), "coder", "Hi", None).text == "ok"


# -- smoke ---------------------------------------------------------------------------------------------


def smoke(here: Place, *hardware: str, name: str | None = None, profile: str = "coder") -> tuple[str, bool]:
    work = here.work()
    (target,) = targets(work, profile, hardware)
    full, report = models.smoke_standing(work, target, name=name)
    return full, report.passed


def test_the_tests_run_against_what_stands(here: Place) -> None:
    build(here)
    assert smoke(here) == ("coder:latest", True)
    here.runtime.default = "no"
    assert smoke(here) == ("coder:latest", False)
    assert here.runtime.names() == ["coder:latest"]


def test_the_variant_of_a_hardware_and_any_name(here: Place) -> None:
    here.runtime.stand("coder:rtx-4090")
    here.runtime.stand("mine:v1")
    assert smoke(here, "rtx-4090") == ("coder:rtx-4090", True)
    assert smoke(here, name="mine:v1") == ("mine:v1", True)


def test_tests_run_where_it_was_last_promoted(here: Place, store: FakeRuntime) -> None:
    build(here)
    build(here, on=store)
    assert smoke(here) == ("coder:latest", False)
    assert [name for name, _ in store.chats] == ["coder:latest"]
    assert here.runtime.chats == []


def test_a_profile_without_tests_cannot_be_tested(here: Place) -> None:
    with pytest.raises(SmokeFailed, match=r"reviewer has no \[\[smoke\]\] tests"):
        smoke(here, profile="reviewer")


# -- rollback and history ------------------------------------------------------------------------------


def test_rollback_brings_back_what_stood_and_writes_it_down(here: Place) -> None:
    build(here)
    here.write(coder=CODER.replace("Be short.", "Be long."))
    build(here)
    entry = models.rollback_name(here.work(), "coder")
    assert here.runtime.models["coder:latest"].system == "Be short."
    assert (entry.event, entry.name, entry.commit) == ("rolled-back", "coder:latest", "c0ffee")
    _, lines = models.history(here.work(), "coder")
    assert [line.event for line in lines] == ["rolled-back", "promoted", "promoted"]
    assert lines[0].content == lines[2].content != lines[1].content
    models.rollback_name(here.work(), "coder")
    assert here.runtime.models["coder:latest"].system == "Be long."


def test_rollback_goes_to_where_it_was_last_promoted(here: Place, store: FakeRuntime) -> None:
    build(here)
    build(here, on=store)
    here.write(coder=CODER.replace("Be short.", "Be long."))
    build(here, on=store)
    models.rollback_name(here.work(), "coder")
    assert store.models["coder:latest"].system == "Be short."
    assert here.runtime.called("copy") == here.runtime.called("copy")[:1]


def test_rollback_without_a_second_build(here: Place) -> None:
    build(here)
    with pytest.raises(PromoteFailed, match="nothing is kept for coder:latest") as caught:
        models.rollback_name(here.work(), "coder")
    assert caught.value.exit_code == ExitCode.PROMOTE_FAILED


def test_a_rolled_back_model_is_not_taken_for_the_profiles(here: Place) -> None:
    build(here)
    here.write(coder=CODER.replace("Be short.", "Be long."))
    build(here)
    models.rollback_name(here.work(), "coder")
    build(here)
    assert here.runtime.models["coder:latest"].system == "Be long."


def test_a_server_that_dies_in_a_rollback_is_put_right_by_the_next(here: Place) -> None:
    build(here)
    here.write(coder=CODER.replace("Be short.", "Be long."))
    build(here)
    steps = len(here.runtime.calls)
    models.rollback_name(here.work(), "coder")
    models.rollback_name(here.work(), "coder")
    steps = len(here.runtime.calls) - steps
    for nth in range(1, steps // 2 + 1):
        here.runtime.fail("*", Unreachable("reset"), nth=nth, when="broken")
        try:
            models.rollback_name(here.work(), "coder")
        except (Unreachable, PromoteFailed):
            here.runtime.heal()
            build(here)
        here.runtime.heal()
        build(here)
        assert here.runtime.models["coder:latest"].system == "Be long.", nth
        assert here.runtime.broken == set(), nth
        models.rollback_name(here.work(), "coder")
        assert here.runtime.models["coder:latest"].system == "Be short.", nth
        build(here)


def test_history_of_nothing(here: Place) -> None:
    assert models.history(here.work(), "coder") == ("coder:latest", ())


# -- what stands ---------------------------------------------------------------------------------------


def test_what_stands_of_each_profile_without_our_own_names(here: Place) -> None:
    for name in ("coder:latest", "coder:rtx-4090", "Coder:x", "coder2:latest", "me/coder:latest"):
        here.runtime.stand(name, some_standing())
    here.runtime.stand("modelforge/kept:0123456789abcdef0123456789abcdef")
    profiles, _ = load_all(here.site())
    found, trouble = models.standing_models(here.work(), profiles)
    assert trouble is None
    assert [entry.name for entry in found["coder"]] == ["Coder:x", "coder:latest", "coder:rtx-4090"]
    assert found["reviewer"] == ()


def test_without_a_runtime_the_trouble_is_told(here: Place) -> None:
    here.runtime.fail("list", Unreachable("nobody there"))
    found, trouble = models.standing_models(here.work(), ())
    assert found == {}
    assert isinstance(trouble, Unreachable)
