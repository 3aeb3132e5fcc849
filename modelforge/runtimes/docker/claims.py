"""Whose a container is: each carries a claim, a file that its command holds locked for as long as it lives.

The system lets go of a lock when its holder dies, however it dies. So a container whose claim can be locked has been
left behind, and the next command takes it away.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from modelforge.errors import UsageProblem
from modelforge.runtimes.docker.engine import Declined
from modelforge.runtimes.docker.spec import LABEL, MACHINE_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from modelforge.runtimes.docker.engine import Engine, Found

ORPHAN_SECONDS = 60.0
"""After so long a claim that nobody holds is one left behind: it is held from when it is made."""
STALE_SECONDS = 24 * 3600.0
"""After so long a container of another machine, whose locks cannot be seen from here, is one left behind."""


class Claims:
    """The claims of this machine. `folder` holds their files, `machine` is what tells it from others."""

    def __init__(self, folder: Path, machine: str) -> None:
        self._folder = folder
        self._machine = machine

    @contextmanager
    def claim(self) -> Iterator[str]:
        """A fresh claim, held until the end of the context."""
        token = secrets.token_hex(8)
        lock = FileLock(self._file(token))
        lock.acquire()
        try:
            yield token
        finally:
            self._file(token).unlink(missing_ok=True)
            lock.release()

    def labels(self, token: str) -> Mapping[str, str]:
        """What a container with that claim carries."""
        return {LABEL: token, MACHINE_LABEL: self._machine}

    def sweep(self, engine: Engine, *, now: float) -> int:
        """Takes away what dead commands left on an engine; how many containers that were."""
        dead = [found for found in engine.ours() if self._is_dead(found, now)]
        for found in dead:
            try:
                engine.remove(found.id, at_once=True)
            except Declined:  # another command is at it, too
                continue
            self._file(found.claim).unlink(missing_ok=True)
        self._drop_orphans(now)
        return len(dead)

    def _drop_orphans(self, now: float) -> None:
        """Files of commands that died before they had a container. A young one may be about to be locked."""
        for file in self._folder.glob("*.lock"):
            with suppress(OSError, Timeout):
                if now - file.stat().st_mtime > ORPHAN_SECONDS:
                    with FileLock(file, timeout=0):
                        file.unlink()

    def _is_dead(self, found: Found, now: float) -> bool:
        if found.machine != self._machine:
            return now - found.created > STALE_SECONDS
        try:
            with FileLock(self._file(found.claim), timeout=0):
                return True
        except Timeout:
            return False

    def _file(self, token: str) -> Path:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageProblem(
                f"the state folder {self._folder.parent} cannot be used ({error.strerror})",
                hint="set MODELFORGE_STATE to a folder of yours",
            ) from error
        return self._folder / f"{token}.lock"


@contextmanager
def looking(
    engine: Engine, claims: Claims, body: Callable[[Mapping[str, str]], Mapping[str, Any]]
) -> Iterator[str]:
    """The id of a container that is only looked with, and gone after that. `body` is told its labels."""
    with claims.claim() as token:
        container = engine.create(body(claims.labels(token)), f"modelforge-look-{token}")
        try:
            yield container
        finally:
            engine.remove(container, at_once=True)
