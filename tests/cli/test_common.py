"""What holds for every command: flags on both sides, one JSON document, exit codes, help, stdout for data only."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import pytest

from modelforge.cli import COMMANDS, FIRST_SCREEN, cli
from modelforge.cli.flags import Flags
from modelforge.errors import UsageProblem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Commands

# A command line that succeeds, after a build; the schema of its document.
SUCCEEDS = {
    "init": (("init", "fresh"), "init"),
    "list": (("list",), "list"),
    "validate": (("validate",), "validate"),
    "hardware": (("hardware", "rtx-4090"), "hardware"),
    "resolve": (("resolve", "coder", "-H", "rtx-4090"), "resolve"),
    "render": (("render", "coder"), "render"),
    "build": (("build", "coder"), "build"),
    "dry-run": (("build", "coder", "--dry-run"), "dry-run"),
    "smoke": (("smoke", "coder"), "smoke"),
    "run": (("run", "coder", "Hi"), "run"),
    "rollback": (("rollback", "coder"), "rollback"),
    "history": (("history", "coder"), "history"),
    "completion": (("completion", "bash"), "completion"),
}
FAILS = {
    "build": (("build", "codr"), 2),
    "select": (("build", "--select", "x*"), 3),
    "resolve": (("resolve", "coder", "-H", "1MiB"), 4),
    "render": (("render", "coder", "-H", "1MiB"), 4),
    "smoke": (("smoke", "reviewer"), 8),
    "run": (("run", "nothing", "Hi"), 2),
    "rollback": (("rollback", "coder"), 9),
    "hardware": (("hardware", "rtx-409"), 2),
    "validate": (("validate", "codr"), 2),
    "flag": (("list", "--frobnicate"), 2),
    "command": (("frobnicate",), 2),
    "completion": (("completion", "tcsh"), 2),
    "folder": (("-C", "/nowhere", "list"), 2),
}


@pytest.fixture
def built(forge: Commands) -> Commands:
    assert forge("build", "coder").code == 0
    forge.edit("profiles/coder.toml", "Be short.", "Be long.")
    assert forge("build", "coder").code == 0
    return forge


@pytest.mark.parametrize("command", SUCCEEDS)
def test_json_is_one_document_before_and_after_the_command(built: Commands, command: str) -> None:
    words, schema = SUCCEEDS[command]
    last = "other" if command == "init" else words[-1]
    for line in (("--json", *words), (*words[:-1], last, "--json")):
        done = built(*line)
        assert done.code == 0, done.err
        document = done.document
        assert list(document)[:3] == ["schema", "exit_code", "errors"]
        assert document["schema"] == f"modelforge.{schema}/1"
        assert (document["exit_code"], document["errors"]) == (0, [])


@pytest.mark.parametrize("command", FAILS)
def test_a_failure_is_one_document_too(forge: Commands, command: str) -> None:
    words, code = FAILS[command]
    done = forge(*words, "--json")
    assert done.code == code, done.err
    document = done.document
    assert document["exit_code"] == code
    assert document["schema"].startswith("modelforge.")
    error = document["errors"][0]
    assert set(error) == {"kind", "message", "file", "line", "column", "expected", "hint"}
    assert error["kind"]
    assert error["message"]


@pytest.mark.parametrize("command", [name for name in FAILS if name != "resolve"])  # its data tells why
def test_a_failure_is_told_on_stderr(forge: Commands, command: str) -> None:
    words, code = FAILS[command]
    done = forge(*words)
    assert done.code == code
    assert done.err.strip()
    assert "Traceback" not in done.err
    assert "bug" not in done.err
    assert done.out == ""


@pytest.mark.parametrize("command", [name for name in SUCCEEDS if name not in {"init", "build"}])
def test_quiet_leaves_the_data(built: Commands, command: str) -> None:
    words, _ = SUCCEEDS[command]
    done = built(*words, "-q")
    assert (done.code, done.err) == (0, "")
    assert done.out == built("-q", *words).out or command == "rollback"


def test_quiet_builds_say_nothing(built: Commands) -> None:
    built.edit("profiles/coder.toml", "Be long.", "Be terse.")
    done = built("build", "coder", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_folder_may_be_given_on_both_sides(forge: Commands, tmp_path: Path, place: str) -> None:
    other = tmp_path / "project" / "other"
    (other / "profiles").mkdir(parents=True)
    (other / "modelforge.toml").write_text("")
    (other / "profiles" / "lonely.toml").write_text('[base]\nmodel = "x"\n')
    words = ("-C", "other", "list") if place == "before" else ("list", "-C", "other")
    done = forge(*words)  # below the project's own -C, as git does it
    assert done.out.split()[0] == "lonely"


def test_common_flags_are_the_same_everywhere() -> None:
    expected = [parameter.opts for parameter in cli.params if parameter.name not in {"help", "version"}]
    for name in COMMANDS:
        own = [parameter.opts for parameter in command(name).params]
        for opts in expected:
            assert opts in own, (name, opts)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_help_says(forge: Commands, name: str) -> None:
    words = COMMANDS[name][1]
    assert (command(name).help or "").split("\n")[0] == words
    done = forge(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert words in done.out
    assert f"  {name} " in forge("--help").out


def command(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN201 (click's command)
    return getattr(import_module(f"modelforge.cli.{COMMANDS[name][0]}"), f"{name}_command")


def test_alone_it_shows_where_to_begin(forge: Commands) -> None:
    done = forge()
    assert (done.code, done.out, done.err) == (0, FIRST_SCREEN, "")


def test_the_version(forge: Commands) -> None:
    done = forge("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("modelforge ")


@pytest.mark.parametrize(
    ("word", "meant"), [("biuld", "build"), ("rolback", "rollback"), ("list-all", "list")]
)
def test_an_unknown_command_suggests_one(forge: Commands, word: str, meant: str) -> None:
    done = forge(word)
    assert done.code == 2
    assert done.err.startswith(f"there is no command '{word}'; did you mean '{meant}'?")


def test_debug_shows_where_an_error_comes_from(forge: Commands) -> None:
    assert "Traceback" in forge("resolve", "codr", "--debug").err
    assert "Traceback" not in forge("resolve", "codr").err


def test_a_bug_says_so_and_keeps_its_traceback(
    forge: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_words: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("modelforge.overview.validate", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = forge("validate", "--json")
    assert done.code == 1
    assert done.document["errors"][0]["kind"] == "internal"
    (log,) = tmp_path.glob("modelforge-*.log")
    assert "ZeroDivisionError" in log.read_text()
    assert str(log) in done.err


def test_ctrl_c_has_its_own_code(forge: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("modelforge.overview.validate", interrupted)
    done = forge("validate", "--json")
    assert done.code == 130
    assert done.document["errors"][0]["kind"] == "interrupted"
    assert "Traceback" not in done.err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_code_on_the_way_makes_something_else_of(
    forge: Commands, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """As pydantic does where it makes a validator meanwhile."""

    def wraps(*_words: object) -> None:
        try:
            signal.raise_signal(how)
        except KeyboardInterrupt as error:
            message = "KeyboardInterrupt: "
            raise ValueError(message) from error

    monkeypatch.setattr("modelforge.overview.validate", wraps)
    done = forge("validate", "--json")
    assert (done.code, done.document["errors"][0]["kind"]) == (130, "interrupted")
    assert "bug" not in done.err


def test_streams_that_were_closed_before_the_start(forge: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    done = forge("list")
    assert done.code == 0
    for stream in (sys.stdout, sys.stderr):
        stream.close()


def test_a_working_directory_that_is_gone(forge: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> NoReturn:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("modelforge.cli.flags.Path.cwd", gone)
    with pytest.raises(UsageProblem, match="the working directory is gone"):
        Flags().start()
    assert forge("list").code == 0  # -C names another


def test_a_user_without_a_home(forge: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> NoReturn:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("modelforge.cli.site.Path.home", none)
    done = forge("list")
    assert done.code == 2
    assert "this user has no home folder\n  set HOME" in done.err
