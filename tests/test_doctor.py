from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from modelforge import doctor
from modelforge.errors import Unreachable
from tests.projects import place

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.finding import Finding


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_site: object) -> NoReturn:
        raise Unreachable("No Ollama answers.", hint="ollama serve")

    monkeypatch.setattr("modelforge.runtimes.choose.open_ollama", nobody)


def findings(folder: Path, **flags: str) -> tuple[Finding, ...]:
    return doctor.examine(place(folder).site(flags))


def bad(folder: Path, **flags: str) -> str:
    return "\n".join(f"{one.text}|{one.remedy}" for one in findings(folder, **flags) if not one.good)


def test_only_the_runtime_that_is_wanted_is_looked_at(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    assert "No Ollama answers.|ollama serve" in bad(tmp_path / "a", store=store)
    assert "No Ollama answers.|ollama serve" in bad(tmp_path / "b", store=store, runtime="ollama")
    assert "No Ollama answers." not in bad(tmp_path / "c", store=store, runtime="embedded")
    told = findings(tmp_path / "d", store=store, runtime="ollama")
    assert not [one for one in told if "embedded" in one.text]


def test_a_store_that_cannot_be_used_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    told = bad(tmp_path / "a", store=str(tmp_path / "file" / "store"))
    assert f"cannot be used ({tmp_path / 'file'} is no folder)|name a store of your own" in told
    monkeypatch.setattr(os, "access", lambda *_what: False)
    told = bad(tmp_path / "b", store=str(tmp_path / "store"))
    assert f"cannot be used ({tmp_path} is not writable for this user)" in told


def test_one_profile_is_one(tmp_path: Path) -> None:
    assert findings(tmp_path)[0].text == f"1 profile in {tmp_path / 'project'}, valid"
