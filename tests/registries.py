"""A registry that answers from memory, through the transport of our one door to HTTP. It counts what it gives."""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2  # noqa: TID251 (the fake behind the door)

from modelforge.project_settings import Timeouts
from modelforge.registry import MODEL_TYPE, PROJECTOR_TYPE
from modelforge.registry.client import Registry, open_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HOST = "registry.example.com"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"


@lru_cache(maxsize=64)
def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Body(httpx2.SyncByteStream):
    """Bytes in pieces, each told of as it goes out; `cut` ends them in a broken connection after so many bytes."""

    def __init__(self, data: bytes, told: Callable[[int], None], cut: int | None = None) -> None:
        self.data, self.told, self.cut = data, told, cut

    def __iter__(self) -> Iterator[bytes]:
        step = 1 << 16
        for at in range(0, len(self.data), step):
            piece = self.data[at : min(at + step, len(self.data))]
            if self.cut is not None and at + len(piece) > self.cut:
                yield piece[: max(self.cut - at, 0)]
                raise httpx2.RemoteProtocolError(
                    "peer closed connection without sending complete message body"
                )
            self.told(len(piece))
            yield piece


@dataclass
class FakeRegistry:
    """`lists`: whether it lists tags. `ranges`: whether it knows ranges. `storage`: a host that blobs redirect to.

    `before` sees each request first and may answer it. `asked` has `METHOD URL` of all requests, `sent` the bytes of
    all blobs that went out.
    """

    lists: bool = True
    ranges: bool = True
    storage: str = ""
    cut: int | None = None
    before: Callable[[httpx2.Request], httpx2.Response | None] = lambda _request: None
    tags: dict[str, bytes] = field(default_factory=dict, repr=False)
    blobs: dict[str, bytes] = field(default_factory=dict, repr=False)
    asked: list[str] = field(default_factory=list, repr=False)
    requests: list[httpx2.Request] = field(default_factory=list, repr=False)
    sent: int = 0

    def push(self, name: str, weights: bytes, *, projector: bytes = b"", **more: bytes) -> str:
        """Puts a model there, `repository:tag`, and gives the digest of its manifest; `more` are layers by type."""
        layers = [self._layer(MODEL_TYPE, weights)] if weights else []
        layers += [self._layer(PROJECTOR_TYPE, projector)] if projector else []
        layers += [self._layer(f"application/vnd.ollama.image.{kind}", data) for kind, data in more.items()]
        config = self._layer(CONFIG_TYPE, json.dumps({"model_format": "gguf"}).encode())
        self.tags[name] = json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode()
        return sha256(self.tags[name])

    def _layer(self, media_type: str, data: bytes) -> dict[str, object]:
        self.blobs[sha256(data)] = data
        return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}

    def open(self, host: str = HOST, **more: object) -> Registry:
        """A client of it that never sleeps."""
        given = {
            "insecure": False,
            "environment": {},
            "home": Path("/nobody"),
            "sleep": lambda _seconds: None,
        }
        return open_registry(host, timeouts=Timeouts(), transport=self.transport, **(given | more))  # type: ignore[arg-type]

    def connect(self, host: str, insecure: bool) -> Registry:  # noqa: FBT001 (as `Work.connect` is called)
        """The same, as `Work.connect` wants it."""
        return self.open(host, insecure=insecure)

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.answer)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(f"{request.method} {request.url}")
        self.requests.append(request)
        found = self.before(request)
        if found is not None:
            return found
        path = request.url.path
        if path.endswith("/tags/list"):
            return self._list(path.removeprefix("/v2/").removesuffix("/tags/list"))
        repository, _, rest = path.removeprefix("/v2/").rpartition("/manifests/")
        if repository:
            return self._manifest(repository, rest)
        return self._blob(request, path.rpartition("/")[2])

    def _list(self, repository: str) -> httpx2.Response:
        if not self.lists:
            return httpx2.Response(404, text="404 page not found")
        tags = [name.partition(":")[2] for name in self.tags if name.startswith(f"{repository}:")]
        return httpx2.Response(200, json={"tags": tags}) if tags else unknown("NAME_UNKNOWN")

    def _manifest(self, repository: str, tag: str) -> httpx2.Response:
        for name, raw in self.tags.items():
            if name == f"{repository}:{tag}" or (name.startswith(f"{repository}:") and sha256(raw) == tag):
                return httpx2.Response(200, content=raw, headers={"docker-content-digest": sha256(raw)})
        return unknown("MANIFEST_UNKNOWN")

    def _blob(self, request: httpx2.Request, digest: str) -> httpx2.Response:
        data = self.blobs.get(digest)
        if data is None:
            return unknown("BLOB_UNKNOWN")
        if self.storage and request.url.host != self.storage:
            return httpx2.Response(307, headers={"location": f"https://{self.storage}/signed/{digest}"})
        return self._bytes(data, request.headers)

    def _bytes(self, data: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        asked = headers.get("range", "").removeprefix("bytes=")
        if not asked or not self.ranges:
            return httpx2.Response(
                200, stream=Body(data, self._told, self.cut), headers={"content-length": str(len(data))}
            )
        first, _, last = asked.partition("-")
        start, end = int(first), min(int(last) if last else len(data), len(data) - 1)
        if start >= len(data):
            return httpx2.Response(416)
        part = data[start : end + 1]
        said = {"content-range": f"bytes {start}-{end}/{len(data)}", "content-length": str(len(part))}
        return httpx2.Response(206, stream=Body(part, self._told, self.cut), headers=said)

    def _told(self, count: int) -> None:
        self.sent += count


def no_network(_request: httpx2.Request) -> httpx2.Response:
    """For `before`: nothing answers."""
    raise httpx2.ConnectError("x") from OSError(errno.ENETUNREACH, "x")


def unknown(code: str) -> httpx2.Response:
    return httpx2.Response(404, json={"errors": [{"code": code, "message": "not found"}]})
