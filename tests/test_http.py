from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING

import httpx2  # noqa: TID251 (the fake behind the door)
import pytest

from modelforge.errors import UsageProblem
from modelforge.http import CutOff, HttpClient, NoAnswer
from modelforge.project_settings import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

URL = "http://127.0.0.1:11434"


def client(
    handler: Callable[[httpx2.Request], httpx2.Response], timeouts: Timeouts | None = None
) -> HttpClient:
    return HttpClient(
        URL, timeouts=timeouts or Timeouts(), direct=True, transport=httpx2.MockTransport(handler)
    )


class Pieces(httpx2.SyncByteStream):
    """A body in pieces, which may end in an error."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def test_a_call_sends_json_as_utf8_and_gives_any_status_back() -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(418, text="no", headers={"location": "/there"})

    answer = client(handler).call("POST", "/api/x", {"a": "é\u2028"})
    assert (answer.status, answer.body, answer.location) == (418, b"no", "/there")
    assert answer.content_type.startswith("text/plain")
    assert json.loads(seen[0].content) == {"a": "é\u2028"}
    assert "é".encode() in seen[0].content
    assert seen[0].headers["content-type"] == "application/json"


def test_lines_end_at_line_feeds_alone_and_may_come_in_pieces() -> None:
    body = Pieces(b'{"a":"x\xc2\x85y', b'\x0cz"}\n\n{"b"', b":1}\n", b"tail")
    with client(lambda _: httpx2.Response(200, stream=body)).stream("POST", "/", {}, seconds=1) as stream:
        assert list(stream.lines) == [b'{"a":"x\xc2\x85y\x0cz"}', b'{"b":1}', b"tail"]


def test_an_upload_tells_its_length_and_its_progress(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(2_500_000))
    heard: list[int] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["content-length"] == "2500000"
        assert "transfer-encoding" not in request.headers
        return httpx2.Response(201, text=str(len(request.read())))

    assert client(handler).upload("/b", file, heard.append).body == b"2500000"
    assert heard == [1 << 20, 2 << 20, 2_500_000]


def _raise(error: Exception, cause: Exception | None = None) -> Callable[[httpx2.Request], httpx2.Response]:
    def handler(request: httpx2.Request) -> httpx2.Response:
        if isinstance(error, httpx2.RequestError):
            error.request = request
        raise error from cause

    return handler


@pytest.mark.parametrize(
    ("error", "cause", "reason"),
    [
        (httpx2.ConnectError("x"), OSError(errno.ECONNREFUSED, "x"), "connection refused"),
        (httpx2.ConnectError("x"), OSError(errno.EHOSTUNREACH, "x"), "no route to the host"),
        (httpx2.ConnectError("odd"), None, "odd"),
        (httpx2.ConnectTimeout("x"), None, "no connection within 5 s"),
    ],
)
def test_no_connection_says_why(error: Exception, cause: Exception | None, reason: str) -> None:
    with pytest.raises(NoAnswer) as caught:
        client(_raise(error, cause)).call("GET", "/")
    assert caught.value.reason == reason
    assert caught.value.exit_code == 10
    assert URL in str(caught.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx2.ReadTimeout("x"), "nothing came for 30 s"),
        (httpx2.ReadError("x"), "the connection broke off"),
        (
            httpx2.RemoteProtocolError("Server disconnected without sending a response."),
            "the connection broke off",
        ),
        (
            httpx2.RemoteProtocolError("illegal status line"),
            "what answers does not speak HTTP (illegal status line)",
        ),
    ],
)
def test_a_broken_answer_says_how(error: Exception, reason: str) -> None:
    with pytest.raises(CutOff) as caught:
        client(_raise(error)).call("GET", "/")
    assert caught.value.reason == reason


def test_timeouts_can_be_set() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=request.extensions["timeout"])

    http = client(handler, Timeouts(connect=1, call=2, load=3))
    assert json.loads(http.call("GET", "/").body) == {"connect": 1, "read": 2, "write": 2, "pool": 2}
    with http.stream("GET", "/", None, seconds=9) as stream:
        assert json.loads(stream.rest())["read"] == 9


def test_a_stream_that_breaks_off_is_no_whole_answer() -> None:
    body = Pieces(b"one\ntw", httpx2.ReadError("reset"))
    http = client(lambda _: httpx2.Response(200, stream=body))
    heard: list[bytes] = []
    with pytest.raises(CutOff), http.stream("GET", "/", None, seconds=1) as stream:
        heard.extend(stream.lines)
    assert heard == [b"one"]


@pytest.mark.parametrize("direct", [True, False])
def test_loopback_never_goes_through_a_proxy(direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    http = HttpClient(URL, timeouts=Timeouts(), direct=direct)
    assert bool(http._client._mounts) is not direct
    http.close()


@pytest.mark.parametrize("proxy", ["http://@@:x", "http://[::", "ftp://proxy"])
def test_a_proxy_that_cannot_be_used_is_said(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(UsageProblem, match="a proxy of the environment cannot be used") as caught:
        HttpClient("http://gpu-box:11434", timeouts=Timeouts(), direct=False)
    assert "HTTP_PROXY" in str(caught.value.problems[0].hint)
    HttpClient(URL, timeouts=Timeouts(), direct=True).close()  # on loopback it does not matter


def test_certificates_that_are_not_there_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    with pytest.raises(UsageProblem, match="the certificates cannot be read: No such file"):
        HttpClient("https://gpu-box:11434", timeouts=Timeouts(), direct=False)


def test_an_answer_in_drops_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr("modelforge.http.time.monotonic", lambda: float(next(seconds)))
    http = client(lambda _: httpx2.Response(200, stream=Pieces(*[b"x"] * 50)))
    with pytest.raises(CutOff, match="too slowly"):
        http.call("GET", "/", seconds=30)


def test_an_answer_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelforge.http.LARGEST", 100)
    monkeypatch.setattr("modelforge.http._LONGEST_LINE", 100)
    http = client(lambda _: httpx2.Response(200, stream=Pieces(*[b"x" * 60] * 9)))
    with pytest.raises(CutOff, match="longer than"):
        http.call("GET", "/")
    with pytest.raises(CutOff), http.stream("GET", "/", None, seconds=1) as stream:
        stream.rest()


def test_a_body_is_taken_as_it_comes_and_no_further() -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        body = Pieces(b"one", b"two", httpx2.ReadError("never read"))
        return httpx2.Response(206, stream=body, headers={"Content-Range": "bytes 0-9/10"})

    with client(handler).fetch("/x", headers={"Range": "bytes=0-9"}) as answer:
        assert (answer.status, answer.headers["content-range"]) == (206, "bytes 0-9/10")
        assert [next(answer.pieces), next(answer.pieces)] == [b"one", b"two"]
    assert (seen[0].headers["range"], seen[0].headers["accept-encoding"]) == ("bytes=0-9", "identity")


def test_a_body_that_breaks_off_says_so_where_it_is_read() -> None:
    cut = httpx2.RemoteProtocolError(
        "peer closed connection without sending complete message body (received 3)"
    )
    http = client(lambda _: httpx2.Response(200, stream=Pieces(b"one", cut)))
    with http.fetch("/", headers={}) as answer:
        assert next(answer.pieces) == b"one"
        with pytest.raises(CutOff, match="the connection broke off"):
            next(answer.pieces)


def test_bytes_are_sent_as_they_are_and_headers_beside_the_usual_ones() -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(401, headers={"WWW-Authenticate": "Bearer"})

    answer = client(handler).call("POST", "/", b"a=b", headers={"Content-Type": "text/x"})
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (seen[0].content, seen[0].headers["content-type"]) == (b"a=b", "text/x")
