"""The guards of conftest.py: they must bite, or the rest of the suite proves less than it says."""

from __future__ import annotations

import os
import socket
import subprocess  # noqa: TID251 (it must not be possible)
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests import conftest

if TYPE_CHECKING:
    from collections.abc import Callable


def _connect() -> None:
    with socket.socket() as sock:
        sock.connect(("127.0.0.1", 1))


def _listen() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))


@pytest.mark.parametrize(
    "reach",
    [
        _connect,
        _listen,
        lambda: socket.create_connection(("localhost", 1)),
        lambda: subprocess.run(["true"], check=False),
        lambda: os.system("true"),  # noqa: S605
    ],
)
def test_a_unit_test_cannot_reach_out(reach: Callable[[], object]) -> None:
    with pytest.raises(BaseException, match="a unit test may not") as caught:
        reach()
    assert not isinstance(caught.value, Exception)


@pytest.mark.network
def test_the_network_mark_lifts_sockets() -> None:
    _listen()


@pytest.mark.processes
def test_the_processes_mark_lifts_processes() -> None:
    assert subprocess.run(["true"], check=False).returncode == 0


def test_home_and_environment_are_nobodys(home: Path) -> None:
    assert Path.home() == home
    assert list(home.iterdir()) == []
    assert not [name for name in os.environ if name.startswith(("OLLAMA_", "MODELFORGE_", "DOCKER_"))]
    assert os.environ["XDG_STATE_HOME"].startswith(str(home))


class LiveItem:
    """As much of a test item as the hook looks at."""

    def get_closest_marker(self, name: str) -> bool:
        return name == "live"


@pytest.mark.parametrize(("required", "outcome"), [(True, "failed"), (False, "skipped")])
def test_required_live_tests_fail_where_they_would_be_skipped(
    required: bool,  # noqa: FBT001
    outcome: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conftest, "REQUIRE_LIVE", required)
    report = pytest.TestReport("x", ("x", 0, "x"), {}, "skipped", ("x", 1, "no server"), "call")
    hook = conftest.pytest_runtest_makereport(cast("pytest.Item", LiveItem()))
    next(hook)
    with pytest.raises(StopIteration) as done:
        hook.send(report)
    assert done.value.value.outcome == outcome
    assert "no server" in str(report.longrepr)
