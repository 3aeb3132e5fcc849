"""What README and the tutorial tell to type is typed, and does what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess  # noqa: TID251 (a shell types the commands)
import sys
import time
from pathlib import Path

import pytest

from tests.documents import ROOT, Block, Typed, blocks, typed

HERE = dict(os.environ)  # before the guards empty it: pip needs to know its index
PASSED_ON = re.compile(r"PIP_.*|.*_proxy|.*_PROXY|SSL_CERT_.*|REQUESTS_CA_BUNDLE")
TUTORIAL = ROOT / "docs" / "tutorial.md"
SECOND_RUN_SECONDS = 10
NUMBER = re.compile(r"\d+(?:\\\.\d+)?")


def shell(line: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and all that a shell line prints."""
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
        timeout=900,
    )
    return done.returncode, done.stdout


def as_user(folder: Path) -> dict[str, str]:
    """The environment of somebody who has just come: an empty home, no Ollama, `modelforge` on PATH."""
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "modelforge"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m modelforge "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    return {
        "PATH": f"{programs}:{HERE['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "OLLAMA_HOST": "127.0.0.1:1",
        **{f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "CACHE", "DATA", "STATE")},
    }


# -- the tutorial ------------------------------------------------------------------------------------


def pattern(line: str) -> re.Pattern[str]:
    """A line of the page as what may really come: any numbers, any blanks, anything for `…`."""
    text = re.sub(r"(\\ )+", r"\\s+", NUMBER.sub(r"[\\d.]+", re.escape(line.rstrip())))
    return re.compile(text.replace("…", ".*"))


def missing(told: Typed, output: str) -> list[str]:
    """The lines that the page tells of and that did not come, in order."""
    lines = iter(output.splitlines())
    wanted = [line for line in told.output if line.strip()]
    return [line for line in wanted if not any(pattern(line).match(real) for real in lines)]


def code_of(block: Block, told: Typed) -> int:
    """The exit code that the page tells: `exit=8` behind a block is that of its last line."""
    last = typed(block)[-1] == told
    return int(block.word("exit") or 0) if last else 0


def test_the_tutorial_word_for_word(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    environment = as_user(tmp_path)
    folder = tmp_path / "work"
    folder.mkdir()
    ran = 0
    for block in blocks(TUTORIAL):
        if name := block.word("append"):
            with (folder / name).open("a", encoding="utf-8") as file:
                file.write(block.text)
            continue
        for told in typed(block) if block.words[:1] == ("console",) else ():
            if told.line.startswith("pip "):
                continue
            if told.line.startswith("cd "):
                folder /= told.line.removeprefix("cd ")
                continue
            code, output = shell(told.line, folder, environment)
            assert code == code_of(block, told), f"$ {told.line}\n{output}"
            assert missing(told, output) == [], f"$ {told.line}\n{output}"
            ran += 1
    assert ran >= 12
    assert not (tmp_path / "home" / ".ollama").exists()


def test_a_line_that_does_not_come_is_missed() -> None:
    told = Typed(line="x", output=("needs 10.7 MiB of 12.0", "", "  2 passed"))
    assert missing(told, "needs 9.4 MiB of 10.0\n  3  passed\n") == []
    assert missing(told, "  3 passed\nneeds 9.4 MiB of 10.0\n") == ["  2 passed"]
    assert missing(told, "needs 9.4 GiB of 10.0\n  3 passed\n") == ["needs 10.7 MiB of 12.0", "  2 passed"]


# -- make quickstart ---------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a clone of this tree as it is would be."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None or shutil.which("make") is None:
        pytest.skip("needs git, make and a checkout")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    folder = tmp_path / "clone"
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    user = "-c user.name=test -c user.email=test@example.com"
    line = f"git init -q && git add -A && git {user} commit -qm clone"
    code, output = shell(line, folder, {"PATH": HERE["PATH"], "HOME": str(tmp_path)})
    assert code == 0, output
    return folder


@pytest.mark.slow
def test_make_quickstart_twice(clone: Path, tmp_path: Path) -> None:
    """The first one installs, from the package index; the second has nothing to do but to answer."""
    environment = as_user(tmp_path)
    del environment["PYTHONPATH"]
    environment |= {name: value for name, value in HERE.items() if PASSED_ON.fullmatch(name)}
    settings = Path(HERE.get("HOME", "/")) / ".config" / "pip" / "pip.conf"
    if settings.is_file():
        environment.setdefault("PIP_CONFIG_FILE", str(settings))
    line = f"make quickstart PYTHON={sys.executable}"
    code, output = shell(line, clone, environment)
    if code != 0 and "Could not find a version" in output:
        pytest.skip("the package index cannot be reached")
    assert code == 0, output
    assert "4 passed" in output
    assert "def reverse" in output
    start = time.monotonic()
    code, output = shell(line, clone, environment)
    seconds = time.monotonic() - start
    assert code == 0, output
    assert "is up to date" in output
    assert seconds <= SECOND_RUN_SECONDS
    assert shell("git status --porcelain", clone, environment) == (0, "")
    assert not (tmp_path / "home" / ".ollama").exists()
