"""smoke, run, rollback, history: what is done with models that stand."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Commands
    from tests.fakes import FakeRuntime


@pytest.fixture
def built(forge: Commands) -> Commands:
    assert forge("build", "coder").code == 0
    return forge


# -- smoke ---------------------------------------------------------------------------------------------


def test_smoke_runs_the_tests_and_builds_nothing(built: Commands, runtime: FakeRuntime) -> None:
    creates = runtime.called("create")
    done = built("smoke", "coder")
    assert (done.code, done.out) == (0, "coder:latest: 1 passed\n")
    assert "✓ says ok" in done.err
    assert runtime.called("create") == creates


def test_smoke_that_fails(built: Commands, runtime: FakeRuntime, tmp_path: Path) -> None:
    runtime.default = "no"
    done = built("smoke", "coder", "--junit", str(tmp_path / "junit.xml"))
    assert (done.code, done.out) == (8, "")
    assert done.err.count("got       no") == 1
    assert "<failure" in (tmp_path / "junit.xml").read_text()
    document = built("smoke", "coder", "--json").document
    assert (document["name"], document["exit_code"], document["smoke"]["failed"]) == ("coder:latest", 8, 1)


def test_a_junit_file_that_cannot_be_written_is_said(built: Commands, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = built("smoke", "coder", "--junit", str(tmp_path / "file" / "junit.xml"))
    assert done.code == 2
    assert "junit.xml cannot be written: " in done.err
    assert "bug" not in done.err


def test_smoke_of_what_does_not_stand(forge: Commands) -> None:
    done = forge("smoke", "coder", "-H", "rtx-4090")
    assert done.code == 2
    assert "coder:rtx-4090 does not stand" in done.err
    assert "modelforge build coder" in done.err


# -- run -----------------------------------------------------------------------------------------------


def test_run_streams_the_answer_alone(built: Commands, runtime: FakeRuntime) -> None:
    runtime.answers["Hi"] = "Hello."
    done = built("run", "coder", "Hi")
    assert (done.code, done.out, done.err) == (0, "Hello.\n", "")


def test_run_reads_the_prompt_from_a_pipe(
    built: Commands, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.answers["From a pipe\n"] = "Good."
    monkeypatch.setattr("sys.stdin", io.StringIO("From a pipe\n"))
    assert built("run", "coder").out == "Good.\n"


def test_run_on_a_terminal_without_a_prompt(built: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    done = built("run", "coder")
    assert done.code == 2
    assert 'modelforge run NAME "Who are you?"' in done.err


def test_run_as_a_document(built: Commands) -> None:
    document = built("run", "coder", "Hi", "--json").document
    assert (document["name"], document["reply"], document["done_reason"]) == ("coder:latest", "ok", "stop")


# -- rollback and history ------------------------------------------------------------------------------


def test_rollback_there_and_back(built: Commands, runtime: FakeRuntime) -> None:
    built.edit("profiles/coder.toml", "Be short.", "Be long.")
    built("build", "coder")
    done = built("rollback", "coder")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].startswith("coder:latest is the ")
    assert runtime.models["coder:latest"].system == "Be short."
    entry = built("rollback", "coder:latest", "--json").document["entry"]
    assert (entry["event"], entry["name"]) == ("rolled-back", "coder:latest")
    assert runtime.models["coder:latest"].system == "Be long."


def test_rollback_with_nothing_kept(built: Commands) -> None:
    done = built("rollback", "coder")
    assert (done.code, done.out) == (9, "")
    assert "nothing is kept for coder:latest" in done.err


def test_history_is_newest_first(built: Commands) -> None:
    built.edit("profiles/coder.toml", "Be short.", "Be long.")
    built("build", "coder", "--no-smoke")
    done = built("history", "coder")
    assert (done.code, done.err) == (0, "")
    newest, oldest = done.out.splitlines()
    assert "untested" in newest
    assert "1 passed" in oldest
    entries = built("history", "coder", "--json").document["entries"]
    assert [entry["untested"] for entry in entries] == [True, False]


def test_history_of_nothing(forge: Commands) -> None:
    done = forge("history", "coder")
    assert (done.code, done.out) == (0, "nothing is known of coder:latest\n")
