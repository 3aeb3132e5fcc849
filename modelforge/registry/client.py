"""One registry: manifests, lists of tags, and blobs by ranges.

Docker's registry protocol (distribution docs/spec/api.md), as Ollama speaks it (server/images.go, download.go,
v0.32.15).
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin

from modelforge.errors import Unreachable
from modelforge.http import CutOff
from modelforge.registry import MANIFEST_TYPE, Manifest, NotThere, is_digest, manifest_of
from modelforge.registry.calls import TRIES, Calls, is_loopback
from modelforge.registry.login import login_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from modelforge.http import Bytes, Transport
    from modelforge.project_settings import Timeouts

_LARGEST_MANIFEST = 4 << 20
_LARGEST_LIST = 16 << 20
_MOST_PAGES = 100
_LARGEST_PAGE = 1000
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_NO_LIST = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED})


def open_registry(
    host: str,
    *,
    insecure: bool,
    environment: Mapping[str, str],
    home: Path,
    timeouts: Timeouts,
    transport: Transport | None = None,
    sleep: Callable[[float], object] | None = None,
) -> Registry:
    """A registry. Nothing is asked of it, and no credentials are looked up, before they are needed.

    Args:
        host: name or address, with its port (`registry.ollama.ai`, `localhost:5000`).
        insecure: over plain http. A host on this machine's loopback always is.
        environment: for DOCKER_CONFIG, and for credential helpers.
        home: the user's own folder, where docker's config.json lies.
        timeouts: of plain calls.
        transport: in place of the network.
        sleep: waits for so many seconds; None: for real, until it is stopped.
    """
    host, insecure = host.casefold(), insecure or is_loopback(host)
    calls = Calls(
        host=host,
        insecure=insecure,
        login=lambda: login_for(host, environment=environment, home=home),
        timeouts=timeouts,
        transport=transport,
        sleep=sleep,
    )
    return Registry(host, calls, insecure=insecure)


class Registry:
    """One host. Its calls may be made from several threads. Every one may raise `Unreachable` or `BaseProblem`.

    `insecure`: it is asked over plain http.
    """

    def __init__(self, host: str, calls: Calls, *, insecure: bool) -> None:
        self.host = host
        self.insecure = insecure
        self._calls = calls

    def manifest(self, repository: str, tag: str) -> Manifest:
        """The manifest that a tag leads to, or the one with a digest (`sha256:<hex>`).

        Raises:
            NotThere: the registry has none.
            BaseProblem: it is no model's, or may not be read.
            Unreachable: nothing answers, the registry puts us off for too long, or its digest is wrong.
        """
        name = f"{self.host}/{repository}{'@' if is_digest(tag) else ':'}{tag}"
        path = f"/v2/{quote(repository)}/manifests/{quote(tag, safe=':')}"
        with self._calls.get(repository, path, {"Accept": MANIFEST_TYPE}) as answer:
            raw = self._calls.whole(answer, _LARGEST_MANIFEST, name)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise NotThere(f"the registry {self.host} has no {name.partition('/')[2]}")
        self._calls.judge(answer.status, raw, name)
        found = manifest_of(raw, name)
        said = tag if is_digest(tag) else answer.headers.get("docker-content-digest", "")
        if is_digest(said) and said != found.digest:
            raise Unreachable(
                f"the manifest of {name} is not what its digest says: that is {said}, what came is {found.digest}",
                hint="something on the way alters it: try again, without a proxy",
            )
        return found

    def tags(self, repository: str) -> tuple[str, ...] | None:
        """All tags of a repository, () where it is not there; None: this registry does not list them."""
        path, found = f"/v2/{quote(repository)}/tags/list?n={_LARGEST_PAGE}", list[str]()
        name = f"the list of tags of {self.host}/{repository}"
        for _ in range(_MOST_PAGES):
            with self._calls.get(repository, path, {"Accept": "application/json"}) as answer:
                raw = self._calls.whole(answer, _LARGEST_LIST, name)
            if answer.status == HTTPStatus.NOT_FOUND:
                return () if b"NAME_UNKNOWN" in raw else None
            if answer.status in _NO_LIST:
                return None
            self._calls.judge(answer.status, raw, name)
            page = _tags_in(raw)
            if page is None:
                return None
            found += page
            following = _NEXT.search(answer.headers.get("link", ""))
            if following is None:
                break
            path = self._path_of(following[1])
        return tuple(dict.fromkeys(found))

    def read(self, repository: str, digest: str, start: int, length: int) -> bytes:
        """Bytes of a blob from `start` on; fewer than `length` only where the blob ends there."""
        found, tries = bytearray(), 0
        while len(found) < length:
            try:
                if self._read_on(repository, digest, start, length, found):
                    break
            except CutOff:
                tries += 1
                if tries == TRIES:
                    raise
        return bytes(found[:length])

    @contextmanager
    def stream(self, repository: str, digest: str, start: int) -> Iterator[Iterator[bytes]]:
        """A blob from byte `start` to its end, piece by piece. Whether it is what its digest says is not checked."""
        wanted = {"Range": f"bytes={start}-"} if start else {}
        with self._blob(repository, digest, start, wanted) as (pieces, there):
            yield self._to_end(pieces, start, there)

    def stop(self) -> None:
        """Ends what other threads ask here as soon as may be; nothing more can be asked then."""
        self._calls.stop()

    def close(self) -> None:
        """Lets go of the connections."""
        self._calls.close()

    def _read_on(self, repository: str, digest: str, start: int, length: int, found: bytearray) -> bool:
        """Adds what is lacking of so many bytes, or a part of it; whether there is nothing to add."""
        begin = start + len(found)
        wanted = {"Range": f"bytes={begin}-{start + length - 1}"}
        with self._blob(repository, digest, begin, wanted) as (pieces, there):
            for piece in self._to_end(pieces, begin, there):
                found += piece
                if len(found) >= length:  # of a server that does not know ranges, the rest is the weights
                    return False
        return start + len(found) == begin

    @contextmanager
    def _blob(
        self, repository: str, digest: str, start: int, wanted: Mapping[str, str]
    ) -> Iterator[tuple[Iterator[bytes], int | None]]:
        """The pieces from `start` on, and how many bytes they are if the answer says so."""
        name = f"the blob {digest} of {self.host}/{repository}"
        with self._calls.get(repository, f"/v2/{quote(repository)}/blobs/{digest}", wanted) as answer:
            if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                yield iter(()), 0
            elif answer.status == HTTPStatus.PARTIAL_CONTENT:
                yield answer.pieces, self._announced(answer, start)
            elif answer.status == HTTPStatus.NOT_FOUND:
                raise NotThere(f"the registry {self.host} has lost {name}", hint="push the model again")
            else:
                if answer.status != HTTPStatus.OK:
                    body = self._calls.whole(answer, _LARGEST_MANIFEST, name)
                    self._calls.judge(answer.status, body, name)
                size = answer.headers.get("content-length", "")
                there = max(int(size) - start, 0) if size.isdecimal() else None
                yield _without(answer.pieces, start), there

    def _announced(self, answer: Bytes, start: int) -> int:
        """How many bytes a 206 announces, which has to begin where it was asked to."""
        said = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
        if said is None or int(said[1]) != start:
            raise Unreachable(f"{self._calls.url} was asked for bytes from {start} on, and gives others")
        return int(said[2]) - start + 1

    def _to_end(self, pieces: Iterator[bytes], start: int, there: int | None) -> Iterator[bytes]:
        count = 0
        for piece in self._calls.going_on(pieces):
            count += len(piece)
            yield piece
        if there is not None and count < there:
            raise CutOff(self._calls.url, f"a blob broke off after {start + count} bytes")

    def _path_of(self, url: str) -> str:
        """The path of the page that a list goes on with, which has to be on the same host."""
        target = urljoin(self._calls.url, url)
        if not target.startswith(f"{self._calls.url}/"):
            raise Unreachable(f"{self._calls.url} goes on with its list at {target}")
        return target[len(self._calls.url) :]


def _without(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The pieces after the first `count` bytes."""
    for piece in pieces:
        if count < len(piece):
            yield piece[count:]
        count = max(count - len(piece), 0)


def _tags_in(body: bytes) -> list[str] | None:
    """A page of tags; None where it is none, as of a server that answers everything with a page for people."""
    try:
        tags = json.loads(body)["tags"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (
        [tag for tag in tags or () if isinstance(tag, str)] if isinstance(tags, (list, type(None))) else None
    )
