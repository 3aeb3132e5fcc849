"""Findings about this machine, each with a remedy. Nothing is changed, and each check is on its own.

One that fails or hangs hides no other: each runs in a thread of its own, and one that is not done in time is told.
What is looked at has a module each: `project`, `machine`, `servers`, `packages`.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from modelforge.doctor import machine, packages, project, servers
from modelforge.errors import ForgeError, Unreachable
from modelforge.finding import Finding
from modelforge.runtimes.choose import access_of, store_of
from modelforge.site import hasty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelforge.site import Site

Check: TypeAlias = "Callable[[Site], Iterator[Finding]]"

PATIENCE = 10.0
"""Seconds until a check counts as hanging. A driver that wakes several cards may take some."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """All findings, in the order in which a build would meet them; `ready` if a runtime can be had."""

    findings: tuple[Finding, ...]
    ready: bool


@dataclass(kw_only=True, slots=True)
class _Looking:
    """A check in its thread: what it has found so far, and what it ended with."""

    name: str
    found: list[Finding] = field(default_factory=list)
    error: BaseException | None = None
    thread: threading.Thread | None = None

    def start(self, check: Check, site: Site) -> None:
        """Begins it, in a thread that holds no exit up."""
        self.thread = threading.Thread(target=self._run, args=(check, site), name=self.name, daemon=True)
        self.thread.start()

    def _run(self, check: Check, site: Site) -> None:
        try:
            for finding in check(site):
                self.found.append(finding)
        except BaseException as error:  # noqa: BLE001 (this thread may not die without a word)
            self.error = error

    def findings(self, until: float) -> tuple[Finding, ...]:
        """What it found until then (on the monotonic clock), with a word if it failed or is not done."""
        if self.thread is not None:
            self.thread.join(max(0.0, until - time.monotonic()))
            if self.thread.is_alive():
                text = f"the look at {self.name} hangs: nothing came of it within {PATIENCE:g} s"
                return (*self.found, Finding(good=False, text=text))
        if isinstance(self.error, ForgeError):
            return (*self.found, _told(self.error))
        if isinstance(self.error, Exception):
            text = f"{self.name} cannot be looked at: {type(self.error).__name__}: {self.error}"
            return (*self.found, Finding(good=False, text=text))
        if self.error is not None:
            raise self.error
        return tuple(self.found)


def examine(site: Site) -> Diagnosis:
    """Looks at everything at once. What several checks stumble over is told once."""
    checks: dict[str, Check] = {
        "the project": project.profiles,
        "the hardware": machine.hardware,
        "the Ollama server": servers.server,
        "models that run elsewhere": servers.cloud,
        "ollama programs": servers.programs,
        "other servers": servers.another,
        "the proxy": servers.proxy,
        "the Docker engine": servers.docker,
        "llama.cpp": packages.llama,
        "the store": machine.store,
        "own folders": machine.folders,
        "the disk": machine.disk,
        "installed packages": packages.installed,
        "the runtime": _runtime,
    }
    quiet = hasty(replace(site, look=True, emit=lambda _event: None))
    running = [_Looking(name=name) for name in checks]
    for looking in running:
        looking.start(checks[looking.name], quiet)
    until = time.monotonic() + PATIENCE
    told = [looking.findings(until) for looking in running]
    return Diagnosis(
        findings=tuple(dict.fromkeys(finding for findings in told for finding in findings)),
        ready=any(finding.good for finding in told[-1]),
    )


def _runtime(site: Site) -> Iterator[Finding]:
    """Which runtime a build would take."""
    try:
        with closing(access_of(site)) as access:
            access.check()
            kind, where = access.kind, access.where
    except Unreachable:
        remedy = f"start an Ollama, or: {packages.EMBEDDED}"
    else:
        if kind != "embedded" or not machine.trouble_with(store_of(site)):
            yield Finding(good=True, text=f"models are built by the runtime {kind}, at {where}")
            return
        remedy = "see above: the embedded runtime's store cannot be used"
    yield Finding(good=False, text="no runtime can be had, so nothing can be built here", remedy=remedy)


def _told(error: ForgeError) -> Finding:
    problem = error.problems[0]
    return Finding(good=False, text=problem.message, remedy=problem.hint)
