"""One variant, from staged to promoted: what stands, what is told, and what a crash leaves to the next run."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.build import Bench, BuildResult, Order, build
from modelforge.download import DownloadCut, DownloadFailed
from modelforge.errors import BuildFailed, ExitCode, SmokeFailed, Unreachable
from modelforge.journal import Journal
from modelforge.profile.schema import Expect, Parameters, SmokeTest
from modelforge.report import smoke_dict
from modelforge.smoke import SmokeReport
from modelforge.smoke import tests_digest as digest_of_tests
from modelforge.units import GIB
from tests.fakes import FakeRuntime, Heard, digest, some_candidate, some_rendered, some_standing
from tests.manifests import NAME as MODEL_NAME
from tests.manifests import Shelf
from tests.plans import profile
from tests.samples import a_result, an_entry, some_plan

if TYPE_CHECKING:
    from modelforge.errors import ForgeError
    from modelforge.events import Event
    from modelforge.journal import JournalEntry
    from tests.fakes import When

NAME = "coder:latest"
GOOD = SmokeTest(name="says ok", prompt="ok?", expect=Expect(contains="ok"))
STRICT = SmokeTest(name="says yes", prompt="yes?", expect=Expect(contains="yes"))


@dataclass
class Workshop:
    """A bench with a fake runtime and a real journal."""

    runtime: FakeRuntime
    journal: Journal
    heard: Heard = field(default_factory=Heard)
    announced: int = 0
    clock: float = 1_790_000_000.0

    def build(
        self, system: str = "Be short.", tests: tuple[SmokeTest, ...] = (GOOD,), **changes: Any
    ) -> BuildResult:
        return build(self.order(system, tests, **changes), self.bench())

    def bench(self) -> Bench:
        return Bench(runtime=self.runtime, journal=self.journal, now=self.now, emit=self.heard)

    def order(
        self, system: str = "Be short.", tests: tuple[SmokeTest, ...] = (GOOD,), **changes: Any
    ) -> Order:
        order = Order(
            profile=replace(profile(), smoke=tests),
            plan=some_plan(),
            rendered=some_rendered(system=system),
            name=NAME,
            content=digest(system),
            plan_digest=digest("plan"),
            commit=lambda: "c0ffee",
            announce=self.announce,
            here=True,
        )
        return replace(order, **changes)

    def announce(self) -> None:
        self.announced += 1

    def now(self) -> float:
        self.clock += 1
        return self.clock

    @property
    def staged(self) -> list[str]:
        return [name for name in self.runtime.names() if name.startswith("modelforge/staged:")]

    @property
    def kept(self) -> list[str]:
        return [name for name in self.runtime.names() if name.startswith("modelforge/kept:")]

    @property
    def system(self) -> str:
        return self.runtime.models[NAME].system


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    runtime = FakeRuntime()
    return Workshop(runtime=runtime, journal=Journal(tmp_path / "state", runtime.info))


def code_of(result: BuildResult) -> int:
    assert result.error is not None
    return int(result.error.exit_code)


# -- what is built, and what is not --------------------------------------------------------------------


def test_a_first_build(shop: Workshop) -> None:
    result = shop.build()
    assert (result.status, result.error, result.replaced) == ("built", None, None)
    assert shop.runtime.names() == [NAME]
    assert shop.system == "Be short."
    assert result.smoke is not None
    assert result.smoke.count("passed") == 1
    assert set(result.seconds) == {"create", "smoke", "promote"}
    assert result.digests == {
        "plan": digest("plan"),
        "content": digest("Be short."),
        "manifest": shop.runtime.models[NAME].manifest,
    }
    assert shop.journal.pending() == {}


# -- a base from a registry ----------------------------------------------------------------------------


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def from_registry(shop: Workshop, shelf: Shelf, system: str = "Be short.") -> BuildResult:
    model = shelf.put(("model", b"weights"), ("system", b"Be kind."))
    rendered = some_rendered(some_candidate(source=model), system=system)
    return shop.build(system, rendered=rendered, fetch=shelf.fetch(Path("/nowhere")))


def test_a_base_from_a_registry_is_brought_once_and_then_built_from(shop: Workshop, shelf: Shelf) -> None:
    result = from_registry(shop, shelf)
    assert (result.status, result.error) == ("built", None)
    assert [call[0] for call in shop.runtime.calls if call[0] in {"bring", "create", "copy"}] == [
        "bring",
        "create",
        "copy",
    ]
    assert shop.runtime.names() == [NAME, MODEL_NAME]
    assert set(result.seconds) == {"bring", "create", "smoke", "promote"}
    assert shop.announced == 1
    given, shop.runtime.calls = shelf.given, []
    again = from_registry(shop, shelf)
    assert (again.status, shelf.given) == ("unchanged", given)
    assert shop.runtime.called("bring") == []
    assert from_registry(shop, shelf, "Be long.").status == "built"
    assert shelf.given == given


def test_what_is_made_of_a_base_from_a_registry_needs_it_once(shop: Workshop, shelf: Shelf) -> None:
    model = shelf.put(("model", b"weights"))
    base = some_candidate(source=model, digest=digest("made"), quantize="Q4_K_M")
    more: Any = {"fetch": shelf.fetch(Path("/nowhere"))}
    first = shop.build(rendered=some_rendered(base, system="Be short."), **more)
    assert (first.status, first.error) == ("built", None)
    assert len(shop.runtime.called("bring")) == 1
    shop.runtime.delete(MODEL_NAME)
    again = shop.build("Be long.", rendered=some_rendered(base, system="Be long."), **more)
    assert (again.status, again.error) == ("built", None)
    assert len(shop.runtime.called("bring")) == 1
    assert set(again.seconds) == {"create", "smoke", "promote"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(DownloadCut("registry.example.com: connection refused"), ExitCode.UNREACHABLE, id="cut"),
        pytest.param(DownloadFailed("wrong bytes"), ExitCode.BUILD_FAILED, id="wrong"),
    ],
)
def test_a_registry_that_fails_is_not_taken_for_the_runtime(
    shop: Workshop, shelf: Shelf, error: ForgeError, code: ExitCode
) -> None:
    shop.build("Old.")
    shop.runtime.fail("bring", error)
    result = from_registry(shop, shelf)
    assert (result.status, result.error, code_of(result)) == ("failed", error, code)
    assert shop.system == "Old."
    assert (shop.staged, shop.journal.pending()) == ([], {})


def test_ctrl_c_while_a_base_is_brought_leaves_what_stood(shop: Workshop, shelf: Shelf) -> None:
    shop.build("Old.")
    shop.runtime.fail("bring", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        from_registry(shop, shelf)
    assert shop.system == "Old."
    assert (shop.staged, shop.journal.pending()) == ([], {})
    assert from_registry(shop, shelf).status == "built"


def test_the_tests_run_on_the_staged_model_before_it_takes_the_name(shop: Workshop) -> None:
    shop.build()
    ((asked, _request),) = shop.runtime.chats
    assert asked.startswith("modelforge/staged:")
    order = [call[0] for call in shop.runtime.calls if call[0] in {"create", "chat", "copy"}]
    assert order == ["create", "chat", "copy"]


def test_the_journal_tells_what_was_promoted(shop: Workshop) -> None:
    shop.build()
    (entry,) = shop.journal.entries()
    assert (entry.event, entry.name, entry.commit, entry.content) == (
        "promoted",
        NAME,
        "c0ffee",
        digest("Be short."),
    )
    assert entry.smoke is not None
    assert entry.smoke["passed"] == 1
    assert (entry.untested, entry.replaced) == (False, "")
    assert entry.tests == digest_of_tests((GOOD,))
    assert entry.manifest == shop.runtime.models[NAME].manifest


def test_an_unchanged_build_writes_nothing_and_asks_nothing(shop: Workshop) -> None:
    first = shop.build()
    shop.runtime.calls.clear()
    result = shop.build()
    assert result.status == "unchanged"
    assert result.smoke == first.smoke
    assert result.digests == first.digests
    assert {call[0] for call in shop.runtime.calls} <= {"show", "list", "expected"}
    assert shop.announced == 1
    assert len(shop.journal.entries()) == 1


def test_changed_content_replaces_the_model_and_keeps_the_old_one(shop: Workshop) -> None:
    shop.build()
    result = shop.build("Be long.")
    assert result.status == "built"
    assert shop.system == "Be long."
    (kept,) = shop.kept
    assert shop.runtime.models[kept].system == "Be short."
    assert result.replaced is not None
    assert result.replaced.content == digest("Be short.")
    assert [entry.event for entry in shop.journal.entries()] == ["promoted", "promoted"]
    assert shop.announced == 2


def test_a_model_deleted_by_hand_is_built_again(shop: Workshop) -> None:
    shop.build()
    shop.runtime.delete(NAME)
    assert shop.build().status == "built"
    assert shop.system == "Be short."


def test_a_model_changed_by_hand_is_built_again(shop: Workshop) -> None:
    shop.build()
    shop.runtime.stand(NAME, replace(shop.runtime.models[NAME], system="Be rude.", manifest=""))
    assert shop.build().status == "built"
    assert shop.system == "Be short."


def test_a_lost_journal_costs_the_tests_and_no_more(shop: Workshop, tmp_path: Path) -> None:
    shop.build()
    shop.journal = Journal(tmp_path / "another", shop.runtime.info)
    before = dict(shop.runtime.modified)
    result = shop.build()
    assert result.status == "unchanged"
    assert [name for name, _ in shop.runtime.chats][1:] == [NAME]
    assert shop.runtime.modified == before
    assert shop.journal.entries()[-1].event == "tested"


# -- tests ---------------------------------------------------------------------------------------------


def test_changed_tests_run_on_the_standing_model(shop: Workshop) -> None:
    shop.build()
    before = dict(shop.runtime.modified)
    result = shop.build(tests=(GOOD, replace_prompt(GOOD, "still ok?")))
    assert result.status == "unchanged"
    assert result.smoke is not None
    assert result.smoke.count("passed") == 2
    assert [name for name, _ in shop.runtime.chats][1:] == [NAME, NAME]
    assert shop.runtime.modified == before
    assert len(shop.runtime.called("create")) == 1
    assert [entry.event for entry in shop.journal.entries()] == ["promoted", "tested"]
    assert shop.announced == 2
    assert shop.build(tests=(GOOD, replace_prompt(GOOD, "still ok?"))).status == "unchanged"
    assert len(shop.runtime.chats) == 3


def replace_prompt(test: SmokeTest, prompt: str) -> SmokeTest:
    return SmokeTest(name=test.name, prompt=prompt, expect=test.expect)


def test_changed_tests_that_fail_leave_the_model_and_fail_again_next_time(shop: Workshop) -> None:
    shop.build()
    for _ in range(2):
        result = shop.build(tests=(STRICT,))
        assert (result.status, code_of(result)) == ("smoke-failed", ExitCode.SMOKE_FAILED)
        assert shop.runtime.names() == [NAME]
    assert [entry.event for entry in shop.journal.entries()] == ["promoted"]


def test_a_failing_test_keeps_the_old_model(shop: Workshop) -> None:
    shop.build()
    before = shop.runtime.models[NAME]
    result = shop.build("Be long.", tests=(STRICT, GOOD))
    assert (result.status, code_of(result)) == ("smoke-failed", ExitCode.SMOKE_FAILED)
    assert str(result.error) == "1 of 2 smoke tests failed"
    assert result.smoke is not None
    assert [test.verdict for test in result.smoke.results] == ["failed", "passed"]
    assert result.standing is not None
    assert shop.runtime.models == {NAME: before}
    assert shop.journal.pending() == {}
    assert [entry.event for entry in shop.journal.entries()] == ["promoted"]


def test_a_failing_test_of_a_first_build_leaves_nothing(shop: Workshop) -> None:
    assert shop.build(tests=(STRICT,)).status == "smoke-failed"
    assert shop.runtime.names() == []
    assert shop.journal.pending() == {}


def test_keep_failed_leaves_the_staged_model_to_look_at_until_the_next_build(shop: Workshop) -> None:
    result = shop.build(tests=(STRICT,), keep_failed=True)
    assert result.status == "smoke-failed"
    (staged,) = shop.staged
    assert shop.runtime.models[staged].system == "Be short."
    assert NAME not in shop.runtime.models
    assert shop.build().status == "built"
    assert shop.runtime.names() == [NAME]
    assert shop.journal.pending() == {}


def test_no_smoke_promotes_untested_and_says_so(shop: Workshop) -> None:
    result = shop.build(smoke=False)
    assert (result.status, result.smoke) == ("built", None)
    assert shop.runtime.chats == []
    (entry,) = shop.journal.entries()
    assert (entry.untested, entry.smoke) == (True, None)
    assert "left out (--no-smoke): promoted untested" in shop.heard.texts


def test_what_was_promoted_untested_is_tested_by_the_next_build(shop: Workshop) -> None:
    shop.build(smoke=False)
    assert shop.build(smoke=False).status == "unchanged"
    result = shop.build()
    assert result.status == "unchanged"
    assert result.smoke is not None
    assert [entry.event for entry in shop.journal.entries()] == ["promoted", "tested"]


def test_without_tests_it_is_promoted_with_a_warning_and_nothing_is_loaded(shop: Workshop) -> None:
    result = shop.build(tests=())
    assert (result.status, result.smoke) == ("built", None)
    assert "coder has no [[smoke]] tests: promoted untested" in shop.heard.texts
    assert shop.runtime.called("chat") == []
    assert shop.build(tests=()).status == "unchanged"


def test_a_model_that_cannot_be_loaded_is_not_promoted(shop: Workshop) -> None:
    shop.runtime.answers["ok?"] = SmokeFailed("out of memory")
    result = shop.build()
    assert (result.status, code_of(result)) == ("smoke-failed", ExitCode.SMOKE_FAILED)
    assert "out of memory" in str(result.error)
    assert shop.runtime.names() == []


def test_a_pick_that_is_too_large_for_this_machine_is_untested(shop: Workshop) -> None:
    result = shop.build(here=False, memory_here=1 * GIB)
    assert (result.status, code_of(result)) == ("smoke-failed", ExitCode.SMOKE_FAILED)
    assert "untested" in str(result.error)
    assert shop.runtime.names() == []
    assert shop.runtime.chats == []
    assert shop.build(here=False, memory_here=1 * GIB, smoke=False).status == "built"


def test_the_tests_get_the_profiles_parameters_and_the_plans_context(shop: Workshop) -> None:
    order = shop.order()
    order = replace(order, profile=replace(order.profile, parameters=Parameters(top_k=7)))
    build(order, shop.bench())
    options = shop.runtime.chats[0][1].options
    assert (options["top_k"], options["num_ctx"]) == (7, 16384)


# -- what goes wrong -----------------------------------------------------------------------------------


def test_a_create_that_fails_leaves_the_old_model_and_nothing_else(shop: Workshop) -> None:
    shop.build()
    shop.runtime.fail("create", BuildFailed("no space left on device"), when="after")
    result = shop.build("Be long.")
    assert (result.status, code_of(result)) == ("failed", ExitCode.BUILD_FAILED)
    assert "no space left on device" in str(result.error)
    assert shop.runtime.names() == [NAME]
    assert shop.system == "Be short."
    assert shop.journal.pending() == {}


@pytest.mark.parametrize("method", ["create", "chat", "unload", "copy"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_takes_the_staged_model_away(shop: Workshop, method: str, when: When) -> None:
    shop.build()
    shop.runtime.fail(method, KeyboardInterrupt(), when=when)
    with pytest.raises(KeyboardInterrupt):
        shop.build("Be long.")
    assert shop.staged == []
    assert shop.system == "Be short."
    assert shop.journal.pending() == {}
    assert [entry.event for entry in shop.journal.entries()] == ["promoted"]
    assert shop.build("Be long.").status == "built"


def test_ctrl_c_in_the_copy_over_the_name_leaves_one_whole_model(shop: Workshop) -> None:
    shop.build()
    shop.runtime.fail("copy", KeyboardInterrupt(), nth=2, when="after")  # the first keeps what stands
    with pytest.raises(KeyboardInterrupt):
        shop.build("Be long.")
    assert shop.staged == []
    assert shop.system == "Be long."
    result = shop.build("Be long.")
    assert result.status == "unchanged"
    assert shop.journal.entries()[-1].event == "tested"


def test_a_journal_that_cannot_be_written_undoes_nothing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_journal: Journal, _entry: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "append", full)
    assert shop.build().status == "built"
    assert shop.system == "Be short."
    assert any("history will not know" in text for text in shop.heard.texts)


def steps_of_a_build(tmp_path: Path, when: When, *, first: bool) -> list[int]:
    """The numbers of a build's calls, so that each can be the last one; "broken" is for those that write a name."""
    runtime = FakeRuntime()
    shop = Workshop(runtime=runtime, journal=Journal(tmp_path / "count", runtime.info))
    if not first:
        shop.build()
    before = len(runtime.calls)
    assert shop.build("Be long.").status == "built"
    calls = [call[0] for call in runtime.calls[before:]]
    assert len(calls) > 8
    return [nth for nth, call in enumerate(calls, 1) if when != "broken" or call in {"create", "copy"}]


@pytest.mark.parametrize("first", [True, False], ids=["first build", "later build"])
@pytest.mark.parametrize("when", ["before", "after", "broken"])
def test_a_server_that_dies_at_any_call(tmp_path: Path, when: When, *, first: bool) -> None:
    for nth in steps_of_a_build(tmp_path, when, first=first):
        runtime = FakeRuntime()
        shop = Workshop(runtime=runtime, journal=Journal(tmp_path / f"{nth}", runtime.info))
        old = None
        if not first:
            shop.build()
            old = replace(runtime.models[NAME], manifest="")
        runtime.fail("*", Unreachable("connection reset by peer"), nth=nth, when=when)
        result = shop.build("Be long.")
        where = f"{when} call {nth}: {runtime.calls[nth - 1]}"
        if result.error is None:  # the fake has no effect to fail after in these
            assert result.status == "built", where
        else:
            assert code_of(result) in {ExitCode.BUILD_FAILED, ExitCode.PROMOTE_FAILED}, where
            assert result.status == "failed", where
        assert_old_or_new_is_there(shop, old, where)
        assert_mended(shop, where)


def assert_old_or_new_is_there(shop: Workshop, old: object, where: str) -> None:
    """Under the name, or, where the server died in the copy, kept for the repair."""
    if old is None:
        return
    standing = shop.runtime.models.get(NAME)
    if standing is not None:
        assert replace(standing, manifest="") == old or standing.system == "Be long.", where
    else:
        kept = [replace(shop.runtime.models[name], manifest="") for name in shop.kept]
        assert old in kept, where


def assert_mended(shop: Workshop, where: str) -> None:
    again = shop.build("Be long.")
    assert again.status in {"built", "unchanged"}, where
    assert shop.system == "Be long.", where
    assert shop.staged == [], where
    assert shop.runtime.broken == set(), where
    assert shop.journal.pending() == {}, where
    assert again.smoke is not None, where


@pytest.mark.parametrize("when", ["before", "after", "broken"])
def test_a_server_that_stays_dead(tmp_path: Path, when: When) -> None:
    """From some call on nothing answers any more, so nothing can be tidied up either; the old model comes back."""
    for nth in steps_of_a_build(tmp_path, when, first=False):
        runtime = FakeRuntime()
        shop = Workshop(runtime=runtime, journal=Journal(tmp_path / f"{nth}", runtime.info))
        shop.build()
        runtime.fail("*", Unreachable("connection refused"), nth=nth, when=when, for_good=True)
        result = shop.build("Be long.")
        where = f"{when} call {nth}"
        assert result.error is not None or result.status == "built", where
        if result.error is not None:
            assert code_of(result) in {ExitCode.BUILD_FAILED, ExitCode.PROMOTE_FAILED}, where
        runtime.heal()
        refused = shop.build("Be worse.", tests=(STRICT,))
        assert refused.status == "smoke-failed", where
        assert shop.system in {"Be short.", "Be long."}, where
        assert_mended(shop, where)


# -- two builds of one name ----------------------------------------------------------------------------


class Listening(Heard):
    """Says when the first event has come."""

    def __init__(self, came: threading.Event) -> None:
        super().__init__()
        self.came = came

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        self.came.set()


def test_no_wait_ends_at_once_where_the_name_is_held(shop: Workshop) -> None:
    with shop.journal.hold(NAME, wait=False, on_wait=lambda: None):
        result = shop.build(wait=False)
    assert (result.status, code_of(result)) == ("failed", ExitCode.PROMOTE_FAILED)
    assert "is being built by another modelforge" in str(result.error)
    assert shop.announced == 0
    assert shop.runtime.names() == []


def test_a_build_waits_for_another_and_says_so(shop: Workshop) -> None:
    results: list[BuildResult] = []
    waiting = threading.Event()
    shop.heard = Listening(waiting)
    thread = threading.Thread(target=lambda: results.append(shop.build()))
    with shop.journal.hold(NAME, wait=False, on_wait=lambda: None):
        thread.start()
        assert waiting.wait(5)
        assert shop.heard.texts == ["for another build of coder:latest to end"]
        assert shop.runtime.called("create") == []
    thread.join(5)
    assert [result.status for result in results] == ["built"]


def test_what_another_build_made_meanwhile_is_not_made_again(shop: Workshop) -> None:
    results: list[BuildResult] = []
    waiting = threading.Event()
    shop.heard = Listening(waiting)
    thread = threading.Thread(target=lambda: results.append(shop.build()))
    with shop.journal.hold(NAME, wait=False, on_wait=lambda: None):
        thread.start()
        assert waiting.wait(5)
        made = shop.runtime.create(some_rendered(system="Be short."), NAME, Heard())
        shop.journal.append(promoted(shop, made.manifest))
    thread.join(5)
    assert [result.status for result in results] == ["unchanged"]
    assert len(shop.runtime.called("create")) == 1
    assert shop.announced == 0


def promoted(shop: Workshop, manifest: str) -> JournalEntry:
    """The journal's line of the other build, with a report that passed."""
    return an_entry(
        name=NAME,
        content=digest("Be short."),
        tests=digest_of_tests((GOOD,)),
        manifest=manifest,
        smoke=smoke_dict(SmokeReport(results=(a_result(),))),
        endpoint=shop.runtime.info.endpoint,
    )


def test_builds_of_other_names_do_not_wait(shop: Workshop) -> None:
    with shop.journal.hold("reviewer:latest", wait=False, on_wait=lambda: None):
        assert shop.build(wait=False).status == "built"


def test_an_existing_names_spelling_is_reused(shop: Workshop) -> None:
    shop.runtime.stand("Coder:latest", some_standing(system="old"))
    assert shop.build().status == "built"
    assert [name for name in shop.runtime.names() if not name.startswith("modelforge/")] == ["Coder:latest"]


def test_a_state_folder_that_cannot_be_written_stops_the_build_before_anything_is_staged(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_words: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modelforge.journal._write_whole", full)
    monkeypatch.setattr(Journal, "machine", lambda _self: "01234567")
    result = shop.build()
    assert (result.status, code_of(result)) == ("failed", ExitCode.BUILD_FAILED)
    assert "state folder" in str(result.error)
    assert shop.runtime.called("create") == []
