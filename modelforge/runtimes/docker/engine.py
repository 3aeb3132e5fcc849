"""The one door to the docker SDK: an engine's calls with our own records, and its errors in words.

An engine that cannot be reached is `Unreachable`, with the remedy. One that answers and refuses is `Declined`; what
that means is for the caller to say.
"""

from __future__ import annotations

import base64
import errno
import io
import json
import platform
import tarfile
import threading
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import docker.tls
import docker.utils
import requests

from modelforge.errors import Unreachable, UsageProblem
from modelforge.process import Completed
from modelforge.runtimes.docker.exec_stream import ExecStream
from modelforge.runtimes.docker.facts import facts_of
from modelforge.runtimes.docker.spec import LABEL, MACHINE_LABEL, PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeVar

    from modelforge.runtimes.docker.endpoint import Endpoint
    from modelforge.runtimes.docker.facts import Facts

    T = TypeVar("T")

NOT_FOUND = 404
_SECONDS = 60.0
_GRACE = 10
_REMEDIES = """\
start it:           systemctl start docker (rootless: systemctl --user start docker), or Docker Desktop
another engine:     DOCKER_HOST, or docker context use NAME
without Docker:     --runtime ollama, or --runtime embedded"""


class Declined(Exception):
    """The engine answered no: HTTP status (0 for an error within a stream) and its words."""

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        self.words = words
        super().__init__(words)


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image that an engine has. `digest` is that of the registry which its name says, else its own id."""

    id: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """How a container is: running, its exit code, killed for memory; the host port of its API, 0 for none."""

    running: bool
    code: int
    out_of_memory: bool
    port: int
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A container that carries our label. `created` in Unix seconds."""

    id: str
    claim: str
    machine: str
    created: float


class _Client(docker.APIClient):
    """The SDK's client, without what the environment has for others.

    Its library prefers the certificates of REQUESTS_CA_BUNDLE to those that the engine's are made with, and would
    go through proxies. A property, because the SDK asks for the engine's version in its constructor.
    """

    @property
    def trust_env(self) -> bool:
        """False."""
        return False

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        """Nothing."""

    def size(self, container: str, path: str) -> int | None:
        """The bytes of a file in a container; the SDK would fetch it to tell."""
        url = self._url("/containers/{0}/archive", container)  # type: ignore[attr-defined]
        answer = self.head(url, params={"path": path}, timeout=_SECONDS)
        if answer.status_code == NOT_FOUND:
            return None
        self._raise_for_status(answer)  # type: ignore[attr-defined]
        told = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
        return int(told["size"])


class Engine:
    """An engine that answers. Made by `connect`."""

    def __init__(self, client: _Client, endpoint: Endpoint, facts: Facts) -> None:
        self._client = client
        self.endpoint = endpoint
        self.facts = facts

    def image(self, name: str) -> Image | None:
        """An image by its name, digest or id; None if it is not there."""
        found: dict[str, Any] | None = self._if_there(lambda: self._client.inspect_image(name))  # type: ignore[no-untyped-call]
        if found is None:
            return None
        repository, _tag = docker.utils.parse_repository_tag(name)
        digests = [one for one in found.get("RepoDigests") or () if one.partition("@")[0] == repository]
        return Image(id=found["Id"], digest=digests[0] if digests else found["Id"])

    def pull(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Pulls an image; what the engine tells of it. Raises `Declined` also from within."""
        repository, tag = docker.utils.parse_repository_tag(name)
        with self._asked():
            for line in self._client.pull(repository, tag=tag or "latest", stream=True, decode=True):
                if line.get("error"):
                    raise Declined(0, str(line["error"]))
                yield line

    def volume(self, name: str) -> str | None:
        """Where a volume lies on the engine's machine; None if there is no such volume."""
        return self._if_there(lambda: str(self._client.inspect_volume(name).get("Mountpoint") or ""))

    def create(self, body: Mapping[str, Any], name: str) -> str:
        """Makes a container, and its volume if that is not there; the container's id.

        The engine makes it even for a client that has gone away, so an interrupt waits for its answer, up to 10
        seconds, and takes away what was made.
        """
        return _whole(lambda: self._create(body, name), seconds=_GRACE, undo=self._take_away)

    def _create(self, body: Mapping[str, Any], name: str) -> str:
        with self._asked():
            return str(self._client.create_container_from_config(dict(body), name)["Id"])  # type: ignore[no-untyped-call]

    def start(self, container: str) -> None:
        """Starts a container."""
        with self._asked():
            self._client.start(container)

    def state(self, container: str) -> State | None:
        """How a container is; None if it is gone."""
        found = self._if_there(lambda: self._client.inspect_container(container))
        if found is None:
            return None
        state = found["State"]
        published = (found["NetworkSettings"].get("Ports") or {}).get(PORT) or ()
        return State(
            running=bool(state["Running"]),
            code=int(state["ExitCode"]),
            out_of_memory=bool(state["OOMKilled"]),
            port=int(published[0]["HostPort"]) if published else 0,
            words=str(state.get("Error") or ""),
        )

    def wait(self, container: str, *, seconds: float) -> int:
        """Waits for a container's end; its exit code."""
        with self._asked():
            return int(self._client.wait(container, timeout=int(seconds))["StatusCode"])

    def output(self, container: str) -> str:
        """All that a container has written."""
        with self._asked():
            written: bytes = self._client.logs(container, stdout=True, stderr=True)
            return written.decode(errors="replace")

    def follow(self, container: str) -> Iterator[bytes]:
        """What a container writes, piece by piece, until it ends or the engine does."""
        with self._asked():
            yield from self._client.logs(container, stream=True, follow=True, tail=200)

    def read(self, container: str, path: str) -> bytes | None:
        """A small file in a container, which need not run; None if it is not there."""
        packed = self._if_there(lambda: b"".join(self._client.get_archive(container, path)[0]))
        if packed is None:
            return None
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            return None if file is None else file.read()

    def size(self, container: str, path: str) -> int | None:
        """The bytes of a file in a container, which need not run; None if it is not there."""
        with self._asked():
            return self._client.size(container, path)

    def remove(self, container: str, *, at_once: bool = False) -> None:
        """Stops and removes a container, its nameless volumes too; no error if it is gone.

        An interrupt waits until that is done, up to 20 seconds.
        """
        _whole(lambda: self._remove(container, at_once=at_once), seconds=2 * _GRACE)

    def _take_away(self, container: str) -> None:
        with suppress(Unreachable, Declined):  # the next command finds it
            self.remove(container, at_once=True)

    def _remove(self, container: str, *, at_once: bool) -> None:
        try:
            with self._asked():
                if not at_once:
                    self._client.stop(container, timeout=_GRACE)
                self._client.remove_container(container, force=True, v=True)
        except Declined as declined:
            if declined.status != NOT_FOUND and "already in progress" not in declined.words:
                raise

    def ours(self) -> tuple[Found, ...]:
        """All containers with our label, running or not."""
        with self._asked():
            listed = self._client.containers(all=True, filters={"label": LABEL})
        return tuple(
            Found(
                id=one["Id"],
                claim=one["Labels"][LABEL],
                machine=one["Labels"].get(MACHINE_LABEL, ""),
                created=float(one["Created"]),
            )
            for one in listed
        )

    def execute(self, container: str, command: Sequence[str], data: bytes = b"") -> Completed:
        """Runs a command in a container, with `data` on its standard input."""
        with self._asked():
            made = self._client.exec_create(container, list(command), stdin=True)["Id"]
            out, err = _stream(self._client.exec_start(made, socket=True)).finish(data)
            code = self._client.exec_inspect(made)["ExitCode"]
        return Completed(
            code=int(code if code is not None else -1),
            stdout=out.decode(errors="replace"),
            stderr=err.decode(errors="replace"),
        )

    def dial(self, container: str, command: Sequence[str]) -> ExecStream:
        """A command in a container, as a stream in both directions."""
        with self._asked():
            made = self._client.exec_create(container, list(command), stdin=True)["Id"]
            return _stream(self._client.exec_start(made, socket=True))

    def close(self) -> None:
        """Lets go of the connections."""
        self._client.close()

    def _if_there(self, ask: Callable[[], T]) -> T | None:
        """What the engine says; None where it knows nothing of that name."""
        try:
            with self._asked():
                return ask()
        except Declined as declined:
            if declined.status == NOT_FOUND:
                return None
            raise

    @contextmanager
    def _asked(self) -> Iterator[None]:
        with _translated(self.endpoint):
            yield


def _whole(work: Callable[[], T], *, seconds: float, undo: Callable[[T], None] | None = None) -> T:
    """What `work` comes to, in a thread of its own. An interrupt waits for its end, so long, and undoes it."""
    end: Future[T] = Future()
    try:
        threading.Thread(target=_fill, args=(end, work), daemon=True).start()
        return end.result()
    except KeyboardInterrupt:
        if not end.cancel():  # it has begun, even if the thread's own start was interrupted
            wait([end], timeout=seconds)
            if undo is not None and end.done() and end.exception() is None:
                undo(end.result())
        raise


def _fill(end: Future[T], work: Callable[[], T]) -> None:
    if not end.set_running_or_notify_cancel():
        return
    try:
        end.set_result(work())
    except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
        end.set_exception(error)


def connect(endpoint: Endpoint, *, url: str, environment: Mapping[str, str]) -> Engine:
    """The engine at an endpoint.

    Args:
        endpoint: which is meant, for people.
        url: where it is reached: the endpoint's own, or the end of a forwarding here.
        environment: for the credential helpers of registries.

    Raises:
        Unreachable: nothing answers, or we may not ask.
        UsageProblem: its TLS files cannot be used.
    """
    with _translated(endpoint):
        client = _Client(
            base_url=url, tls=_tls(endpoint), timeout=int(_SECONDS), credstore_env=dict(environment)
        )
        try:
            info = client.info()
        except BaseException:
            client.close()
            raise
    return Engine(client, endpoint, facts_of(info, node=platform.node(), kernel=platform.release()))


def _tls(endpoint: Endpoint) -> docker.tls.TLSConfig | bool:
    files = endpoint.tls
    if files is None:
        return False
    pair = (str(files.cert), str(files.key)) if files.cert and files.key else None
    try:
        return docker.tls.TLSConfig(
            client_cert=pair, ca_cert=str(files.ca) if files.ca else None, verify=files.verify
        )
    except docker.errors.TLSParameterError as error:
        raise UsageProblem(
            f"the TLS files of {endpoint.url} cannot be used: {error}", hint="look at DOCKER_CERT_PATH"
        ) from error


def _stream(hijacked: Any) -> ExecStream:  # noqa: ANN401 (the SDK's own wrappers, of several kinds)
    """An exec's stream over the socket below the SDK's wrapper, with what was read behind the headers already."""
    sock = getattr(hijacked, "_sock", hijacked)
    response = getattr(hijacked, "_response", None)
    sock.setblocking(False)
    early = b""
    with suppress(OSError, AttributeError):  # nothing is there yet
        early = bytes(response.raw._fp.fp.peek())  # type: ignore[union-attr]  # noqa: SLF001 (no other way)
    return ExecStream(sock, owner=response or hijacked, early=early)


@contextmanager
def _translated(endpoint: Endpoint) -> Iterator[None]:
    """Turns the SDK's errors into ours."""
    try:
        yield
    except docker.errors.APIError as error:
        words = str(error.explanation or error).strip()
        raise Declined(error.status_code or 0, words) from error
    except (requests.exceptions.RequestException, docker.errors.DockerException, OSError) as error:
        raise _unreachable(endpoint, error) from error


def _unreachable(endpoint: Endpoint, error: BaseException) -> Unreachable:
    number = _errno(error)
    if number == errno.EACCES:
        return Unreachable(
            f"No permission to use the Docker engine at {endpoint.url}.",
            hint="add yourself to the group docker (sudo usermod -aG docker $USER, then log in again),"
            "\nor use a rootless engine: DOCKER_HOST=unix://$XDG_RUNTIME_DIR/docker.sock",
        )
    reason = {
        errno.ENOENT: "there is no such socket",
        errno.ECONNREFUSED: "connection refused",
        errno.ECONNRESET: "the connection broke off",
        errno.EPIPE: "the connection broke off",
    }.get(number or 0, _plain(error))
    told = "" if endpoint.source == "default" else f"; {endpoint.source} names it"
    return Unreachable(f"No Docker engine answers at {endpoint.url} ({reason}{told}).", hint=_REMEDIES)


def _errno(error: BaseException | None) -> int | None:
    """The number of the system's own error below the libraries' ones."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if (
            isinstance(one, OSError)
            and one.errno in errno.errorcode
            and not isinstance(one, requests.RequestException)
        ):
            return one.errno
        waiting += [
            one.__cause__,
            one.__context__,
            *(arg for arg in one.args if isinstance(arg, BaseException)),
        ]
    return None


def _plain(error: BaseException) -> str:
    """The innermost words of an error that was wrapped several times."""
    text = str(error)
    if "Read timed out" in text:
        return "it does not answer in time"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not one that is trusted here"
    if "Name or service not known" in text or "Failed to resolve" in text:
        return "no such host"
    return " ".join(text.rpartition(": ")[2].split())[:120] or type(error).__name__
