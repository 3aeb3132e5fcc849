"""A user's first day with an own store: every command as a process, real tests, real answers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from tests.live.forge import Forge, quickstart
from tests.live.test_build_live import ANSWER, NAME, PROMPT

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = f"profiles/{NAME}.toml"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    """A project whose model was built twice, the second time with a smaller context."""
    forge = quickstart(tmp_path_factory.mktemp("day") / "forge")
    first = forge.run("build", NAME)
    assert first.code == 0, first.err
    assert "4 passed" in first.err
    forge.edit(PROFILE, "num_ctx = 1024", "num_ctx = 512")
    second = forge.run("build", NAME, "--json", "--junit", str(forge.folder / "junit.xml"))
    assert second.code == 0, second.err
    assert second.document["variants"][0]["smoke"]["passed"] == 4
    return forge


def test_junit_has_every_test(built: Forge) -> None:
    cases = list(ET.parse(built.folder / "junit.xml").getroot().iter("testcase"))  # noqa: S314 (our own file)
    assert len(cases) == 4


def test_run_answers_on_stdout_alone(built: Forge) -> None:
    done = built.run("run", NAME, PROMPT)
    assert (done.code, done.err) == (0, "")
    assert ANSWER in done.out


def test_smoke_of_what_stands(built: Forge) -> None:
    done = built.run("smoke", NAME, "--json")
    assert done.code == 0, done.err
    assert {result["verdict"] for result in done.document["smoke"]["results"]} == {"passed"}


def test_list_shows_what_stands(built: Forge) -> None:
    (profile,) = built.run("list", "--json").document["profiles"]
    assert [entry["name"] for entry in profile["standing"]] == [f"{NAME}:latest"]


def test_history_and_rollback(built: Forge) -> None:
    assert [entry["event"] for entry in built.run("history", NAME, "--json").document["entries"]] == [
        "promoted",
        "promoted",
    ]
    done = built.run("rollback", NAME)
    assert done.code == 0, done.err
    assert built.run("build", NAME, "--dry-run").out.count("num_ctx: wanted 512, got 1024") == 1
    assert built.run("rollback", NAME).code == 0
    assert "up to date" in built.run("build", NAME, "--dry-run").out


def test_all_hardware_at_once(built: Forge) -> None:
    done = built.run("build", "--all", "--all-hardware", "--no-smoke", "--json")
    assert done.code == 0, done.err
    assert [(variant["name"], variant["status"]) for variant in done.document["variants"]] == [
        (f"{NAME}:{hardware}", "built") for hardware in ("matchbox", "lunchbox", "toolbox")
    ]


def test_two_machines_have_the_same_digests(built: Forge, tmp_path: Path) -> None:
    other = quickstart(tmp_path / "other")
    other.edit(PROFILE, "num_ctx = 1024", "num_ctx = 512")
    words = ("build", NAME, "-H", "matchbox", "--no-smoke", "--name", "twin", "--json")
    one, two = (forge.run(*words).document["variants"][0] for forge in (built, other))
    assert one["digests"] == two["digests"]


def test_init_gives_a_project_that_builds(built: Forge) -> None:
    done = built.run("init", "fresh")
    assert done.code == 0, done.err
    done = built.run("build", "assistant", "-C", "fresh", "--runtime", "embedded", "--json")
    assert done.code == 0, done.err
    assert done.document["variants"][0]["status"] == "built"


def test_doctor_completion_and_version(built: Forge) -> None:
    assert built.run("doctor", "--runtime", "embedded").code == 0
    assert "_MODELFORGE_COMPLETE" in built.run("completion", "bash").out
    assert built.run("--version").out.startswith("modelforge ")
