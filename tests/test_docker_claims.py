"""Whose a container is, and when it counts as left behind."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from modelforge.errors import UsageProblem
from modelforge.runtimes.docker.claims import STALE_SECONDS, Claims
from modelforge.runtimes.docker.engine import Declined, Found
from modelforge.runtimes.docker.spec import LABEL, MACHINE_LABEL
from tests.engines import FakeEngine

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.runtimes.docker.engine import Engine

MINE = Found(id="c1", claim="0123", machine="me", created=1000.0)


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(tmp_path / "containers", "me")


def sweep(claims: Claims, engine: FakeEngine, now: float = 2000.0) -> int:
    return claims.sweep(cast("Engine", engine), now=now)


def test_a_dead_commands_container_is_taken_away(claims: Claims, tmp_path: Path) -> None:
    engine = FakeEngine(standing=[MINE])
    assert sweep(claims, engine) == 1
    assert engine.removed == ["c1"]
    assert list((tmp_path / "containers").iterdir()) == []


def test_a_living_commands_container_stays(claims: Claims, tmp_path: Path) -> None:
    with claims.claim() as token:
        assert claims.labels(token) == {LABEL: token, MACHINE_LABEL: "me"}
        engine = FakeEngine(standing=[replace(MINE, claim=token)])
        assert sweep(Claims(tmp_path / "containers", "me"), engine) == 0
        assert engine.removed == []
    assert sweep(claims, engine) == 1
    assert list((tmp_path / "containers").iterdir()) == []


def test_a_claim_without_a_container_is_forgotten_after_a_while(claims: Claims, tmp_path: Path) -> None:
    folder = tmp_path / "containers"
    with claims.claim() as held:
        for name in (held, "dead", "fresh"):
            file = folder / f"{name}.lock"
            file.touch()
            os.utime(file, (1000.0, 1000.0 if name != "fresh" else 1990.0))
        sweep(claims, FakeEngine(), now=2000.0)
        assert {file.stem for file in folder.iterdir()} == {held, "fresh"}


def test_another_machines_container_stays_for_a_day(claims: Claims) -> None:
    engine = FakeEngine(standing=[replace(MINE, machine="other")])
    assert sweep(claims, engine, now=1000.0 + STALE_SECONDS) == 0
    assert sweep(claims, engine, now=1001.0 + STALE_SECONDS) == 1


def test_one_that_cannot_be_removed_now_is_left_to_the_next(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decline(*_words: object, **_more: object) -> None:
        raise Declined(409, "removal of container is already in progress")

    engine = FakeEngine(standing=[MINE])
    monkeypatch.setattr(engine, "remove", decline)
    assert sweep(claims, engine) == 1


def test_a_state_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with (
        pytest.raises(UsageProblem, match=r"state folder .* cannot be used"),
        Claims(tmp_path / "state" / "containers", "me").claim(),
    ):
        pass
