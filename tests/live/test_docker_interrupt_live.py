"""Ctrl-C and SIGTERM while a container is made, used and removed, on a real engine: nothing of ours stays."""

from __future__ import annotations

import _thread
import signal
import time
from typing import TYPE_CHECKING, Any

import docker
import pytest

from modelforge.runtimes.docker.endpoint import Endpoint
from modelforge.runtimes.docker.engine import Engine as Ours
from modelforge.runtimes.docker.engine import connect
from modelforge.runtimes.docker.spec import LABEL, volume_body
from tests.live.containers import VOLUME, docker_quickstart, ours
from tests.live.test_build_live import NAME
from tests.live.test_kills_live import touch_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.live.engines import Engine

PAUSES = (0.0, 0.001, 0.2)
"""Seconds of work that an interrupt finds still to be done. The first reach it as its thread is being started."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupt_leaves_nothing_running(
    engine: Engine, image: str, tmp_path: Path, number: signal.Signals
) -> None:
    forge = docker_quickstart(tmp_path / "forge", engine, image)
    start = time.monotonic()
    assert forge.run("build", NAME).code == 0
    longest = time.monotonic() - start
    for part in range(5):
        touch_profile(forge, part + 1)
        with forge.start("build", NAME) as process:
            time.sleep(0.2 + longest * part / 5)
            process.send_signal(number)
            _out, err = process.communicate(timeout=60)
        assert process.returncode in {0, 130}, err
        assert "Traceback" not in err
        assert ours(engine) == []


@pytest.fixture
def reached(engine: Engine) -> Iterator[Ours]:
    """The engine as the product reaches it."""
    found = connect(Endpoint(url=engine.url, source="the test", tls=None), url=engine.url, environment={})
    yield found
    found.close()


def interrupt_at(monkeypatch: pytest.MonkeyPatch, call: str, pause: float) -> None:
    """Interrupts the main thread as soon as the SDK's call begins, which then takes `pause` seconds more."""
    real: Callable[..., Any] = getattr(docker.APIClient, call)

    def interrupting(*words: Any, **more: Any) -> Any:
        monkeypatch.setattr(docker.APIClient, call, real)
        _thread.interrupt_main()
        time.sleep(pause)
        return real(*words, **more)

    monkeypatch.setattr(docker.APIClient, call, interrupting)


@pytest.mark.parametrize("pause", PAUSES)
def test_an_interrupt_of_the_making_takes_away_what_was_made(
    engine: Engine, image: str, reached: Ours, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        interrupt_at(monkeypatch, "create_container_from_config", pause)
        with pytest.raises(KeyboardInterrupt):
            reached.create(volume_body(image, VOLUME, {LABEL: "interrupted"}), f"modelforge-{number}")
        assert ours(engine) == []
    time.sleep(pause)
    assert ours(engine) == []


@pytest.mark.parametrize("pause", PAUSES)
def test_an_interrupt_of_the_removal_waits_for_it(
    engine: Engine, image: str, reached: Ours, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        made = reached.create(volume_body(image, VOLUME, {LABEL: "interrupted"}), f"modelforge-{number}")
        interrupt_at(monkeypatch, "remove_container", pause)
        with pytest.raises(KeyboardInterrupt):
            reached.remove(made, at_once=True)
        assert ours(engine) == []
