"""Downloads: verified while they come in, going on where they were cut off, whole in their place or not there.

Where the bytes come from is the caller's: anything that opens a stream of them from a given byte on. What has come
so far lies in a file with `.part` at its end; the next run hashes it and asks for the rest. One process at a time
works in a folder of downloads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from modelforge.bases import LocalFile
from modelforge.errors import BuildFailed, Unreachable
from modelforge.events import Progress, Step
from modelforge.units import MIB, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from modelforge.bases import Blob, HubFile
    from modelforge.events import Emit

Open: TypeAlias = "Callable[[int], AbstractContextManager[Iterator[bytes]]]"
"""Opens a file's bytes from the given one on."""

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each new try after one that brought hardly anything."""
ENOUGH = MIB
"""Bytes that a try must bring for the count of tries to begin anew."""
STALE = 14 * 24 * 3600
"""Seconds after which what nobody asked for again is thrown away."""
_PIECE = 4 * MIB
_PART = ".part"
_LOCK = ".lock"
_FULL = {errno.ENOSPC, errno.EDQUOT}


class DownloadCut(Unreachable):
    """The other side cannot be reached, or breaks off again and again. What came is kept."""


class DownloadFailed(BuildFailed):
    """What came is not what was asked for, or there is no place for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetch:
    """Where the blobs of a model in a registry come from.

    `open` gives the bytes of a blob, by its digest, from a byte on. `folder` is one on this machine where downloads
    may lie until they are where they belong.
    """

    open: Callable[[str, int], AbstractContextManager[Iterator[bytes]]]
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A file that is to come: `sha256:<hex>` of it, its size in bytes, and what it is called in messages."""

    digest: str
    bytes: int
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long to try: the pauses between tries that brought nothing, in seconds, and what waits for them."""

    pauses: tuple[float, ...] = PAUSES
    sleep: Callable[[float], None] = time.sleep


@contextmanager
def download_folder(folder: Path, emit: Emit) -> Iterator[Path]:
    """Makes the folder, holds it against other processes, and throws away what was left there long ago.

    Raises:
        DownloadFailed: it cannot be written.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 (slow to import)

    with _refusals(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            emit(Step(stage="wait", text="for another download to end"))
            lock.acquire()
    try:
        with _refusals(folder):
            _sweep(folder)
        yield folder
    finally:
        lock.release()


def download_all(
    fetch: Fetch,
    blobs: Iterable[Blob],
    folder: Path,
    *,
    name: str,
    emit: Emit,
    patience: Patience | None = None,
) -> dict[str, Path]:
    """Brings blobs into a folder that is held, and gives the file of each, by its digest.

    Raises:
        DownloadCut: the registry cannot be reached.
        DownloadFailed: it gives something else, or the disk is too small.
    """
    distinct = {blob.digest: blob for blob in blobs}
    files = {digest: folder / digest.replace(":", "-") for digest in distinct}
    whole = sum(blob.bytes for blob in distinct.values())
    missing = whole - sum(min(_has(files[digest]), blob.bytes) for digest, blob in distinct.items())
    _check_room(folder, missing)
    before = last = 0

    def told(done: int) -> None:
        nonlocal last
        if before + done == whole or abs(before + done - last) >= ENOUGH:
            last = before + done
            emit(Progress(stage="pull", text=name, done=last, total=whole))

    for digest, blob in distinct.items():
        wanted = Wanted(digest=digest, bytes=blob.bytes, name=name)

        def opened(start: int, digest: str = digest) -> AbstractContextManager[Iterator[bytes]]:
            return fetch.open(digest, start)

        download(opened, wanted, files[digest], told=told, emit=emit, patience=patience)
        before += blob.bytes
    return files


def download_file(fetch: Fetch, file: HubFile, emit: Emit, *, patience: Patience | None = None) -> LocalFile:
    """Brings a file of the Hub to its place, in a folder that is held; one that lies there is hashed again, and taken.

    Raises:
        DownloadCut: the Hub cannot be reached.
        DownloadFailed: it gives something else, or the disk is too small.
    """
    name, last = file.path.rpartition("/")[2], 0

    def told(done: int) -> None:
        nonlocal last
        if done == file.bytes or abs(done - last) >= ENOUGH:
            last = done
            emit(Progress(stage="pull", text=name, done=done, total=file.bytes))

    wanted = Wanted(digest=file.digest, bytes=file.bytes, name=name)
    emit(Step(stage="pull", text=f"{name} from hf.co/{file.repository}, {size_text(file.bytes)}"))
    with _refusals(file.here.parent):
        if file.here.exists():
            file.here.replace(file.here.with_name(file.here.name + _PART))
    download(
        lambda start: fetch.open(file.digest, start),
        wanted,
        file.here,
        told=told,
        emit=emit,
        patience=patience,
    )
    return LocalFile(path=file.here, bytes=file.bytes)


def download(
    opened: Open,
    wanted: Wanted,
    target: Path,
    *,
    told: Callable[[int], None],
    emit: Emit,
    patience: Patience | None = None,
) -> None:
    """Brings one file. It is not at `target` before all of it is there, verified and on the disk.

    Args:
        opened: where the bytes come from.
        wanted: what they must be.
        target: the file, in a folder that is held; one that is there already was verified before.
        told: hears how many bytes of it are here.
        emit: hears of tries that went wrong.
        patience: how long to try.

    Raises:
        DownloadCut: the other side cannot be reached.
        DownloadFailed: it gives something else, or the file cannot be written.
    """
    if target.is_file() and target.stat().st_size == wanted.bytes:
        told(wanted.bytes)
        return
    part = target.with_name(target.name + _PART)
    for again in (False, True):
        with _refusals(target.parent):
            came = _Coming(opened, wanted, told=told, emit=emit, patience=patience or Patience()).into(part)
            if came.digest == wanted.digest:
                part.replace(target)
                _sync_folder(target.parent)
                return
            part.unlink()
        if again or not came.resumed:
            raise _wrong(wanted, came.digest)
        text = f"what was left of an earlier download of {wanted.name} is damaged: from its beginning"
        emit(Step(stage="pull", text=text, kind="warning"))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Came:
    """What a file turned out to be; `resumed`: some of it was there before."""

    digest: str
    resumed: bool


class _Coming:
    """One file on its way, hashed byte by byte as it is written."""

    def __init__(
        self,
        opened: Open,
        wanted: Wanted,
        *,
        told: Callable[[int], None],
        emit: Emit,
        patience: Patience,
    ) -> None:
        self._opened = opened
        self._wanted = wanted
        self._told = told
        self._emit = emit
        self._patience = patience
        self._sha = hashlib.sha256()
        self._done = 0

    def into(self, part: Path) -> _Came:
        """Fills the file up, from what it has on."""
        with part.open("a+b") as file:
            self._read_back(file)
            resumed = self._done > 0
            _check_room(part.parent, self._wanted.bytes - self._done)
            self._fill(file)
            file.flush()
            os.fsync(file.fileno())
        return _Came(digest=f"sha256:{self._sha.hexdigest()}", resumed=resumed)

    def _read_back(self, file: BinaryIO) -> None:
        file.seek(0, os.SEEK_END)
        if file.tell() > self._wanted.bytes:
            file.truncate(0)
        file.seek(0)
        while piece := file.read(_PIECE):
            self._take(piece)

    def _take(self, piece: bytes) -> None:
        self._sha.update(piece)
        self._done += len(piece)
        self._told(self._done)

    def _fill(self, file: BinaryIO) -> None:
        pauses = iter(self._patience.pauses)
        while self._done < self._wanted.bytes:
            start = self._done
            why, hint = self._try(file)
            if self._done == self._wanted.bytes:
                return
            if self._done - start >= ENOUGH:
                pauses = iter(self._patience.pauses)
            pause = next(pauses, None)
            if pause is None:
                raise self._cut(why, hint)
            at = f" from {size_text(self._done)} on" if self._done else ""
            text = f"{self._wanted.name}: {why}; trying again{at}"
            self._emit(Step(stage="pull", text=text, kind="warning"))
            self._patience.sleep(pause)

    def _try(self, file: BinaryIO) -> tuple[str, str | None]:
        """Writes what one stream brings; why it brought no more, in words, and what to do about it."""
        try:
            with self._opened(self._done) as pieces:
                for piece in pieces:
                    fitting = piece[: self._wanted.bytes - self._done]
                    file.write(fitting)
                    self._take(fitting)
                    if self._done == self._wanted.bytes:
                        break
        except Unreachable as error:
            return str(error), error.problems[0].hint
        except (ConnectionError, TimeoutError) as error:
            return str(error) or type(error).__name__, None
        return "it ended too early", None

    def _cut(self, why: str, hint: str | None) -> DownloadCut:
        here, whole = size_text(self._done), size_text(self._wanted.bytes)
        return DownloadCut(
            f"{self._wanted.name} could not be downloaded: {why} ({here} of {whole} are here)",
            hint="\n".join(filter(None, (hint, "run the same command again: it goes on from there"))),
        )


def _wrong(wanted: Wanted, digest: str) -> DownloadFailed:
    return DownloadFailed(
        f"what came for {wanted.name} is not what it should be: wanted {wanted.digest[:19]}…, got {digest[:19]}…",
        hint="it was thrown away; the registry, or something on the way to it, gives wrong bytes",
    )


def _has(target: Path) -> int:
    """Bytes of it that are here, whole or in part."""
    for path in (target, target.with_name(target.name + _PART)):
        try:
            return path.stat().st_size
        except OSError:
            continue
    return 0


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise _full(folder, f"{size_text(needed)} more are needed, {size_text(free)} are free")


def _full(folder: Path, figures: str) -> DownloadFailed:
    return DownloadFailed(
        f"the disk of {folder} is too small for the download: {figures}",
        hint="make room there and run the same command again: it goes on from what has come so far",
    )


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """Turns what the system refuses into words."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _full(folder, "it is full") from error
        reason = error.strerror or type(error).__name__
        raise DownloadFailed(
            f"the downloads in {folder} cannot be written ({reason})", hint="check the disk and who owns it"
        ) from error


def _sweep(folder: Path) -> None:
    """Removes what is older than `STALE` by the file system's own clock."""
    lock = folder / _LOCK
    lock.touch()
    oldest = lock.stat().st_mtime - STALE
    for path in folder.iterdir():
        if path.is_file() and path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # a file system that cannot
        pass
    finally:
        os.close(handle)
