"""A Hugging Face that answers from memory: its lists by a function, its files through the transport of our own door."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2  # noqa: TID251 (the fake behind the door)

from modelforge.bases.hub import ListedFile, Listing
from modelforge.bases.hubsource import HubSource
from modelforge.bases.registrycache import Kept
from modelforge.http import NoAnswer
from modelforge.project_settings import Timeouts
from modelforge.registry import NotThere
from modelforge.registry.hubfiles import open_hub_files
from tests.registries import Body, no_network, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelforge.site import Site

ENDPOINT = "https://hub.example.com"
CDN = "cdn.example.net"


@dataclass
class FakeHub:
    """`files` are those of `org/repo` by their paths. `token`: files are given only to who has it, "" to anybody.

    `sends` is our token. `down`: nothing answers. `gives` stands for what a file has. `error` is raised by the list.
    `listed` has what was listed, `requests` what was asked of files and may be answered by `before`, `sent` the bytes
    of files that went out. A file is on `CDN`, which the Hub redirects to.
    """

    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    token: str = ""
    sends: str | None = None
    down: bool = False
    error: Exception | None = None
    gives: bytes | None = None
    cut: int | None = None
    listed: list[str] = field(default_factory=list)
    requests: list[httpx2.Request] = field(default_factory=list, repr=False)
    sent: int = 0
    no_digest: set[str] = field(default_factory=set)
    before: Callable[[httpx2.Request], httpx2.Response | None] = lambda _request: None

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(map(sha256, self.files.values()))).encode()).hexdigest()  # noqa: S324

    def open(self, site: Site) -> HubSource:
        """What `Work.hub` gives, for a site."""
        files = open_hub_files(
            ENDPOINT,
            token=self.sends,
            timeouts=Timeouts(),
            transport=httpx2.MockTransport(self.answer),
            sleep=lambda _: None,
        )
        kept = Kept(site.cache / "hub", site.now)
        return HubSource(self.list, files, kept, downloads=site.cache / "downloads", emit=site.emit)

    def list(self, repository: str, revision: str) -> Listing:
        self.listed.append(f"{repository}@{revision}")
        if self.error is not None:
            raise self.error
        if self.down:
            raise NoAnswer(ENDPOINT, "the network is unreachable")
        if repository != "org/repo":
            raise NotThere(f"there is no {ENDPOINT}/{repository}, or it may not be read without a login")
        files = (
            ListedFile(path=path, bytes=len(data), digest="" if path in self.no_digest else sha256(data))
            for path, data in sorted(self.files.items())
        )
        return Listing(commit=self.commit, files=tuple(files))

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.down:
            return no_network(request)
        found = self.before(request)
        if found is not None:
            return found
        if request.url.host == CDN:
            return self._bytes(request)
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return httpx2.Response(401, text="Access to model org/repo is restricted.")
        prefix = f"/org/repo/resolve/{self.commit}/"
        path = request.url.path.removeprefix(prefix)
        if not request.url.path.startswith(prefix) or path not in self.files:
            return httpx2.Response(404, text="Entry not found")
        return httpx2.Response(302, headers={"location": f"https://{CDN}/{path}?signature=x"})

    def _bytes(self, request: httpx2.Request) -> httpx2.Response:
        data = self.gives or self.files[request.url.path[1:]]
        first, _, last = request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
        start = int(first)
        if start >= len(data):
            return httpx2.Response(416)
        part = data[start : int(last) + 1 if last else len(data)]
        cut, self.cut = self.cut, None
        said = {
            "content-range": f"bytes {start}-{start + len(part) - 1}/{len(data)}",
            "content-length": str(len(part)),
        }
        return httpx2.Response(206, stream=Body(part, self._told, cut), headers=said)

    def _told(self, count: int) -> None:
        self.sent += count
