"""Guards for every test: no sockets, no processes, nothing of the user's home or environment.

The marks `network`, `processes` and `live` lift the first two. With MODELFORGE_REQUIRE_LIVE=1 a live test
that would be skipped fails instead, so that CI cannot pass by leaving out the real thing.
"""

from __future__ import annotations

import gc
import itertools
import os
import socket
import subprocess  # noqa: TID251 (the guard takes it away)
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

LIVE_FOLDERS = {Path(__file__).parent / name for name in ("live", "oracle")}
REQUIRE_LIVE = os.environ.get("MODELFORGE_REQUIRE_LIVE", "") not in {"", "0"}

PREFIXES = ("OLLAMA_", "MODELFORGE_", "DOCKER_", "XDG_", "HF_")
NAMES = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CI", "GITHUB_ACTIONS", "NO_PROXY")
XDG = ("CONFIG", "CACHE", "DATA", "STATE")


class Forbidden(BaseException):
    """A unit test reached for the outside. Not an Exception, so that no code under test can swallow it."""


def _refuse(what: str) -> Any:
    def refuse(*args: object, **_kwargs: object) -> NoReturn:
        message = f"a unit test may not {what}: {args[1:]!r}; mark it 'network', 'processes' or 'live'"
        raise Forbidden(message)

    return refuse


def _is_foreign(name: str) -> bool:
    return name.startswith(PREFIXES) or name in NAMES or name.lower().endswith("_proxy")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders for tests, numbered. Pytest's own numbering looks at all earlier ones for each new one."""
    root = tmp_path_factory.mktemp("tests")
    return (root / str(number) for number in itertools.count())


@pytest.fixture
def tmp_path(folders: Iterator[Path]) -> Path:
    """An empty folder, as pytest's own."""
    folder = next(folders)
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def home(folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, outside the test's own tmp_path; the environment points there."""
    folder = next(folders)
    folder.mkdir()
    for name in [name for name in os.environ if _is_foreign(name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    for kind in XDG:
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(folder / kind.lower()))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    return folder


@pytest.fixture(autouse=True)
def no_outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes sockets and processes away from tests that did not ask for them."""
    marks = {mark.name for mark in request.node.iter_markers()}
    if not marks & {"network", "live"}:
        for name in ("connect", "connect_ex", "bind", "sendto"):
            monkeypatch.setattr(socket.socket, name, _refuse(f"{name} a socket"))
        monkeypatch.setattr(socket, "getaddrinfo", _refuse("look up a host"))
    if not marks & {"processes", "live"}:
        monkeypatch.setattr(subprocess.Popen, "__init__", _refuse("start a process"))
        for name in ("system", "posix_spawn", "execv", "execve"):
            monkeypatch.setattr(os, name, _refuse(f"{name} a program"))


def pytest_collection_finish() -> None:
    """What is there by now stays to the end; looking through it for garbage, again and again, takes a second."""
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/live and tests/oracle is live, marked or not."""
    for item in items:
        if LIVE_FOLDERS & set(item.path.parents):
            item.add_marker(pytest.mark.live)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With MODELFORGE_REQUIRE_LIVE=1 a skipped live test has failed."""
    report = yield
    if (
        REQUIRE_LIVE
        and report.skipped
        and not hasattr(report, "wasxfail")
        and item.get_closest_marker("live")
    ):
        report.outcome = "failed"
        report.longrepr = f"MODELFORGE_REQUIRE_LIVE is set, but this was skipped: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole live module that is skipped while it is collected."""
    report = yield
    if REQUIRE_LIVE and report.skipped and LIVE_FOLDERS & set(collector.path.parents):
        report.outcome = "failed"
        report.longrepr = f"MODELFORGE_REQUIRE_LIVE is set, but this was skipped: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    found = report.longrepr
    return found[2] if isinstance(found, tuple) else str(found)
