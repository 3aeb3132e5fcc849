"""The client of registries: what it asks, whom it tells who we are, and what it says when something is wrong."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx2  # noqa: TID251 (the fake behind the door)
import pytest

from modelforge import process
from modelforge.errors import BaseProblem, BuildFailed, ExitCode, ForgeError, Unreachable, UsageProblem
from modelforge.process import Completed
from modelforge.registry import MANIFEST_TYPE, NotThere, manifest_of, reference_of
from tests.registries import HOST, FakeRegistry, no_network, sha256, unknown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = bytes(range(256)) * 4096
DIGEST = sha256(DATA)
HEX = "0123456789abcdef" * 4
PIN = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("model", "tag", "expected"),
    [
        ("qwen", None, ("registry.ollama.ai", "library/qwen", "latest", "qwen:latest")),
        ("qwen:7b", None, ("registry.ollama.ai", "library/qwen", "7b", "qwen:7b")),
        ("me/qwen", "7b", ("registry.ollama.ai", "me/qwen", "7b", "me/qwen:7b")),
        ("localhost:5000/a/b:c", None, ("localhost:5000", "a/b", "c", "localhost:5000/a/b:c")),
        ("Host.example/a/b:c", "C", ("host.example", "a/b", "c", "Host.example/a/b:c")),
        (f"a/b@{PIN}", None, ("registry.ollama.ai", "a/b", PIN, "a/b:sha256-0123456789ab")),
        ("a/b:7b", PIN, ("registry.ollama.ai", "a/b", PIN, "a/b:7b")),
        (f"a/b@{PIN}", "7b", ("registry.ollama.ai", "a/b", PIN, "a/b:7b")),
    ],
)
def test_a_reference(model: str, tag: str | None, expected: tuple[str, ...]) -> None:
    found = reference_of(model, tag)
    assert (found.host, found.repository, found.tag, found.name) == expected
    assert found.pinned is ("sha256:" in found.tag)


@pytest.mark.parametrize(
    ("model", "tag", "message"),
    [
        ("qwen:7b", "3b", "the tag '7b', base.tag says '3b'"),
        ("qwen@sha256:12", None, "'sha256:12' is no digest"),
        ("qwen", "sha256:12", "'sha256:12' is no digest"),
        (f"qwen@sha256:{HEX}", f"sha256:{HEX[::-1]}", "says the digest"),
        ("registry.example.com/a/b/c", None, "is no model name"),
    ],
)
def test_what_is_no_reference(model: str, tag: str | None, message: str) -> None:
    with pytest.raises(UsageProblem, match=message):
        reference_of(model, tag)


def test_a_manifest_is_its_very_bytes() -> None:
    fake = FakeRegistry()
    digest = fake.push("a/b:c", DATA, projector=b"eye", template=b"{{ .Prompt }}")
    found = fake.open().manifest("a/b", "c")
    assert (found.digest, found.raw) == (digest, fake.tags["a/b:c"])
    assert [blob.media_type.rpartition(".")[2] for blob in found.blobs] == [
        "model", "projector", "template", "v1+json",
    ]  # fmt: skip
    assert (found.blobs[0].digest, found.blobs[0].bytes) == (DIGEST, len(DATA))
    assert fake.open().manifest("a/b", digest) == found
    request = fake.requests[0]
    assert request.url == f"https://{HOST}/v2/a/b/manifests/c"
    assert request.headers["accept"] == MANIFEST_TYPE
    assert request.headers["user-agent"].startswith("modelforge/")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"<html>", "no manifest that can be read"),
        (b"[]", "no manifest that can be read"),
        (b'{"layers": [], "config": {"digest": "sha256:1", "size": 1, "mediaType": "x"}}', "no manifest"),
        (b'{"layers": [], "config": {"digest": "sha256:%b", "size": -1, "mediaType": "x"}}' % HEX.encode(), "no man"),
        (b'{"manifests": []}', "index of images"),
    ],
)  # fmt: skip
def test_what_is_no_manifest(raw: bytes, message: str) -> None:
    with pytest.raises(BaseProblem, match=message):
        manifest_of(raw, "x")


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(NotThere, match=r"the registry registry\.example\.com has no a/b:c") as caught:
        FakeRegistry().open().manifest("a/b", "c")
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_manifest_that_is_not_what_its_digest_says_is_never_used() -> None:
    fake = FakeRegistry()
    digest = fake.push("a/b:c", DATA)
    other = fake.tags["a/b:c"] + b" "
    fake.before = lambda _: httpx2.Response(200, content=other, headers={"docker-content-digest": digest})
    for tag in ("c", digest):
        with pytest.raises(Unreachable, match="is not what its digest says"):
            fake.open().manifest("a/b", tag)


def test_tags_come_in_pages() -> None:
    fake = FakeRegistry()

    def before(request: httpx2.Request) -> httpx2.Response:
        if "last=b" in str(request.url):
            return httpx2.Response(200, json={"tags": ["c", "b"]})
        link = {"link": '</v2/x/y/tags/list?last=b&n=2>; rel="next"'}
        return httpx2.Response(200, json={"tags": ["a", "b"]}, headers=link)

    fake.before = before
    assert fake.open().tags("x/y") == ("a", "b", "c")
    assert len(fake.asked) == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx2.Response(404, text="404 page not found"), None),
        (unknown("NAME_UNKNOWN"), ()),
        (httpx2.Response(403), None),
        (httpx2.Response(200, text="<html>"), None),
        (httpx2.Response(200, json={"tags": None}), ()),
    ],
)
def test_a_registry_that_does_not_list(answer: httpx2.Response, expected: tuple[str, ...] | None) -> None:
    fake = FakeRegistry(before=lambda _: answer)
    assert fake.open().tags("x/y") == expected


def test_a_list_that_goes_on_elsewhere_is_not_followed() -> None:
    link = {"link": '<https://evil.example/v2/x/y/tags/list>; rel="next"'}
    fake = FakeRegistry(before=lambda _: httpx2.Response(200, json={"tags": []}, headers=link))
    with pytest.raises(Unreachable, match="goes on with its list at"):
        fake.open().tags("x/y")


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_of_a_blob(ranges: bool) -> None:  # noqa: FBT001
    fake = FakeRegistry(ranges=ranges)
    fake.push("a/b:c", DATA)
    registry = fake.open()
    assert registry.read("a/b", DIGEST, 100_000, 5) == DATA[100_000:100_005]
    assert fake.sent <= (5 if ranges else 2 << 16)
    assert registry.read("a/b", DIGEST, len(DATA) - 2, 9) == DATA[-2:]
    assert registry.read("a/b", DIGEST, len(DATA), 9) == b""


@pytest.mark.parametrize("ranges", [True, False])
def test_a_blob_from_somewhere_to_its_end(ranges: bool) -> None:  # noqa: FBT001
    fake = FakeRegistry(ranges=ranges)
    fake.push("a/b:c", DATA)
    for start in (0, 77_777, len(DATA) - 1, len(DATA)):
        with fake.open().stream("a/b", DIGEST, start) as pieces:
            assert b"".join(pieces) == DATA[start:]


def test_a_read_that_breaks_off_goes_on_where_it_was() -> None:
    fake = FakeRegistry(cut=400_000)
    fake.push("a/b:c", DATA)
    assert fake.open().read("a/b", DIGEST, 7, 1_000_000) == DATA[7:1_000_007]
    assert len(fake.asked) == 3
    assert [request.headers["range"].partition("-")[0] for request in fake.requests] == [
        "bytes=7", "bytes=400007", "bytes=800007",
    ]  # fmt: skip


def test_a_blob_that_always_breaks_off() -> None:
    fake = FakeRegistry(cut=0)
    fake.push("a/b:c", DATA)
    with pytest.raises(Unreachable, match="the connection broke off"):
        fake.open().read("a/b", DIGEST, 0, 10)
    assert len(fake.asked) == 4
    with fake.open().stream("a/b", DIGEST, 0) as pieces, pytest.raises(Unreachable):
        list(pieces)


def test_a_body_that_is_shorter_than_said() -> None:
    said = {"content-range": "bytes 0-9/100"}
    fake = FakeRegistry(before=lambda _: httpx2.Response(206, content=b"abc", headers=said))
    with (
        fake.open().stream("a/b", DIGEST, 0) as pieces,
        pytest.raises(Unreachable, match="broke off after 3 bytes"),
    ):
        list(pieces)


def test_other_bytes_than_those_that_were_asked_for() -> None:
    said = {"content-range": "bytes 0-9/100"}
    fake = FakeRegistry(before=lambda _: httpx2.Response(206, content=b"0123456789", headers=said))
    with pytest.raises(Unreachable, match="bytes from 5 on, and gives others"):
        fake.open().read("a/b", DIGEST, 5, 10)


def test_a_blob_that_is_lost() -> None:
    with pytest.raises(NotThere, match="has lost the blob"):
        FakeRegistry().open().read("a/b", DIGEST, 0, 10)


def bearer() -> Callable[[httpx2.Request], httpx2.Response | None]:
    """Wants a token from auth.example.com, in exchange for which it asks nothing."""

    def before(request: httpx2.Request) -> httpx2.Response | None:
        if request.url.host == "auth.example.com":
            return httpx2.Response(200, json={"token": "t1"})
        if request.url.host == HOST and request.headers.get("authorization") != "Bearer t1":
            said = (
                f'Bearer realm="https://auth.example.com/token",service="{HOST}",scope="repository:a/b:pull"'
            )
            return httpx2.Response(401, headers={"www-authenticate": said})
        return None

    return before


def docker_config(home: Path, text: object) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(text if isinstance(text, str) else json.dumps(text))


def basic(text: str = "me:secret") -> str:
    return base64.b64encode(text.encode()).decode()


def test_redirects_go_without_our_token(tmp_path: Path) -> None:
    fake = FakeRegistry(storage="cdn.example.com", before=bearer())
    fake.push("a/b:c", DATA)
    registry = fake.open(home=tmp_path)
    assert registry.read("a/b", DIGEST, 0, 10) == DATA[:10]
    assert [request.url.host for request in fake.requests] == [
        HOST,
        "auth.example.com",
        HOST,
        "cdn.example.com",
    ]
    assert ["authorization" in request.headers for request in fake.requests] == [False, False, True, False]
    assert fake.requests[-1].headers["range"] == "bytes=0-9"
    registry.read("a/b", DIGEST, 10, 10)
    assert len(fake.asked) == 6, "the token is kept"


def test_a_token_is_bought_with_dockers_login(tmp_path: Path) -> None:
    docker_config(tmp_path, {"auths": {f"https://{HOST}/v2/": {"auth": basic()}}})
    fake = FakeRegistry(before=bearer())
    fake.push("a/b:c", DATA)
    fake.open(home=tmp_path).manifest("a/b", "c")
    asked = fake.requests[1]
    assert parse_qs(urlsplit(str(asked.url)).query) == {"service": [HOST], "scope": ["repository:a/b:pull"]}
    assert asked.headers["authorization"] == f"Basic {basic()}"


def test_docker_config_may_lie_elsewhere_and_basic_is_enough(tmp_path: Path) -> None:
    docker_config(tmp_path, {"auths": {HOST: {"auth": basic("me:a:b")}}})

    def before(request: httpx2.Request) -> httpx2.Response | None:
        if request.headers.get("authorization") == f"Basic {basic('me:a:b')}":
            return None
        return httpx2.Response(401, headers={"www-authenticate": 'Basic realm="x"'})

    fake = FakeRegistry(before=before)
    fake.push("a/b:c", DATA)
    fake.open(environment={"DOCKER_CONFIG": str(tmp_path / ".docker")}).manifest("a/b", "c")
    with pytest.raises(BaseProblem, match="may not be read without a login") as caught:
        fake.open().manifest("a/b", "c")
    assert caught.value.problems[0].hint == f"log in: docker login {HOST}"


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
@pytest.mark.parametrize("user", ["me", "<token>"])
def test_a_credential_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, user: str) -> None:
    docker_config(tmp_path, {key: "pass" if key == "credsStore" else {HOST: "pass"}})
    calls: list[tuple[list[str], str]] = []

    def run(command: list[str], *, text: str, **_more: object) -> Completed:
        calls.append((command, text))
        return Completed(code=0, stdout=json.dumps({"Username": user, "Secret": "s"}), stderr="")

    monkeypatch.setattr(process, "run", run)
    fake = FakeRegistry(before=bearer())
    fake.push("a/b:c", DATA)
    registry = fake.open(home=tmp_path)
    registry.manifest("a/b", "c")
    registry.manifest("a/b", "c")
    assert calls == [(["docker-credential-pass", "get"], HOST)]
    asked = fake.requests[1]
    if user == "me":
        assert asked.headers["authorization"] == f"Basic {basic('me:s')}"
    else:
        assert asked.method == "POST"
        assert parse_qs(asked.content.decode())["refresh_token"] == ["s"]


def test_a_credential_helper_that_knows_nothing_or_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_config(tmp_path, {"credsStore": "pass", "auths": {HOST: {}}})
    fake = FakeRegistry(before=bearer())
    fake.push("a/b:c", DATA)
    monkeypatch.setattr(process, "run", lambda *_a, **_k: Completed(code=1, stdout="no", stderr=""))
    fake.open(home=tmp_path).manifest("a/b", "c")
    assert "authorization" not in fake.requests[1].headers

    def missing(*_a: object, **_k: object) -> Completed:
        raise BuildFailed("docker-credential-pass was not found")

    monkeypatch.setattr(process, "run", missing)
    with pytest.raises(BaseProblem, match="docker-credential-pass was not found"):
        fake.open(home=tmp_path).manifest("a/b", "c")


@pytest.mark.parametrize(
    "text", ["{", {"auths": {HOST: {"auth": "%%"}}}, {"auths": {HOST: {"auth": basic("nocolon")}}}]
)
def test_a_broken_docker_config(tmp_path: Path, text: object) -> None:
    docker_config(tmp_path, text)
    with pytest.raises(BaseProblem, match=r"config\.json"):
        FakeRegistry(before=bearer()).open(home=tmp_path).manifest("a/b", "c")


def test_a_token_that_is_refused(tmp_path: Path) -> None:
    def before(request: httpx2.Request) -> httpx2.Response | None:
        if request.url.host == "auth.example.com":
            return httpx2.Response(403, json={"errors": [{"message": "who are you?"}]})
        return bearer()(request)

    with pytest.raises(BaseProblem, match=r"gives no token for .*a/b \(403: who are you\?\)"):
        FakeRegistry(before=before).open(home=tmp_path).manifest("a/b", "c")


def test_a_token_that_does_not_help_is_not_asked_for_twice(tmp_path: Path) -> None:
    def before(request: httpx2.Request) -> httpx2.Response | None:
        request.headers.pop("authorization", None)
        return bearer()(request)

    fake = FakeRegistry(before=before)
    with pytest.raises(BaseProblem, match="may not be read, or is not there"):
        fake.open(home=tmp_path).manifest("a/b", "c")
    assert len(fake.asked) == 3


def test_credentials_are_not_sent_in_the_clear(tmp_path: Path) -> None:
    said = {"www-authenticate": 'Bearer realm="http://auth.example.com/token"'}
    with pytest.raises(Unreachable, match="which is not https"):
        FakeRegistry(before=lambda _: httpx2.Response(401, headers=said)).open(home=tmp_path).tags("a/b")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://cdn.example.com/x", "which is not https"),
        ("ftp://x/y", "not https"),
        ("/again", "in circles"),
    ],
)
def test_redirects_that_are_not_followed(location: str, message: str) -> None:
    fake = FakeRegistry(before=lambda _: httpx2.Response(307, headers={"location": location}))
    with pytest.raises(Unreachable, match=message):
        fake.open().read("a/b", DIGEST, 0, 10)


class Busy:
    """Puts the first calls off."""

    def __init__(self, count: int, status: int = 429, after: str = "7") -> None:
        self.count, self.status, self.after = count, status, after
        self.slept: list[float] = []

    def __call__(self, _request: httpx2.Request) -> httpx2.Response | None:
        self.count -= 1
        return httpx2.Response(self.status, headers={"retry-after": self.after}) if self.count >= 0 else None


def test_what_is_put_off_is_waited_for() -> None:
    busy = Busy(2)
    fake = FakeRegistry(before=busy)
    digest = fake.push("a/b:c", DATA)
    assert fake.open(sleep=busy.slept.append).manifest("a/b", "c").digest == digest
    assert busy.slept == [7.0, 7.0]


@pytest.mark.parametrize(
    ("busy", "waits", "message"),
    [
        (Busy(99), [7.0] * 3, "answers 429: its limit of requests is reached, and it wants 7 s of patience"),
        (Busy(99, after="3600"), [], "429.*3600 s"),
        (Busy(99, status=503, after=""), [2.0, 4.0, 8.0], "answers 503: it is overloaded or down"),
    ],
)
def test_but_not_for_ever(busy: Busy, waits: list[float], message: str) -> None:
    with pytest.raises(Unreachable, match=message) as caught:
        FakeRegistry(before=busy).open(sleep=busy.slept.append).manifest("a/b", "c")
    assert caught.value.exit_code == ExitCode.UNREACHABLE
    assert busy.slept == waits


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (412, BaseProblem, "answers 412: requires a newer version of Ollama"),
        (403, BaseProblem, "may not be read, or is not there"),
        (500, Unreachable, "answers 500 when asked for"),
    ],
)
def test_other_refusals(status: int, error: type[ForgeError], message: str) -> None:
    text = {"errors": [{"message": "requires a newer version of Ollama\x1b[2J"}]}
    with pytest.raises(error, match=message) as caught:
        FakeRegistry(before=lambda _: httpx2.Response(status, json=text)).open().manifest("a/b", "c")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "insecure", "url"),
    [
        ("localhost:5000", False, "http://localhost:5000"),
        ("127.0.0.1:5000", False, "http://127.0.0.1:5000"),
        ("registry:5000", False, "https://registry:5000"),
        ("registry:5000", True, "http://registry:5000"),
        ("localhost.example.com", False, "https://localhost.example.com"),
    ],
)
def test_plain_http_for_loopback_and_where_it_is_allowed(host: str, insecure: bool, url: str) -> None:  # noqa: FBT001
    fake = FakeRegistry()
    fake.open(host, insecure=insecure).tags("a/b")
    assert fake.asked[0].startswith(f"GET {url}/v2/")


def test_a_registry_of_plain_http_gets_a_hint() -> None:
    import ssl  # noqa: PLC0415

    def before(_request: httpx2.Request) -> httpx2.Response:
        error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
        error.reason = "WRONG_VERSION_NUMBER"
        raise httpx2.ConnectError("x") from error

    with pytest.raises(Unreachable, match="speaks plain http") as caught:
        FakeRegistry(before=before).open().tags("a/b")
    assert "insecure = true" in str(caught.value.problems[0].hint)


def test_no_network() -> None:
    with pytest.raises(Unreachable, match="the network is unreachable"):
        FakeRegistry(before=no_network).open().tags("a/b")


def test_a_wait_ends_when_it_is_stopped() -> None:
    busy = Busy(99, after="30")
    fake = FakeRegistry()
    registry = fake.open(sleep=None)

    def before(request: httpx2.Request) -> httpx2.Response | None:
        registry.stop()
        return busy(request)

    fake.before = before
    with pytest.raises(Unreachable, match="it was interrupted"):
        registry.manifest("a/b", "c")
    assert len(fake.asked) == 1


def test_a_body_ends_when_it_is_stopped() -> None:
    fake = FakeRegistry()
    fake.push("a/b:c", DATA)
    registry = fake.open()
    with registry.stream("a/b", DIGEST, 0) as pieces:
        next(pieces)
        registry.stop()
        with pytest.raises(Unreachable, match="it was interrupted"):
            next(pieces)
