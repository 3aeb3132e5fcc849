"""The journal is a hint: it survives cut lines and strangers, and its locks keep builds apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from modelforge.errors import PromoteFailed, UsageProblem
from modelforge.journal import Journal, JournalEntry, Pending, last_promotion, name_key
from modelforge.runtimes import RuntimeInfo

INFO = RuntimeInfo(kind="ollama", version="0.32.15", endpoint="http://127.0.0.1:11434")
ENTRY = JournalEntry(
    event="promoted",
    time=1.0,
    name="coder:latest",
    runtime="ollama",
    endpoint="http://127.0.0.1:11434",
    version="0.32.15",
    project="/home/me/project",
    profile="coder",
    hardware="this",
    picked="coder:7b",
    commit="",
    plan="sha256:1",
    content="sha256:2",
    manifest="sha256:3",
    replaced="",
    tests="sha256:4",
    smoke=None,
)


def test_the_last_line_about_a_name_is_found_whatever_the_case(tmp_path: Path) -> None:
    journal = Journal(tmp_path, INFO)
    journal.append(ENTRY)
    journal.append(replace(ENTRY, time=2.0))
    journal.append(replace(ENTRY, time=3.0, name="other:latest"))
    last = journal.last("Coder:latest")
    assert last is not None
    assert last.time == 2.0


def test_a_line_that_was_cut_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path, INFO)
    journal.append(ENTRY)
    (file,) = tmp_path.glob("endpoints/*/journal.jsonl")
    file.write_bytes(file.read_bytes() + b'{"event": "promo')
    assert journal.entries() == (ENTRY,)


def test_fields_of_a_newer_version_are_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path, INFO)
    journal.append(ENTRY)
    (file,) = tmp_path.glob("endpoints/*/journal.jsonl")
    file.write_text(file.read_text().replace('{"event"', '{"colour": "red", "event"'))
    assert journal.entries() == (ENTRY,)


def test_endpoints_have_journals_of_their_own(tmp_path: Path) -> None:
    Journal(tmp_path, INFO).append(ENTRY)
    assert Journal(tmp_path, replace(INFO, endpoint="http://gpu-box:11434")).entries() == ()


def test_the_runtime_that_last_promoted_is_found_over_endpoints(tmp_path: Path) -> None:
    store = RuntimeInfo(kind="embedded", version="1", endpoint="/store")
    Journal(tmp_path, INFO).append(replace(ENTRY, time=5.0))
    Journal(tmp_path, store).append(replace(ENTRY, time=9.0, runtime="embedded", project="/home/me/other"))
    here = last_promotion(tmp_path, "coder:latest", project="/home/me/project")
    elsewhere = last_promotion(tmp_path, "coder:latest", project="/somewhere")
    assert here is not None
    assert elsewhere is not None
    assert (here.runtime, elsewhere.runtime) == ("ollama", "embedded")
    assert last_promotion(tmp_path, "nobody:latest", project="") is None


def test_pending_notes_come_back_until_they_are_forgotten(tmp_path: Path) -> None:
    journal = Journal(tmp_path, INFO)
    note = Pending(
        name="coder:latest", staged="modelforge/staged:1", kept="modelforge/kept:2", promoting=True
    )
    journal.note(note)
    assert Journal(tmp_path, INFO).pending() == {name_key("coder:latest"): note}
    journal.forget(name_key("coder:latest"))
    assert journal.pending() == {}


def test_staged_tags_tell_machine_and_name(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "one", INFO)
    other = Journal(tmp_path / "two", INFO)
    tag = journal.staged_tag("coder:latest")
    assert journal.staged_owner(tag) == name_key("coder:latest")
    assert other.staged_owner(tag) is None
    assert journal.staged_tag("coder:latest") != tag


def test_a_held_name_is_refused_or_waited_for(tmp_path: Path) -> None:
    journal, second = Journal(tmp_path, INFO), Journal(tmp_path, INFO)
    with journal.hold("coder:latest", wait=True, on_wait=lambda: None):
        with (
            pytest.raises(PromoteFailed, match="is being built by another"),
            second.hold("coder:latest", wait=False, on_wait=lambda: None),
        ):
            pass
        with second.try_hold(name_key("coder:latest")) as mine:
            assert not mine
        with second.hold("reviewer:latest", wait=False, on_wait=lambda: None):
            pass
    with second.try_hold(name_key("coder:latest")) as mine:
        assert mine


def test_a_state_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageProblem, match=r"state folder .* cannot be used"):
        Journal(tmp_path / "file" / "state", INFO).append(ENTRY)


def test_notes_that_may_not_be_read_are_the_users_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, INFO)
    journal.note(Pending(name="coder:latest", staged="modelforge/staged:1"))

    def forbidden(_path: Path, **_how: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(UsageProblem, match=r"state folder .* cannot be used \(Permission denied\)"):
        journal.pending()
