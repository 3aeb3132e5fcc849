from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from modelforge.process import Background, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.processes

ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath)}
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


def started(folder: Path, script: str) -> Background:
    return Background(["sh", "-c", script], environment=ENVIRONMENT, log=folder / "log")


def wait_for(log: Path, words: str) -> None:
    end = time.monotonic() + 10
    while words not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.005)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_background_program_runs_until_it_is_left(tmp_path: Path) -> None:
    with started(tmp_path, "echo $$; echo trouble >&2; exec sleep 60") as program:
        wait_for(tmp_path / "log", "trouble\n")
        assert program.running()
        code_before = program.exit_code
    assert code_before is None
    assert not program.running()
    assert program.exit_code == -signal.SIGTERM
    number, words = (tmp_path / "log").read_text().split()
    assert words == "trouble"
    assert not is_alive(int(number))


def test_a_background_program_is_ended_by_an_interrupt_of_ours(tmp_path: Path) -> None:
    program = started(tmp_path, "exec sleep 60")
    with pytest.raises(KeyboardInterrupt), program:
        signal.raise_signal(signal.SIGINT)
    assert program.exit_code == -signal.SIGTERM


def test_a_background_program_that_does_not_heed_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Background([sys.executable, "-IS", "-c", STUBBORN], environment={}, log=tmp_path / "log")
    with program:
        wait_for(tmp_path / "log", "deaf")
        process = program._process
        assert process is not None
        wait = process.wait
        monkeypatch.setattr(process, "wait", lambda timeout=None: wait(timeout and 0.01))
    assert program.exit_code == -signal.SIGKILL


@pytest.fixture
def silent_input() -> Iterator[None]:
    """A standard input of ours from which nothing comes, and which does not end."""
    ours, silent = os.dup(0), os.pipe()
    os.dup2(silent[0], 0)
    yield
    os.dup2(ours, 0)
    for number in (ours, *silent):
        os.close(number)


@pytest.mark.usefixtures("silent_input")
def test_a_background_program_has_no_input_and_tells_how_it_ended(tmp_path: Path) -> None:
    with started(tmp_path, "cat && exit 7") as program:
        end = time.monotonic() + 10
        while program.running() and time.monotonic() < end:
            time.sleep(0.005)
        assert program.exit_code == 7
    assert program.exit_code == 7


def test_a_background_program_is_out_of_reach_of_the_terminal(tmp_path: Path) -> None:
    with started(tmp_path, "echo ready; exec sleep 60") as program:
        wait_for(tmp_path / "log", "ready")
        process = program._process
        assert process is not None
        assert os.getsid(process.pid) == process.pid


def test_a_program_that_is_not_there_is_found_missing_on_the_path_it_gets(tmp_path: Path) -> None:
    program = Background(["sh"], environment={"PATH": str(tmp_path)}, log=tmp_path / "log")
    with pytest.raises(FileNotFoundError), program:
        pass
    assert not program.running()
    assert program.exit_code is None


@pytest.mark.parametrize(("text", "heard"), [(None, "[]"), ("", "[]"), ("a host\n", "[a host]")])
def test_a_program_that_runs_to_its_end_hears_what_it_is_told(text: str | None, heard: str) -> None:
    done = run(["sh", "-c", 'read -r line; echo "[$line]"'], environment=ENVIRONMENT, text=text)
    assert (done.code, done.stdout) == (0, f"{heard}\n")
