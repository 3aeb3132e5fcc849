"""Models of a registry made of a few bytes, and a source of their blobs that counts what it gives."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelforge.bases import Blob, RegistryModel
from modelforge.download import Fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "localhost:5000/team/coder:v1"
CONFIG = {"model_format": "gguf", "renderer": "", "parser": ""}
_OLLAMA = "application/vnd.ollama.image."
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Shelf:
    """Models and their blobs. `starts` has where each stream began, `given` how many bytes went out in all.

    `cut`: the next stream breaks off after so many bytes, with `error`.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    given: int = 0
    cut: int | None = None
    error: BaseException = field(default_factory=KeyboardInterrupt)

    def put(
        self, *layers: tuple[str, bytes], name: str = NAME, config: dict[str, object] | None = None
    ) -> RegistryModel:
        """A model of these layers, each its kind (`model`, `system`) and its bytes."""
        parts = [
            Blob(media_type=_OLLAMA + kind, digest=sha256(data), bytes=len(data)) for kind, data in layers
        ]
        data = json.dumps(CONFIG if config is None else config).encode()
        parts.append(Blob(media_type=_CONFIG_TYPE, digest=sha256(data), bytes=len(data)))
        self.blobs |= {sha256(content): content for content in (*(layer for _kind, layer in layers), data)}
        described = [
            {"mediaType": part.media_type, "digest": part.digest, "size": part.bytes} for part in parts
        ]
        manifest = json.dumps(
            {"schemaVersion": 2, "config": described[-1], "layers": described[:-1]}
        ).encode()
        return RegistryModel(
            name=name, digest=sha256(manifest), manifest=manifest, blobs=tuple(parts), insecure=True
        )

    def fetch(self, folder: Path) -> Fetch:
        return Fetch(open=self.open, folder=folder)

    @contextmanager
    def open(self, digest: str, start: int) -> Iterator[Iterator[bytes]]:
        self.starts.append(start)
        yield self._pieces(self.blobs[digest][start:])

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        cut, self.cut = self.cut, None
        whole = data if cut is None else data[:cut]
        self.given += len(whole)
        yield whole
        if cut is not None:
            raise self.error


def whole(model: RegistryModel) -> int:
    """Bytes of all its blobs, each once."""
    return sum({blob.digest: blob.bytes for blob in model.blobs}.values())
