"""The blobs of Ollama's store: files named by their content, written so that no reader ever sees half of one.

A blob grows under a name that the server's own clean-up would take away, is hashed while it is copied, synced,
and moved into place. Its time of change is now: a starting server removes unreferenced blobs older than an hour.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias

from modelforge.errors import BuildFailed
from modelforge.units import MIB, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Buffer

How: TypeAlias = Literal["there", "link", "reflink", "copy"]
Told: TypeAlias = "Callable[[int, int], None]"

DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_PREFIX = "sha256-modelforge-"
_PIECE = 4 * MIB
_FICLONE = 0x40049409  # linux/fs.h: share the other file's blocks until one of the two is written
_FOLDER_MODE, FILE_MODE = 0o755, 0o644
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """A blob that is in the store now: its digest (`sha256:<hex>`), its size in bytes, and how it came there."""

    digest: str
    size: int
    how: How


class Blobs:
    """The folder `blobs` of a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where the blob lies, or would lie.

        Raises:
            ValueError: no sha256 digest.
        """
        match = DIGEST.fullmatch(digest)
        if match is None:
            raise ValueError(f"{digest!r} is no sha256 digest")
        return self.folder / f"sha256-{match[1]}"

    def size(self, digest: str) -> int | None:
        """Bytes of the blob; None if it is not there.

        Raises:
            BuildFailed: this user may not look.
        """
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise closed(self.folder.parent, error) from error

    def remove(self, digest: str) -> None:
        """Takes a blob away; no error if it is not there."""
        self.path(digest).unlink(missing_ok=True)

    def add_bytes(self, data: bytes) -> Added:
        """Puts a small blob there; one that is there already is checked byte by byte.

        Raises:
            BuildFailed: the store cannot be written.
        """
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        with refusals(self.folder, needed=len(data)):
            if self._whole(digest, data):
                return Added(digest=digest, size=len(data), how="there")
            with self._temporary() as path:
                write_synced(path, data)
                self._put(path, digest)
        return Added(digest=digest, size=len(data), how="copy")

    def add_file(self, source: Path, *, digest: str | None, link: bool, told: Told) -> Added:
        """Puts a file's content there: by a hard link if `link`, else by shared blocks, else by copying.

        Args:
            source: the file; it is not changed.
            digest: its digest where it is known, which saves all work if the blob is there.
            link: the blob shall be the very file; falls back where the file system cannot.
            told: hears bytes done and bytes in all.

        Raises:
            BuildFailed: the store cannot be written, its disk is full, or the file changed meanwhile.
        """
        with refusals(self.folder, needed=source.stat().st_size):
            size = source.stat().st_size
            if digest is not None and self.size(digest) == size:
                os.utime(self.path(digest))
                return Added(digest=digest, size=size, how="there")
            with self._temporary() as path:
                added = self._take(source, path, told, link=link)
                _check_unchanged(source, size, added, digest)
                self._put(path, added.digest)
                return added

    def adopt(self, file: Path, digest: str) -> None:
        """Gives a file of our own, which is known to have this digest, its place as a blob.

        As a second name where the file system can: who is killed before a model needs the blob loses nothing.
        Else it is moved, and from another disk copied.

        Raises:
            BuildFailed: the store cannot be written, or its disk is full.
        """
        with refusals(self.folder, needed=file.stat().st_size), self._temporary() as path:
            file.chmod(FILE_MODE)
            os.utime(file)
            try:
                _link_or_move(file, path)
            except OSError:
                self.add_file(file, digest=digest, link=False, told=lambda _done, _whole: None)
            else:
                self._put(path, digest)

    def touch(self, digest: str) -> None:
        """Makes a blob's time of change now, so that no starting server takes it for forgotten.

        Raises:
            BuildFailed: it is not there, or not ours to touch.
        """
        with refusals(self.folder):
            os.utime(self.path(digest))

    def sweep(self) -> None:
        """Removes what writers on this machine left that were killed. Others' work is left alone."""
        sweep(self.folder, _PREFIX)

    def _whole(self, digest: str, data: bytes) -> bool:
        path = self.path(digest)
        if self.size(digest) != len(data) or path.read_bytes() != data:
            return False
        os.utime(path)
        return True

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        make_folder(self.folder)
        path = temporary(self.folder, _PREFIX)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _take(self, source: Path, path: Path, told: Told, *, link: bool) -> Added:
        if link:
            with suppress(OSError):
                path.hardlink_to(source.resolve())
                digest, size = _hash(path, told)
                return Added(digest=digest, size=size, how="link")
        with source.open("rb") as origin, path.open("w+b") as target:
            if _share_blocks(origin, target):
                digest, size = _copy(target, None, told)
                how: How = "reflink"
            else:
                self._check_room(source.stat().st_size)
                digest, size = _copy(origin, target, told)
                how = "copy"
            _sync(target)
        return Added(digest=digest, size=size, how=how)

    def _check_room(self, needed: int) -> None:
        if shutil.disk_usage(self.folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _put(self, path: Path, digest: str) -> None:
        status = path.stat()
        if status.st_nlink == 1:  # a hard link shares mode and times with the user's own file
            path.chmod(FILE_MODE)
            os.utime(path)
        path.replace(self.path(digest))
        sync_folder(self.folder)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, 0755 whatever the umask, as the server does."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    folder.chmod(_FOLDER_MODE)


def temporary(folder: Path, prefix: str) -> Path:
    """A fresh name in a folder, from which `sweep` can tell whether its writer still lives."""
    return folder / f"{prefix}{_node()}-{os.getpid()}-{secrets.token_hex(4)}"


def sweep(folder: Path, prefix: str) -> None:
    """Removes what writers on this machine left that were killed. The work of others is left alone."""
    for path in of_the_dead(folder, prefix):
        path.unlink(missing_ok=True)


def of_the_dead(folder: Path, prefix: str) -> list[Path]:
    """The files that `temporary` named for processes of this machine that are no more."""
    return [
        path
        for path in folder.glob(f"{prefix}{_node()}-*")
        if not ((process := path.name.split("-")[-2]).isdecimal() and _alive(int(process)))
    ]


def write_synced(path: Path, data: bytes) -> None:
    """Writes a new file, and has it on the disk when it returns."""
    with path.open("wb") as file:
        file.write(data)
        _sync(file)


def sync_folder(folder: Path) -> None:
    """Makes a rename in the folder survive a power loss; file systems that cannot are left alone."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def closed(root: Path, error: OSError) -> BuildFailed:
    """The error for a store that may not be read."""
    return BuildFailed(
        f"the store {root} cannot be read ({error.strerror})",
        hint="name a store of your own (store in modelforge.toml, or OLLAMA_MODELS)",
    )


@contextmanager
def refusals(folder: Path, *, needed: int = 0) -> Iterator[None]:
    """Turns what the system refuses into words.

    Args:
        folder: of the store; it need not be there.
        needed: bytes that were to be written.

    Raises:
        BuildFailed: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise _refused(folder, error, needed) from error


def _refused(folder: Path, error: OSError, needed: int) -> BuildFailed:
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        free = size_text(shutil.disk_usage(_existing(folder)).free)
        return BuildFailed(
            f"the disk of the store {folder.parent} is full: {size_text(needed)} needed, {free} free",
            hint="free some space, or name a store on another disk (store in modelforge.toml, or OLLAMA_MODELS)",
        )
    if error.errno in _FORBIDDEN:
        where = _existing(folder)
        return BuildFailed(
            f"the store {folder.parent} cannot be written: {where} belongs to {_owner(where)} ({reason})",
            hint="build over the Ollama server that owns it (--runtime ollama), or name a store of your own "
            "(store in modelforge.toml, or OLLAMA_MODELS)",
        )
    if error.errno == errno.EROFS:
        return BuildFailed(
            f"the store {folder.parent} cannot be written: its file system is read-only",
            hint="mount it for writing, or name a store elsewhere (store in modelforge.toml, or OLLAMA_MODELS)",
        )
    what = f"{error.filename}: {reason}" if error.filename else reason
    return BuildFailed(
        f"the store {folder.parent} could not be written ({what})", hint="check the disk and the path"
    )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, NotImplementedError):
        return f"user {path.stat().st_uid}"


def _check_unchanged(source: Path, size: int, added: Added, digest: str | None) -> None:
    if added.size != size or (digest is not None and added.digest != digest):
        raise BuildFailed(f"{source} changed while it was read", hint="run the same command again")


def _link_or_move(file: Path, path: Path) -> None:
    try:
        path.hardlink_to(file)
    except OSError:
        file.replace(path)


def _share_blocks(origin: BinaryIO, target: BinaryIO) -> bool:
    try:
        fcntl.ioctl(target.fileno(), _FICLONE, origin.fileno())
    except OSError:
        return False
    return True


def _hash(path: Path, told: Told) -> tuple[str, int]:
    with path.open("rb") as file:
        return _copy(file, None, told)


def _copy(origin: BinaryIO, target: BinaryIO | None, told: Told) -> tuple[str, int]:
    """Hashes what it reads, and writes it to `target` if there is one; gives digest and bytes."""
    whole = os.fstat(origin.fileno()).st_size
    sha, done = hashlib.sha256(), 0
    piece: Buffer
    while piece := origin.read(_PIECE):
        sha.update(piece)
        if target is not None:
            target.write(piece)
        done += len(piece)
        told(done, whole)
    return "sha256:" + sha.hexdigest(), done


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _node() -> str:
    """This machine's name in 8 hex digits; process numbers mean nothing elsewhere."""
    return hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
