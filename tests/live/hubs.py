"""What speaks the Hub's protocol on the loopback: lists of repositories, and files on a second port as on its CDN."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMIT = "5e1f" * 10
REPOSITORY = "org/tiny-GGUF"


@dataclass
class Hub:
    """One repository. `sent` counts the bytes of files, `asked` has the paths and `authorized` what came along.

    `token`: who does not send it is refused as the Hub refuses who may not see a private repository. `limit`: all
    calls are answered with 429. `cut`: the next download from the CDN ends after so many bytes. `gives` stands in for
    what a file has.
    """

    files: Mapping[str, bytes]
    token: str = ""
    limit: bool = False
    cut: int | None = None
    gives: bytes | None = None
    sent: int = 0
    asked: list[str] = field(default_factory=list)
    authorized: dict[str, set[str | None]] = field(default_factory=lambda: {"hub": set(), "cdn": set()})
    servers: list[ThreadingHTTPServer] = field(default_factory=list)

    def start(self) -> None:
        """Begins to answer, on the same ports as before."""
        ports = [one.server_address[1] for one in self.servers] or [0, 0]
        self.servers = []
        for kind, port in zip(("hub", "cdn"), ports, strict=True):
            server = ThreadingHTTPServer(
                ("127.0.0.1", port), type("Bound", (_Handler,), {"hub": self, "kind": kind})
            )
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            self.servers.append(server)

    def stop(self) -> None:
        """Nothing answers any more."""
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def url(self, which: int = 0) -> str:
        """The Hub's endpoint, or (1) the CDN's."""
        return f"http://127.0.0.1:{self.servers[which].server_address[1]}"

    def listing(self) -> dict[str, Any]:
        """As `/api/models/{repo}/revision/{revision}?blobs=true` gives it."""
        files = [
            {
                "rfilename": path,
                "size": len(data),
                "blobId": hashlib.sha1(data).hexdigest(),  # noqa: S324 (git's)
                "lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134},
            }
            for path, data in self.files.items()
        ]
        plain = {"rfilename": "README.md", "size": 12, "blobId": "0" * 40}
        return {
            "_id": "66f0c0ffee",
            "id": REPOSITORY,
            "modelId": REPOSITORY,
            "sha": COMMIT,
            "private": False,
            "gated": False,
            "disabled": False,
            "downloads": 1,
            "likes": 0,
            "tags": ["gguf"],
            "lastModified": "2026-01-02T03:04:05.000Z",
            "createdAt": "2026-01-02T03:04:05.000Z",
            "siblings": [plain, *files],
        }


class _Handler(BaseHTTPRequestHandler):
    """One call. Bound to a hub and to which of its ports this is."""

    hub: Hub
    kind: str
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.kind} {self.command} {path}")
        self.hub.authorized[self.kind].add(self.headers.get("authorization"))
        with suppress(ConnectionError):
            self._cdn(path) if self.kind == "cdn" else self._hub(path)

    do_HEAD = do_GET

    def _hub(self, path: str) -> None:
        if self.hub.limit:
            self._say(429, b"rate limited", {"Retry-After": "900"})
        elif self.hub.token and self.headers.get("authorization") != f"Bearer {self.hub.token}":
            error = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."}
            self._say(401, b'{"error":"Invalid username or password."}', error)
        elif path in {f"/api/models/{REPOSITORY}/revision/{name}" for name in ("main", COMMIT)}:
            self._say(200, json.dumps(self.hub.listing()).encode(), {"Content-Type": "application/json"})
        elif path.startswith(f"/api/models/{REPOSITORY}/revision/"):
            self._say(404, b'{"error":"Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/"):
            name = path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/")
            digest = hashlib.sha256(self.hub.files[name]).hexdigest()
            size = str(len(self.hub.files[name]))
            said = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": size}
            self._say(302, b"", {**said, "Location": f"{self.hub.url(1)}/lfs/{name}?X-Amz-Signature=0123"})
        else:
            self._say(404, b'{"error":"Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    def _cdn(self, path: str) -> None:
        data = self.hub.gives or self.hub.files[path.removeprefix("/lfs/")]
        asked = self.headers.get("range", "").removeprefix("bytes=")
        first, _, last = asked.partition("-")
        start = int(first or 0)
        part = data[start : int(last) + 1 if last else len(data)]
        said = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"} if asked else {}
        self._say(206 if asked else 200, part, {"Accept-Ranges": "bytes", **said})

    def _say(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.kind == "cdn" and self.hub.cut is not None and len(body) > self.hub.cut:
            body, self.hub.cut, self.close_connection = body[: self.hub.cut], None, True
        if self.kind == "cdn":
            self.hub.sent += len(body)
        self.wfile.write(body)
