"""What tells two builds apart: the project's commit here; digests of plan and content in test_pipeline."""

from __future__ import annotations

import subprocess  # noqa: TID251 (makes a repository)
from typing import TYPE_CHECKING

import pytest

from modelforge import identity
from modelforge.errors import BuildFailed
from modelforge.events import Progress
from modelforge.pipeline import plan, rendered
from modelforge.process import Completed
from modelforge.targets import targets
from tests.projects import place

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("done", "commit"),
    [
        (Completed(code=0, stdout="0123abcd-dirty\n", stderr=""), "0123abcd-dirty"),
        (Completed(code=128, stdout="", stderr="fatal: not a git repository"), ""),
    ],
)
def test_the_commit_is_gits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Completed, commit: str
) -> None:
    monkeypatch.setattr(identity, "run", lambda *_words, **_more: done)
    assert identity.commit_of(place(tmp_path).site()) == commit


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_words: object, **_more: object) -> Completed:
        raise BuildFailed("git was not found")

    monkeypatch.setattr(identity, "run", missing)
    assert identity.commit_of(place(tmp_path).site()) == ""


@pytest.mark.processes
def test_a_real_repository(tmp_path: Path) -> None:
    here = place(tmp_path)

    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        done = subprocess.run(
            ["git", *who, *words], cwd=here.root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert identity.commit_of(here.site()) == ""
    git("init", "--quiet")
    git("add", "modelforge.toml", "profiles")
    git("commit", "--quiet", "--message", "x")
    commit = git("rev-parse", "HEAD")
    assert identity.commit_of(here.site()) == commit
    here.write(coder='system = "Another."\n')
    assert identity.commit_of(here.site()) == f"{commit}-dirty"


def test_weights_are_hashed_once_and_told_of(tmp_path: Path) -> None:
    here = place(tmp_path)
    work = here.work()
    (target,) = targets(work, "coder", ("rtx-4090",))
    made = rendered(work, target, plan(work, target))
    identity.content_of(work.site, made)
    told = [event for event in here.heard.events if isinstance(event, Progress)]
    assert told[-1].text == "reading tiny-Q8_0.gguf"
    assert told[-1].done == told[-1].total
