"""Ctrl-C and SIGTERM at several instants of a build, readers who go away, and two builds of one name."""

from __future__ import annotations

import json
import signal
import subprocess  # noqa: TID251 (the program under test is started here)
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.live.forge import Forge, quickstart
from tests.live.test_build_live import ANSWER, NAME, PROMPT, answer, names
from tests.live.test_kills_live import touch_profile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.servers import Server

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Where in a build it is interrupted, counted from its first words."""


@pytest.fixture
def forge(server: Server, tmp_path: Path) -> Forge:
    return quickstart(tmp_path / "forge", OLLAMA_HOST=server.host, MODELFORGE_RUNTIME="ollama")


@pytest.fixture
def own(tmp_path: Path) -> Forge:
    """With a store of its own instead of a server."""
    return quickstart(tmp_path / "forge")


def seconds_of_work(forge: Forge) -> float:
    """How long a build works after its first words."""
    with forge.start("build", NAME) as process:
        assert process.stderr is not None
        process.stderr.readline()
        start = time.monotonic()
        process.communicate()
    assert process.returncode == 0
    return time.monotonic() - start


def interrupted(forge: Forge, how: signal.Signals, after: float) -> tuple[int, str]:
    """A build that gets a signal so many seconds after its first words: its exit code and what it said."""
    with forge.start("build", NAME) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        time.sleep(after)
        process.send_signal(how)
        _out, rest = process.communicate(timeout=60)
    return process.returncode, first + rest


def pending(forge: Forge) -> list[Path]:
    return list((forge.folder / "state").glob("endpoints/*/pending/*"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_on_a_server(server: Server, forge: Forge, how: signal.Signals) -> None:
    assert forge.run("build", NAME).code == 0
    touch_profile(forge, 1)
    whole = seconds_of_work(forge)
    codes = []
    for number, share in enumerate(SHARES):
        touch_profile(forge, number + 2)
        code, said = interrupted(forge, how, share * whole)
        codes.append(code)
        assert code in {0, 130}, said
        assert "Traceback" not in said
        if code == 130:
            assert f"interrupted while {NAME}:latest was built" in said
        assert not {name for name in names(server) if name.startswith("modelforge/staged")}, share
        assert pending(forge) == [], share
        assert ANSWER in answer(server)
    assert 130 in codes[:3]
    assert forge.run("build", NAME).code == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_in_an_own_store(own: Forge, how: signal.Signals) -> None:
    assert own.run("build", NAME).code == 0
    touch_profile(own, 1)
    whole = seconds_of_work(own)
    codes = []
    for number, share in enumerate(SHARES[::2]):
        touch_profile(own, number + 2)
        code, said = interrupted(own, how, share * whole)
        codes.append(code)
        assert code in {0, 130}, said
        assert "Traceback" not in said
        assert not list((own.store / "manifests").glob("*/modelforge/staged/*")), share
        assert pending(own) == [], share
        assert ANSWER in own.run("run", NAME, PROMPT).out
    assert 130 in codes


def test_an_interrupted_build_ends_its_model_process(own: Forge) -> None:
    with own.start("build", NAME) as process:
        assert process.stderr is not None
        while "✓" not in process.stderr.readline():  # the first answer, of four
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(own.folder) not in running


def test_an_interrupted_json_build_is_one_document(forge: Forge) -> None:
    with forge.start("build", NAME, "--json") as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _err = process.communicate(timeout=60)
    assert process.returncode == 130
    document = json.loads(out)
    assert (document["schema"], document["exit_code"]) == ("modelforge.error/1", 130)
    assert document["errors"][0]["kind"] == "interrupted"


def test_a_waiting_build_can_be_interrupted_and_the_first_goes_on(own: Forge) -> None:
    first = own.start("build", NAME, "--json")
    assert first.stderr is not None
    first.stderr.readline()
    with own.start("build", NAME) as second:
        assert second.stderr is not None
        said = second.stderr.readline()
        second.send_signal(signal.SIGINT)
        _out, rest = second.communicate(timeout=60)
    out, _err = first.communicate(timeout=120)
    assert json.loads(out)["variants"][0]["status"] == "built"
    if second.returncode != 0:  # 0: the first had ended before
        assert second.returncode == 130
        assert "for another build" in said, said + rest
        assert "Traceback" not in rest


def test_two_builds_of_one_name_in_an_own_store(own: Forge) -> None:
    both = [own.start("build", NAME, "--json") for _ in range(2)]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert sorted(json.loads(out)["variants"][0]["status"] for out, _err in ends) == ["built", "unchanged"]
    assert ANSWER in own.run("run", NAME, PROMPT).out


# -- readers who go away -------------------------------------------------------------------------------


def start(forge: Forge, *words: str, shell: str = "", both: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "modelforge", "-C", str(forge.project), *words]
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {shell}', "sh", *command],
        env=forge.variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if both else subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=forge.folder,
    )


@pytest.mark.parametrize("words", [("build", NAME), ("build", NAME, "--json")])
def test_a_reader_that_goes_away_undoes_nothing(own: Forge, words: tuple[str, ...]) -> None:
    with start(own, *words, both=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(120) == 0
    done = own.run(*words)
    assert done.code == 0
    assert "up to date" in done.err or done.document["variants"][0]["status"] == "unchanged"


@pytest.mark.parametrize(
    "words", [("list",), ("hardware",), ("hardware", "--json"), ("--help",), ("history", NAME)]
)
def test_a_reader_that_takes_one_line(own: Forge, words: tuple[str, ...]) -> None:
    with start(own, *words) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 0
    assert said == ""


@pytest.mark.parametrize("shell", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(own: Forge, shell: str) -> None:
    with start(own, "build", NAME, "--no-smoke", shell=shell) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "Traceback" not in out + err
    assert own.run("list").out.count("✓") == 1


EARLY = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.{name})
sys.meta_path.insert(0, Interrupt())
sys.argv = ["modelforge", "--version"]
from modelforge.__main__ import main
main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_of_the_import_has_no_traceback(name: str) -> None:
    program = EARLY.replace("{name}", name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


WITHIN_TEXT = """
from modelforge import overview
from modelforge.__main__ import main
def interrupted(*_words, **_more):
    exec("raise KeyboardInterrupt")
overview.validate = interrupted
main()
"""


def test_an_interrupt_of_code_that_is_made_of_text_ends_with_130_too(own: Forge) -> None:
    """As where it meets a dataclass that is being made; CPython would end us by SIGINT."""
    (own.folder / "within.py").write_text(WITHIN_TEXT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "within", "-C", str(own.project), "validate"],
        env=own.variables(),
        cwd=own.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ninterrupted\n")
