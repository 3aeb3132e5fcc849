"""What was promoted, when and from what: one journal for each endpoint, in the user's state folder.

The journal is a hint, never the truth: what stands on a runtime is read from there. It also holds what a
killed build left behind (`Pending`) and the locks that keep two builds of one name apart. Layout below the
state folder: `machine` (a random id), and for each endpoint a folder named by its digest with
`journal.jsonl`, `pending/<name key>.json`, `locks/<name key>.lock` and `locks/writes.lock`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from modelforge.errors import BuildFailed, PromoteFailed, UsageProblem
from modelforge.runtimes import RuntimeInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from typing_extensions import Self

    from modelforge.runtimes import RuntimeKind

EventKind: TypeAlias = Literal["promoted", "tested", "rolled-back"]


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalEntry:
    """One line. `time` is Unix seconds, `picked` the candidate's ref, `smoke` the report as a dict or None.

    `manifest` is what stood under the name afterwards; `replaced` what stood there before ("" for nothing).
    `image` is the digest of the image that a container was made from.
    """

    event: EventKind
    time: float
    name: str
    runtime: RuntimeKind
    endpoint: str
    version: str
    project: str
    profile: str
    hardware: str
    picked: str
    commit: str
    plan: str
    content: str
    manifest: str
    replaced: str
    tests: str
    smoke: Mapping[str, Any] | None
    untested: bool = False
    image: str = ""


_FIELDS = frozenset(field.name for field in fields(JournalEntry))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """What a build is about to leave on the runtime, written down before it does.

    `promoting` is True from before the copy over `name` until it is verified; `kept` then holds what stood.
    """

    name: str
    staged: str
    kept: str = ""
    promoting: bool = False


def name_key(name: str) -> str:
    """16 hex digits for a model's name, the same whatever the spelling's case."""
    return hashlib.sha256(name.casefold().encode()).hexdigest()[:16]


class Journal:
    """The journal, pending notes and locks of one endpoint."""

    def __init__(self, state: Path, info: RuntimeInfo) -> None:
        self._state = state
        self.info = info
        key = hashlib.sha256(f"{info.kind} {info.endpoint}".encode()).hexdigest()[:16]
        self._folder = state / "endpoints" / key
        self._file = self._folder / "journal.jsonl"

    @classmethod
    def of(cls, state: Path, entry: JournalEntry) -> Self:
        """The journal that a line is in."""
        return cls(state, RuntimeInfo(kind=entry.runtime, version=entry.version, endpoint=entry.endpoint))

    def entries(self) -> tuple[JournalEntry, ...]:
        """All lines, oldest first; a line cut by a crash is passed over."""
        return _read(self._file)

    def last(self, name: str) -> JournalEntry | None:
        """The newest line about `name`."""
        wanted = name.casefold()
        return next((line for line in reversed(self.entries()) if line.name.casefold() == wanted), None)

    def append(self, entry: JournalEntry) -> None:
        """Adds a line, in one write."""
        self._make(self._folder)
        line = json.dumps(asdict(entry), ensure_ascii=False, separators=(",", ":")) + "\n"
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode("utf-8", "replace"))
        finally:
            os.close(handle)

    def machine(self) -> str:
        """8 hex digits that tell this machine's staged models from another's on the same server."""
        file = self._state / "machine"
        try:
            return file.read_text(encoding="ascii")[:8]
        except (FileNotFoundError, UnicodeDecodeError):
            self._make(self._state)
            fresh = secrets.token_hex(4)
            _write_whole(file, fresh, beside=f"{file.name}.{fresh}.tmp")
            return fresh

    def staged_tag(self, name: str) -> str:
        """A fresh tag for a staged model: machine (8 hex), name (16 hex), random (8 hex)."""
        return f"{self.machine()}{name_key(name)}{secrets.token_hex(4)}"

    def staged_owner(self, tag: str) -> str | None:
        """The name key that a staged tag of this machine was made for; None for another machine's."""
        return tag[8:24] if len(tag) == 32 and tag.startswith(self.machine()) else None  # noqa: PLR2004

    def pending(self) -> dict[str, Pending]:
        """What builds have noted and not taken back, by name key."""
        notes: dict[str, Pending] = {}
        try:
            files = sorted((self._folder / "pending").glob("*.json"))
        except PermissionError as error:
            raise self._closed(error) from error
        for file in files:
            try:
                notes[file.stem] = Pending(**json.loads(file.read_text(encoding="utf-8")))
            except PermissionError as error:
                raise self._closed(error) from error
            except (ValueError, TypeError, OSError):  # cut by a crash before anything was staged
                file.unlink(missing_ok=True)
        return notes

    def note(self, pending: Pending) -> None:
        """Writes down what is about to be left on the runtime.

        Raises:
            BuildFailed: the state folder is full or not writable.
        """
        folder = self._make(self._folder / "pending")
        try:
            # only the holder of a name notes anything for it, so one name for the half-written file will do,
            # and what a kill leaves of it is written over or forgotten later
            file = folder / f"{name_key(pending.name)}.json"
            _write_whole(file, json.dumps(asdict(pending)), beside=f"{file.name}.tmp")
        except OSError as error:  # nothing may be left on a runtime that nobody would know of
            raise BuildFailed(
                f"the state folder {self._state} cannot be written ({error.strerror})",
                hint="free some space there, or set MODELFORGE_STATE to another folder",
            ) from error

    def forget(self, key: str) -> None:
        """Takes a note back."""
        for end in ("json", "json.tmp"):
            (self._folder / "pending" / f"{key}.{end}").unlink(missing_ok=True)

    @contextmanager
    def hold(self, name: str, *, wait: bool, on_wait: Callable[[], None]) -> Iterator[None]:
        """Holds a name against other builds on this machine.

        Raises:
            PromoteFailed: it is held and `wait` is False.
        """
        from filelock import FileLock, Timeout  # noqa: PLC0415 (slow to import, and not needed to look)

        lock = FileLock(self._make(self._folder / "locks") / f"{name_key(name)}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise PromoteFailed(
                    f"{name} is being built by another modelforge", hint="leave --no-wait out to wait for it"
                ) from None
            on_wait()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def try_hold(self, key: str) -> Iterator[bool]:
        """Holds a name key if nobody else does; yields whether it does."""
        from filelock import FileLock, Timeout  # noqa: PLC0415

        lock = FileLock(self._make(self._folder / "locks") / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One write to the endpoint at a time, over all processes of this machine."""
        from filelock import FileLock  # noqa: PLC0415

        with FileLock(self._make(self._folder / "locks") / "writes.lock"):
            yield

    def _make(self, folder: Path) -> Path:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._closed(error) from error
        return folder

    def _closed(self, error: OSError) -> UsageProblem:
        return UsageProblem(
            f"the state folder {self._state} cannot be used ({error.strerror})",
            hint="set MODELFORGE_STATE to a folder of yours",
        )


def last_promotion(state: Path, name: str, *, project: str) -> JournalEntry | None:
    """The newest line about `name` on any endpoint; this project's lines win over other projects'."""
    wanted = name.casefold()
    lines = [
        line
        for file in state.glob("endpoints/*/journal.jsonl")
        for line in _read(file)
        if line.name.casefold() == wanted
    ]
    return max(lines, key=lambda line: (line.project == project, line.time), default=None)


def _read(file: Path) -> tuple[JournalEntry, ...]:
    try:
        raw = file.read_bytes()
    except OSError:
        return ()
    entries = []
    for line in raw.splitlines():
        try:
            line_fields = json.loads(line)
            entries.append(JournalEntry(**{key: line_fields[key] for key in line_fields if key in _FIELDS}))
        except (ValueError, TypeError):  # cut by a crash, or of a version that wrote other fields
            continue
    return tuple(entries)


def _write_whole(file: Path, text: str, *, beside: str) -> None:
    """Writes a file so that nobody ever reads half of it; `beside` is what it is called until then."""
    temporary = file.with_name(beside)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except BaseException:  # Ctrl-C, too
        temporary.unlink(missing_ok=True)
        raise
