from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from modelforge.console import Console
from modelforge.errors import ProfileProblem, Unreachable, UsageProblem
from modelforge.events import Progress, Stage, Step

GB = 10**9


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that a test moves on."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Case:
    """A console over strings."""

    def __init__(
        self, *, out: io.StringIO | None = None, err: io.StringIO | None = None, **flags: Any
    ) -> None:
        self.out, self.err = out or io.StringIO(), err or io.StringIO()
        self.clock = Clock()
        given = {"json": False, "quiet": 0, "verbose": 0, "color": False, "terminal": False, "ci": False}
        self.console = Console(self.out, self.err, **{**given, **flags}, clock=self.clock)

    @property
    def data(self) -> str:
        return self.out.getvalue()

    @property
    def talk(self) -> str:
        return self.err.getvalue()


def progress(done: float, total: float | None = 12.0, stage: Stage = "create") -> Progress:
    return Progress(
        stage=stage, text="weights", done=int(done * GB), total=None if total is None else int(total * GB)
    )


def test_data_goes_to_stdout_and_talk_to_stderr() -> None:
    case = Case()
    case.console.show(["a", "b"])
    case.console.talk(["c"])
    assert (case.data, case.talk) == ("a\nb\n", "c\n")


def test_json_prints_one_document_and_no_other_data() -> None:
    case = Case(json=True)
    case.console.show(["for people"])
    case.console.stream("for people")
    case.console.emit(Step(stage="create", text="ollama"))
    case.console.document({"schema": "x/1", "a": "ä✓"})
    case.console.error(Unreachable("gone"))
    assert list(json.loads(case.data)) == ["schema", "a"]
    assert "ä✓" in case.data
    assert case.talk == "  create    ollama\ngone\n"


def test_an_error_is_the_document_where_there_is_none() -> None:
    case = Case(json=True)
    case.console.error(Unreachable("no Ollama answers", hint="start it: ollama serve"))
    document = json.loads(case.data)
    assert (document["schema"], document["exit_code"]) == ("modelforge.error/1", 10)
    assert document["errors"][0]["hint"] == "start it: ollama serve"


def test_an_error_shows_its_hint_below() -> None:
    case = Case(quiet=2)
    case.console.error(ProfileProblem("no such profile", hint="did you mean 'coder'?\nor: modelforge list"))
    assert case.talk == "no such profile\n  did you mean 'coder'?\n  or: modelforge list\n"
    assert case.data == ""


def test_steps_name_their_stage_once() -> None:
    case = Case()
    for step in (
        Step(stage="create", text="ollama 0.32.15"),
        Step(stage="smoke", text="✓ adds"),
        Step(stage="smoke", text="✗ sums\n  got       4", kind="bad"),
        Step(stage="promote", text="untested", kind="warning"),
    ):
        case.console.emit(step)
    assert case.talk.splitlines() == [
        "  create    ollama 0.32.15",
        "  smoke     ✓ adds",
        "            ✗ sums",
        "              got       4",
        "  promote   warning: untested",
    ]


@pytest.mark.parametrize(
    ("quiet", "told"),
    [
        pytest.param(0, "talk|  smoke     good|            bad|", id="all"),
        pytest.param(1, "  smoke     bad|", id="-q"),
        pytest.param(2, "", id="-qq"),
    ],
)
def test_quiet(quiet: int, told: str) -> None:
    case = Case(quiet=quiet)
    case.console.talk(["talk"])
    case.console.emit(Step(stage="smoke", text="good", kind="good"))
    case.console.emit(Step(stage="smoke", text="bad", kind="bad"))
    case.console.show(["data"])
    assert (case.talk.replace("\n", "|"), case.data) == (told, "data\n")


def test_off_a_terminal_progress_is_a_line_for_a_tenth_but_none_sooner_than_5_s() -> None:
    case = Case()
    for second in range(121):
        case.clock.now = float(second)
        case.console.emit(progress(second / 10))
    lines = case.talk.splitlines()
    assert lines[0] == "  create    weights   10 %  1.2/12.0 GB"
    assert lines[-1] == "            weights  100 %  12.0/12.0 GB"
    assert len(lines) == 10


def test_off_a_terminal_what_is_done_at_once_is_not_told() -> None:
    case = Case()
    for step in range(11):
        case.clock.now = step / 10
        case.console.emit(progress(step))
    case.console.emit(progress(12))
    assert case.talk == ""


def test_off_a_terminal_slow_progress_is_told_every_minute() -> None:
    case = Case()
    for second in range(0, 200, 5):
        case.clock.now = float(second)
        case.console.emit(progress(second / 1000))
    assert len(case.talk.splitlines()) == 3


def test_off_a_terminal_an_unknown_total_is_told_by_time() -> None:
    case = Case()
    for second in range(12):
        case.clock.now = float(second)
        case.console.emit(progress(second, total=None))
    assert case.talk.splitlines() == ["  create    weights  5.0 GB", "            weights  10.0 GB"]


def test_on_a_terminal_there_is_a_bar_that_ends_before_the_next_line() -> None:
    case = Case(terminal=True, err=Screen())
    case.console.emit(Step(stage="create", text="ollama"))
    for done in (1, 6, 12):
        case.clock.now += 1
        case.console.emit(progress(done))
    case.console.emit(Step(stage="smoke", text="✓ adds"))
    lines = case.talk.splitlines()
    assert lines[0] == "  create    ollama"
    assert "━━━" in lines[-2]
    assert "12.0/12.0 GB" in lines[-2]
    assert lines[-1].endswith("  smoke     ✓ adds")


def test_what_is_done_at_once_gets_no_bar() -> None:
    case = Case(terminal=True, err=Screen())
    for done in (0, 6, 12):
        case.clock.now += 0.1
        case.console.emit(progress(done))
    case.console.emit(Step(stage="create", text="ollama"))
    assert case.talk == "  create    ollama\n"


def test_a_bar_that_is_cut_off_gives_the_cursor_back() -> None:
    case = Case(terminal=True, err=Screen())
    for done in (1, 2):
        case.clock.now += 1
        case.console.emit(progress(done))
    case.console.error(Unreachable("gone"))
    assert case.talk.rindex("\x1b[?25h") > case.talk.rindex("\x1b[?25l")
    assert case.talk.endswith("gone\n")


def test_in_ci_there_is_no_bar_even_on_a_terminal() -> None:
    case = Case(terminal=True, ci=True, err=Screen())
    case.console.emit(progress(1))
    assert case.talk == ""


def test_rich_is_not_loaded_for_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    case = Case()
    case.console.emit(progress(1))
    case.console.talk(["x"])
    assert case.talk == "x\n"


def test_colour_only_adds() -> None:
    plain, coloured = Case(), Case(color=True, out=Screen())
    for case in (plain, coloured):
        case.console.emit(Step(stage="smoke", text="✗ sums", kind="bad"))
    assert "\x1b" not in plain.talk
    assert coloured.talk.replace("\x1b[31m", "").replace("\x1b[0m", "") == plain.talk


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_other_encodings_get_other_signs(encoding: str) -> None:
    raw = io.BytesIO()
    case = Case(err=io.TextIOWrapper(raw, encoding=encoding, write_through=True))  # type: ignore[arg-type]
    case.console.talk(["✓ ✗ ▸ ━ │ 34–44 −7.0 日"])
    assert raw.getvalue().decode(encoding) == "+ x > # | 34-44 -7.0 \\u65e5\n"


def test_json_for_other_encodings_is_ascii() -> None:
    raw = io.BytesIO()
    case = Case(out=io.TextIOWrapper(raw, encoding="ascii", write_through=True), json=True)  # type: ignore[arg-type]
    case.console.document({"a": "日\ud800"})
    assert json.loads(raw.getvalue()) == {"a": "日\ud800"}


def test_what_others_wrote_cannot_act_on_a_terminal() -> None:
    case = Case(out=Screen())
    case.console.show(["a\x1b[2Jb"])
    case.console.talk(["a\x1b[2Jb\tc"])
    case.console.stream("one\n\ttwo\x07")
    assert case.data == "a\\x1b[2Jb\none\n\ttwo\\x07"
    assert case.talk == "a\\x1b[2Jb\tc\n"


def test_off_a_terminal_data_is_exact() -> None:
    raw = io.BytesIO()
    case = Case(out=io.TextIOWrapper(raw, encoding="latin-1", newline=""))  # type: ignore[arg-type]
    case.console.stream("SYSTEM –\x1b[0m\r\n")
    assert raw.getvalue() == "SYSTEM –\x1b[0m\r\n".encode()


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_a_reader_who_leaves_does_not_stop_the_work() -> None:
    case = Case(out=Gone())
    case.console.show(["a"])
    case.console.document({"a": 1})
    case.console.talk(["still here"])
    assert case.talk == "still here\n"


def test_an_output_that_is_full_is_said_once() -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    console = Console(Full(), io.StringIO())
    with pytest.raises(UsageProblem, match="the output cannot be written: No space left on device"):
        console.show(["one"])
    console.show(["two"])


def test_nothing_is_wrapped_or_cut_off_a_terminal() -> None:
    case = Case()
    long = "profiles/coder.toml:14:1: " + "x" * 500
    case.console.talk([long])
    assert case.talk == long + "\n"


def test_a_wait_is_told_in_seconds() -> None:
    case = Case()
    for second in (1, 4, 6):
        case.clock.now = second
        case.console.emit(Progress(stage="load", text="the model", done=second, total=None, unit="s"))
    assert case.talk == "  load      the model  6.0 s\n"
