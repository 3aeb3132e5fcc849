"""What is known of a registry: what it says now, or else what it said when it was last asked."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from modelforge.bases.ranged import read_by_ranges
from modelforge.errors import Unreachable
from modelforge.events import Progress, silent
from modelforge.registry import NotThere, Reference, is_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelforge.bases import Blob
    from modelforge.bases.registrycache import Kept
    from modelforge.events import Emit
    from modelforge.gguf import Header
    from modelforge.registry import Manifest
    from modelforge.registry.client import Registry

MANIFESTS_AT_ONCE = 8
HEADERS_AT_ONCE = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


class Source:
    """One registry during one command: nothing is asked of it twice, and nothing more once it does not answer.

    `seen` is the time (Unix s) of the oldest answer that was taken from the cache for want of a new one, `trouble` why.
    `emit` hears how far the reading of headers is, which may be much over a slow line.
    """

    def __init__(self, registry: Registry, kept: Kept, emit: Emit = silent) -> None:
        self.registry = registry
        self._emit = emit
        self.trouble: Unreachable | None = None
        self.seen: float | None = None
        self._kept = kept
        self._known: dict[tuple[str, str], Manifest | None] = {}
        self._listed: dict[str, tuple[str, ...] | None] = {}
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        """The registry's host."""
        return self.registry.host

    def tags(self, repository: str) -> tuple[str, ...] | None:
        """All tags of a repository; None: this registry does not list them.

        Raises:
            Unreachable: it cannot be asked, and never was.
        """
        if repository not in self._listed:
            self._listed[repository] = self._tags(repository)
        return self._listed[repository]

    def manifest(self, reference: Reference) -> Manifest | None:
        """The manifest that a reference leads to; None where the registry has none.

        Raises:
            Unreachable: it cannot be asked, and never was.
            BaseProblem: it is no model's, or may not be read.
        """
        key = (reference.repository, reference.tag)
        if key not in self._known:
            self._known[key] = self._manifest(*key)
        return self._known[key]

    def manifests(self, references: Iterable[Reference]) -> tuple[Manifest | None, ...]:
        """The same for many, side by side."""
        return self._side_by_side(self.manifest, references, MANIFESTS_AT_ONCE)

    def headers(self, blobs: Iterable[tuple[str, Blob, str, int]]) -> tuple[Header, ...]:
        """The headers of blobs, side by side: each with its repository, a name for errors, and bytes to read first."""
        wanted = tuple(blobs)
        text = f"headers from {self.host}"

        def told(done: int) -> None:
            self._emit(Progress(stage="pick", text=text, done=done, total=len(wanted), unit=""))

        return self._side_by_side(lambda one: self.header(*one), wanted, HEADERS_AT_ONCE, told)

    def header(self, repository: str, blob: Blob, name: str, first: int) -> Header:
        """The header of a blob of weights, read by ranges of which the first has `first` bytes.

        Raises:
            Unreachable: it cannot be read now, and never was.
            BaseProblem: it is no sound GGUF.
        """
        found = self._kept.header(blob)
        if found is None:
            if self.trouble is not None:
                raise self.trouble
            read = self.registry.read
            found = read_by_ranges(
                lambda start, length: read(repository, blob.digest, start, length), blob.bytes, name, first
            )
            self._kept.keep_header(blob, found)
        return found

    def close(self) -> None:
        """Lets go of the connections."""
        self.registry.close()

    def _tags(self, repository: str) -> tuple[str, ...] | None:
        try:
            found = self._now(lambda: self.registry.tags(repository))
        except Unreachable:
            kept = self._kept.tags(self.host, repository)
            if kept is None:
                raise
            self._take_old(kept.time)
            return kept.tags
        self._kept.keep_tags(self.host, repository, found)
        return found

    def _manifest(self, repository: str, tag: str) -> Manifest | None:
        if is_digest(tag):
            kept = self._kept.manifest(tag)
            if kept is not None:
                return kept
        try:
            found = self._now(lambda: self._asked(repository, tag))
        except Unreachable:
            seen = self._kept.name(self.host, repository, tag)
            old = self._kept.manifest(seen.digest) if seen and seen.digest else None
            if seen is None or (seen.digest and old is None):
                raise
            self._take_old(seen.time)
            return old
        self._kept.keep_name(self.host, repository, tag, found)
        return found

    def _asked(self, repository: str, tag: str) -> Manifest | None:
        try:
            return self.registry.manifest(repository, tag)
        except NotThere:
            return None

    def _now(self, ask: Callable[[], Result]) -> Result:
        """Asks the registry, unless it is known not to answer."""
        if self.trouble is not None:
            raise self.trouble
        try:
            return ask()
        except Unreachable as error:
            self.trouble = error
            raise

    def _take_old(self, time: float) -> None:
        with self._lock:
            self.seen = time if self.seen is None else min(self.seen, time)

    def _side_by_side(
        self,
        do: Callable[[Item], Result],
        items: Iterable[Item],
        workers: int,
        told: Callable[[int], None] = lambda _done: None,
    ) -> tuple[Result, ...]:
        """Results in the order of the items. The first that fails ends it; those not begun yet are not begun.

        `told` hears, in the thread that waits, how many there are so far.
        """
        pool = ThreadPoolExecutor(max_workers=workers)
        try:
            found: list[Result] = []
            for result in pool.map(do, items):
                found.append(result)
                told(len(found))
            return tuple(found)
        except KeyboardInterrupt:
            self.registry.stop()  # else the command would end when the last thread has waited its time
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
