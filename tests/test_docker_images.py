"""The image: there, pulled with its progress, or an error that says why it cannot be had."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast

import pytest

from modelforge.errors import ExitCode, Unreachable
from modelforge.events import Progress
from modelforge.runtimes.docker.engine import Image
from modelforge.runtimes.docker.images import ensure_image
from tests.engines import FakeEngine
from tests.fakes import Heard

if TYPE_CHECKING:
    from modelforge.project_settings import Pull
    from modelforge.runtimes.docker.engine import Engine

NAME = "ollama/ollama:1"
HERE = Image(id="sha256:1", digest="ollama/ollama@sha256:2")


def layer(name: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    return {
        "id": name,
        "status": status,
        "progressDetail": {"current": current, "total": total} if total else {},
    }


def ensure(engine: FakeEngine, pull: Pull, heard: Heard | None = None) -> Image:
    return ensure_image(cast("Engine", engine), NAME, pull, heard or Heard())


@pytest.mark.parametrize("pull", ["missing", "never"])
def test_one_that_is_there_is_taken(pull: Pull) -> None:
    engine = FakeEngine(images={NAME: HERE})
    assert ensure(engine, pull) == HERE
    assert engine.pulled == []


def test_one_that_is_missing_is_pulled() -> None:
    engine = FakeEngine()
    assert ensure(engine, "missing").id == "sha256:fresh"
    assert engine.pulled == [NAME]


def test_always_pulls_again() -> None:
    engine = FakeEngine(images={NAME: HERE})
    assert ensure(engine, "always").id == "sha256:fresh"


def test_never_says_what_to_do() -> None:
    engine = FakeEngine()
    with pytest.raises(Unreachable, match="is not to be pulled") as caught:
        ensure(engine, "never")
    assert caught.value.exit_code == ExitCode.UNREACHABLE
    assert f"docker pull {NAME}" in (caught.value.problems[0].hint or "")
    assert engine.pulled == []


def test_progress_is_the_sum_over_the_layers_and_ends_full() -> None:
    lines = [
        layer("a", "Pulling fs layer"),
        layer("a", "Downloading", 10, 100),
        layer("b", "Downloading", 5, 50),
        layer("a", "Downloading", 90, 100),
        layer("a", "Download complete"),
        layer("a", "Extracting", 1, 100),
        layer("b", "Download complete"),
        layer("a", "Pull complete"),
        {"status": "Digest: sha256:12"},
    ]
    heard = Heard()
    ensure(FakeEngine(lines=lines), "missing", heard)
    told = [(event.done, event.total) for event in heard.events if isinstance(event, Progress)]
    assert told[0] == (10, 100)
    assert told[1] == (15, 150)
    assert told[-1] == (150, 150)
    assert all(before[0] <= after[0] for before, after in itertools.pairwise(told[1:]))


@pytest.mark.parametrize(
    ("words", "reason", "hint"),
    [
        (
            'Get "https://r/v2/": dial tcp: lookup r: no such host',
            "its registry cannot be reached",
            "docker load",
        ),
        ("toomanyrequests: You have reached your pull rate limit", "lets no more be pulled", "docker login"),
        ("pull access denied for x, repository does not exist", "there is no such image", "docker login"),
        ("manifest for x:1 not found: manifest unknown", "no such image for this machine", "correct image"),
        ("write /var/lib/docker/tmp/x: no space left on device", "disk is full", "docker system prune"),
        ("something new", "the engine refuses", "docker pull"),
    ],
)
def test_why_it_cannot_be_pulled(words: str, reason: str, hint: str) -> None:
    with pytest.raises(Unreachable, match=reason) as caught:
        ensure(FakeEngine(declines=words), "missing")
    assert words in str(caught.value)
    assert hint in (caught.value.problems[0].hint or "")
