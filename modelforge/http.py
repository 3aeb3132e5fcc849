"""The one door to HTTP: plain calls, streamed lines, uploads, with every failure put into words.

It knows nothing of what is behind the URL. A status is not judged here; what fails here is the way there.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import httpx2  # noqa: TID251 (this is the door)

from modelforge.errors import Unreachable, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from modelforge.project_settings import Timeouts

Transport: TypeAlias = httpx2.BaseTransport

CHUNK = 1 << 20
LARGEST = 256 << 20
"""Bytes of a plain answer, beyond which nobody reads on."""
SLOWEST = 1 << 14
"""Bytes a second that a plain answer must reach once its time is over."""
_LONGEST_LINE = 16 << 20
_REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "the network is unreachable",
    errno.ECONNRESET: "connection reset",
    errno.ETIMEDOUT: "connection timed out",
    errno.EADDRNOTAVAIL: "no such address here",
}


_TLS = {
    "WRONG_VERSION_NUMBER": "TLS: what answers speaks plain http",
    "CERTIFICATE_VERIFY_FAILED": "TLS: its certificate is not one that this machine trusts",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole answer, whatever its status. `location` is where a redirect points, else "".

    `headers` by their names in small letters.
    """

    status: int
    content_type: str
    location: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class NoAnswer(Unreachable):
    """No connection came about. `reason` in two or three words."""

    def __init__(self, url: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"nothing answers at {url} ({reason})")


class CutOff(Unreachable):
    """A connection came about, but no whole answer. `reason` in a few words."""

    def __init__(self, url: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"no answer from {url}: {reason}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """An answer whose body is still coming."""

    status: int
    content_type: str
    lines: Iterator[bytes]

    def rest(self) -> bytes:
        """The body, to its end, as one piece."""
        return b"\n".join(self.lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bytes:
    """An answer whose body is still coming, as it comes. `headers` by their names in small letters."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


class HttpClient:
    """Calls below one base URL. `direct`: never through a proxy, whatever the environment says."""

    def __init__(
        self, base: str, *, timeouts: Timeouts, direct: bool, transport: Transport | None = None
    ) -> None:
        self._base = base.rstrip("/")
        self._timeouts = timeouts
        # The usual context reads hundreds of certificates, 40 ms that plain http has no use for.
        tls = True if base.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            self._client = httpx2.Client(verify=tls, trust_env=not direct, transport=transport)
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            hint = "correct HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or unset them"
            raise UsageProblem(f"a proxy of the environment cannot be used: {error}", hint=hint) from error
        except OSError as error:
            hint = "correct SSL_CERT_FILE and SSL_CERT_DIR, or unset them"
            raise UsageProblem(f"the certificates cannot be read: {error.strerror}", hint=hint) from error

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call and its whole answer.

        Args:
            method: GET, POST and so on.
            path: below the base URL, from its slash on.
            body: sent as JSON, bytes as they are; None sends none.
            seconds: longest wait for the next bytes, and how long the whole may take however slowly they come;
                default the timeout of plain calls.
            headers: sent besides the usual ones.

        Raises:
            NoAnswer, CutOff: there was none.
        """
        end = time.monotonic() + (self._timeouts.call if seconds is None else seconds)
        with self._asked(method, path, body, seconds, headers) as response:
            return _answer(response, self._whole(response, end))

    @contextmanager
    def fetch(self, path: str, *, headers: Mapping[str, str]) -> Iterator[Bytes]:
        """A GET whose body is taken as it comes; what is left of it when the context ends is not read.

        The bytes are those that lie on the server: none are packed for the way.

        Raises:
            NoAnswer, CutOff: also from within the pieces, and where they come too slowly.
        """
        end = time.monotonic() + self._timeouts.call
        with self._asked("GET", path, None, None, {"Accept-Encoding": "identity", **headers}) as response:
            yield Bytes(
                status=response.status_code,
                headers=dict(response.headers),
                pieces=self._in_time(response, end),
            )

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        body: object,
        seconds: float | None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[httpx2.Response]:
        """One call, its answer's body still to be read."""
        with (
            self._translated(),
            self._client.stream(
                method,
                self._base + path,
                content=_encoded(body),
                headers={**_headers(body), **(headers or {})},
                timeout=self._timeout(seconds),
            ) as response,
        ):
            yield response

    def _whole(self, response: httpx2.Response, end: float) -> bytes:
        """The body, not without end."""
        body = bytearray()
        for piece in self._in_time(response, end):
            body += piece
            if len(body) > LARGEST:
                raise CutOff(self._base, f"its answer is longer than {LARGEST >> 20} MiB")
        return bytes(body)

    def _in_time(self, response: httpx2.Response, end: float) -> Iterator[bytes]:
        """The pieces of a body, not in drops, which the wait for the next bytes does not see."""
        count = 0
        with self._translated():
            for piece in response.iter_bytes():
                count += len(piece)
                if time.monotonic() > end + count / SLOWEST:
                    raise CutOff(self._base, "its answer comes too slowly")
                yield piece

    @contextmanager
    def stream(self, method: str, path: str, body: object, *, seconds: float) -> Iterator[Stream]:
        """One call whose answer is read line by line; `seconds` is the longest wait between two lines.

        Raises:
            NoAnswer, CutOff: also from within the lines.
        """
        with self._asked(method, path, body, seconds) as response:
            yield Stream(
                status=response.status_code,
                content_type=response.headers.get("content-type", ""),
                lines=_lines(response.iter_bytes()),
            )

    def upload(self, path: str, file: Path, on_bytes: Callable[[int], None]) -> Answer:
        """POSTs a file's bytes; `on_bytes` hears after each piece how many are sent in all.

        Raises:
            NoAnswer, CutOff: also where the server answers before it has read everything.
            OSError: the file cannot be read.
        """
        with self._translated(), file.open("rb") as data:
            size = os.fstat(data.fileno()).st_size
            response = self._client.post(
                self._base + path,
                content=_pieces(iter(lambda: data.read(CHUNK), b""), on_bytes),
                headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
                timeout=self._timeout(self._timeouts.load),
            )
        return _answer(response, response.content)

    def close(self) -> None:
        """Lets go of the connections."""
        self._client.close()

    def _timeout(self, seconds: float | None) -> httpx2.Timeout:
        return httpx2.Timeout(
            self._timeouts.call if seconds is None else seconds, connect=self._timeouts.connect
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turns the library's errors into ours."""
        try:
            yield
        except httpx2.ConnectTimeout as error:
            reason = f"no connection within {self._timeouts.connect:g} s"
            raise NoAnswer(self._base, reason) from error
        except (httpx2.ConnectError, httpx2.ProxyError) as error:
            raise NoAnswer(self._base, _why(error)) from error
        except httpx2.TimeoutException as error:
            raise CutOff(self._base, _waited(error)) from error
        except httpx2.TransportError as error:
            raise CutOff(self._base, _broken(error)) from error
        except httpx2.DecodingError as error:
            raise CutOff(self._base, "its answer cannot be unpacked") from error


def _encoded(body: object) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()


def _headers(body: object) -> dict[str, str]:
    return {} if body is None or isinstance(body, bytes) else {"Content-Type": "application/json"}


def _answer(response: httpx2.Response, body: bytes) -> Answer:
    return Answer(
        status=response.status_code,
        content_type=response.headers.get("content-type", ""),
        location=response.headers.get("location", ""),
        body=body,
        headers=dict(response.headers),
    )


def _pieces(pieces: Iterator[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    for piece in pieces:
        yield piece
        sent += len(piece)
        on_bytes(sent)


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Lines without their ends, empty ones left out. Only LF ends a line: JSON may hold U+0085 as it is."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from filter(None, whole)
        if len(rest) > _LONGEST_LINE:
            raise httpx2.DecodingError("a line without end")
    if rest:
        yield rest


def _why(error: BaseException) -> str:
    """Why no connection came about, from the system's own error underneath."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "no such host"
        if isinstance(cause, ssl.SSLError):
            return _TLS.get(cause.reason, f"TLS: {cause.reason or cause}")
        if isinstance(cause, OSError) and cause.errno in _REASONS:
            return _REASONS[cause.errno]
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _waited(error: httpx2.TimeoutException) -> str:
    limits = error.request.extensions.get("timeout", {})
    seconds = limits.get("read")
    return "nothing came in time" if seconds is None else f"nothing came for {seconds:g} s"


def _broken(error: httpx2.TransportError) -> str:
    text = str(error)
    cut = ("isconnected", "incomplete", "without sending complete")
    if isinstance(error, httpx2.RemoteProtocolError) and not any(words in text for words in cut):
        return f"what answers does not speak HTTP ({text})"
    return "the connection broke off"
