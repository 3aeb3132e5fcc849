"""SHA-256 of large files, remembered from one run to the next.

Hashing a model takes seconds to minutes, so a digest is kept for as long as the file is surely the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.errors import BaseProblem, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 4 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

# A file that is written twice within one tick of its file system's clock keeps its times, and its size may be
# the same as well: such a change cannot be seen from outside (git calls this the racy index). So a digest is
# only remembered when the file had been at rest for longer than the coarsest tick, 2 s on FAT, before it was
# read; any later change then moves its times.
_REST = 2_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What tells that a file is still the same. `ctime` also moves when a tool puts the old `mtime` back."""

    path: str
    device: int
    inode: int
    size: int
    mtime: int
    ctime: int

    def rested(self, now: int) -> bool:
        """Whether the file had been at rest at `now` (nanoseconds since 1970) for long enough to be remembered."""
        return now - max(self.mtime, self.ctime) > _REST


@dataclass(frozen=True, slots=True)
class Hashes:
    """Digests of files, kept as one small JSON file each in `folder`, which need not exist.

    A folder that cannot be written only costs time. `now` gives the time in nanoseconds since 1970.
    """

    folder: Path
    now: Callable[[], int] = time.time_ns

    def known(self, path: Path) -> str | None:
        """`sha256:<hex>` of a file if that can be told without reading it."""
        try:
            return self._recall(identity_of(path))
        except OSError:
            return None

    def sha256(self, path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
        """`sha256:<hex>` of a file; reads it unless its digest is known.

        Args:
            path: the file.
            on_bytes: told how many bytes have been read so far, after each chunk of some MiB.

        Raises:
            BaseProblem: it cannot be read, or changed meanwhile.
        """
        try:
            identity = identity_of(path)
            found = self._recall(identity)
            if found is None:
                began = self.now()
                found = _hash(path, on_bytes)
                if identity_of(path) != identity:
                    raise _problem(
                        path, "changed while it was read", "wait until its download or copy is done"
                    )
                if identity.rested(began):
                    keep(self.folder, identity, digest=found)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise _problem(path, f"cannot be read: {reason}", "check its path and permissions") from None
        return found

    def whole_of(self, parts: str) -> str | None:
        """`sha256:<hex>` of the one file that a model in several files was joined into, by the digest of its parts."""
        try:
            digest = self._whole(parts).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        return digest if _DIGEST.fullmatch(digest) else None

    def keep_whole(self, parts: str, digest: str) -> None:
        """Keeps that digest; it can never become another."""
        put(self._whole(parts), digest.encode("ascii"))

    def _whole(self, parts: str) -> Path:
        return self.folder / f"whole-{parts.partition(':')[2]}.txt"

    def _recall(self, identity: Identity) -> str | None:
        digest = kept(self.folder, identity, "digest")
        return digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None


def kept(folder: Path, identity: Identity, key: str) -> object:
    """What was kept about a file under a key, for as long as it stays the same; None if nothing was."""
    try:
        entry = json.loads(_entry(folder, identity).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or entry.get("file") != asdict(identity):
        return None
    return entry.get(key)


def keep(folder: Path, identity: Identity, **values: object) -> None:
    """Keeps what JSON can hold."""
    put(_entry(folder, identity), json.dumps({"file": asdict(identity), **values}).encode("ascii"))


def put(path: Path, data: bytes) -> None:
    """Writes a small file of a cache, beside its place and then moved there, so that nobody reads half of it.

    A folder that cannot be written only costs time.
    """
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)


def _entry(folder: Path, identity: Identity) -> Path:
    name = hashlib.sha256(os.fsencode(identity.path)).hexdigest()[:32]
    return folder / f"{name}.json"


def identity_of(path: Path) -> Identity:
    """What a file is now; links are followed. Raises OSError."""
    real = path.resolve(strict=True)
    status = real.stat()
    return Identity(
        path=str(real),
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        mtime=status.st_mtime_ns,
        ctime=status.st_ctime_ns,
    )


def _hash(path: Path, on_bytes: Callable[[int], None] | None) -> str:
    sha, done = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            sha.update(buffer[:count])
            done += count
            if on_bytes:
                on_bytes(done)
    return "sha256:" + sha.hexdigest()


def _problem(path: Path, message: str, hint: str) -> BaseProblem:
    return BaseProblem(problems=(Problem(message=message, kind=BaseProblem.kind, file=str(path), hint=hint),))
