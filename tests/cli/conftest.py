"""A small project with a runtime that is not real, and command lines in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest
from click.shell_completion import BashComplete

from modelforge import models, pipeline
from modelforge.cli import site as cli_site
from modelforge.errors import Unreachable
from modelforge.runtimes import choose
from tests.commands import Commands
from tests.fakes import FakeRuntime
from tests.projects import CODER, LAPTOP, REVIEWER, FakeAccess, place

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.hardware import Hardware
    from modelforge.site import Site


@pytest.fixture
def runtime() -> FakeRuntime:
    """What every command works on here."""
    return FakeRuntime()


@pytest.fixture
def forge(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    runtime: FakeRuntime,
) -> Commands:
    """Commands in a project with the profiles coder and reviewer, on a laptop without a GPU."""

    def nobody(*_words: object) -> NoReturn:
        raise Unreachable("no Ollama answers at 127.0.0.1:11434", hint="start it: ollama serve")

    def laptop() -> Hardware:
        return LAPTOP

    made = place(tmp_path, coder=CODER, reviewer=REVIEWER)
    made.runtime = runtime

    def access(site: Site, *_entry: object) -> FakeAccess:
        return FakeAccess(place=made, real=choose.access_of(site))

    monkeypatch.setattr(cli_site, "access_of", access)
    monkeypatch.setattr(cli_site, "_probe", laptop)
    monkeypatch.setattr(models, "access_for", access)
    monkeypatch.setattr(pipeline, "commit_of", lambda _site: "c0ffee")
    monkeypatch.setattr(choose, "open_ollama", nobody)
    monkeypatch.setattr(BashComplete, "_check_version", lambda *_words: None)  # it starts bash to ask
    return Commands(project=made.root, capture=capsys)
