"""What registries said, kept from one run to the next, so that a plan is had without them, too."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelforge.bases.headercache import from_json, is_small, to_json
from modelforge.errors import BaseProblem
from modelforge.filehash import put
from modelforge.registry import is_digest, manifest_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelforge.bases import Blob
    from modelforge.gguf import Header
    from modelforge.registry import Manifest

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a registry said of a name and when (Unix s): a manifest's digest, None where there was nothing."""

    digest: str | None
    time: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenTags:
    """What tags a registry listed, and when; None: it lists none."""

    tags: tuple[str, ...] | None
    time: float


@dataclass(frozen=True, slots=True)
class Kept:
    """The files of one folder, which need not exist. What cannot be read or written only costs asking again.

    Manifests and headers lie under their digests, so they never change; names and lists of tags under the registry.
    """

    folder: Path
    now: Callable[[], float]

    def name(self, host: str, repository: str, tag: str) -> Seen | None:
        """What was last said of a tag."""
        data = self._read(self._named(host, f"{repository}:{tag}"))
        digest, time = data.get("digest"), data.get("time")
        sound = digest is None or (isinstance(digest, str) and is_digest(digest))
        return Seen(digest=digest, time=time) if sound and isinstance(time, float) else None

    def keep_name(self, host: str, repository: str, tag: str, manifest: Manifest | None) -> None:
        """Keeps where a tag leads now; None: there is none."""
        if manifest is not None:
            put(self._manifest(manifest.digest), manifest.raw)
        said = {"name": f"{host}/{repository}:{tag}", "digest": manifest.digest if manifest else None}
        self._write(self._named(host, f"{repository}:{tag}"), said)

    def tags(self, host: str, repository: str) -> SeenTags | None:
        """The tags that were last listed."""
        data = self._read(self._named(host, repository))
        tags, time = data.get("tags"), data.get("time")
        if not isinstance(time, float) or not isinstance(tags, (list, type(None))):
            return None
        return SeenTags(tags=None if tags is None else tuple(map(str, tags)), time=time)

    def keep_tags(self, host: str, repository: str, tags: tuple[str, ...] | None) -> None:
        """Keeps a list of tags."""
        self._write(self._named(host, repository), {"name": f"{host}/{repository}", "tags": tags})

    def manifest(self, digest: str) -> Manifest | None:
        """The manifest with this digest."""
        try:
            found = manifest_of(self._manifest(digest).read_bytes(), digest)
        except (OSError, BaseProblem):
            return None
        return found if found.digest == digest else None

    def header(self, blob: Blob) -> Header | None:
        """The header of a blob."""
        return from_json(self._read(self._header(blob)), blob.bytes)

    def keep_header(self, blob: Blob, header: Header) -> None:
        """Keeps it, unless that costs more than it saves."""
        if is_small(header):
            put(self._header(blob), json.dumps(to_json(header)).encode("ascii"))

    def _named(self, host: str, name: str) -> Path:
        return self.folder / "names" / f"{hashlib.sha256(f'{host}/{name}'.encode()).hexdigest()[:32]}.json"

    def _manifest(self, digest: str) -> Path:
        return self.folder / "manifests" / f"{digest.partition(':')[2]}.json"

    def _header(self, blob: Blob) -> Path:
        return self.folder / "headers" / f"{blob.digest.partition(':')[2]}.json"

    def _write(self, path: Path, said: dict[str, Any]) -> None:
        put(path, json.dumps({"format": FORMAT, "time": float(self.now()), **said}).encode("ascii"))

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            data = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) and data.get("format") == FORMAT else {}
