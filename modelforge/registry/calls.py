"""Calls to a registry: waited for, logged in and redirected as it wants, and its refusals put into words."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from modelforge import __version__
from modelforge.errors import BaseProblem, Unreachable
from modelforge.http import CutOff, HttpClient, NoAnswer
from modelforge.registry.login import challenge_of, token_call, token_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from modelforge.http import Bytes, Transport
    from modelforge.project_settings import Timeouts
    from modelforge.registry.login import Challenge, Login

TRIES = 4
"""How often a call is made that the registry puts off, or that breaks off."""
LONGEST_WAIT = 30.0
"""Seconds for which a registry may put a call off."""
_MOST_HOPS = 10
_LONGEST_TEXT = 200
_LATER = frozenset({429, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_TLS_PLAIN = "speaks plain http"


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine."""
    name = host.casefold().rpartition(":")[0] if ":" in host else host.casefold()
    return name == "localhost" or name.startswith("127.")


@dataclass(kw_only=True, slots=True)
class _Call:
    """One call on its way to an answer. `url` moves with redirects; who we are is told to its own host only."""

    repository: str
    url: str
    headers: Mapping[str, str]
    asked_in: bool = False
    put_off: int = 0
    hops: int = 0


@dataclass(slots=True)
class _Keys:
    """What proves who we are: a header for each repository. Looked up once, by whichever thread is first."""

    login: Callable[[], Login | None]
    lock: threading.Lock = field(default_factory=threading.Lock)
    known: list[Login | None] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def found(self) -> Login | None:
        """The user's credentials for the registry."""
        if not self.known:
            self.known.append(self.login())
        return self.known[0]


class Calls:
    """GETs at one host, from any thread. `sleep` waits for so many seconds; None: for real, until `stop`."""

    def __init__(
        self,
        *,
        host: str,
        insecure: bool,
        login: Callable[[], Login | None],
        timeouts: Timeouts,
        transport: Transport | None,
        sleep: Callable[[float], object] | None,
    ) -> None:
        self.url = f"{'http' if insecure else 'https'}://{host}"
        self._host = host
        self._insecure = insecure
        self._timeouts = timeouts
        self._transport = transport
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._keys = _Keys(login)
        self._clients: dict[str, HttpClient] = {}
        self._opening = threading.Lock()

    @contextmanager
    def get(self, repository: str, path: str, headers: Mapping[str, str]) -> Iterator[Bytes]:
        """One GET, to its final answer, whatever the status of that.

        Raises:
            BaseProblem: the registry wants a login that there is not.
            Unreachable: nothing answers, the registry puts us off for too long, or redirects to where we do not go.
        """
        call = _Call(repository=repository, url=self.url + path, headers=headers)
        with ExitStack() as stack:
            answer = self._step(call, stack)
            while answer is None:
                answer = self._step(call, stack)
            yield answer

    def stop(self) -> None:
        """Ends what other threads do here as soon as may be: a wait at once, a body at its next piece."""
        self._stopped.set()

    def going_on(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces, until `stop`."""
        for piece in pieces:
            self._check()
            yield piece

    def close(self) -> None:
        """Lets go of the connections."""
        for client in self._clients.values():
            client.close()

    def judge(self, status: int, body: bytes, name: str) -> None:
        """Raises for every status but 200: `name` is what was asked for, `body` what came instead."""
        if status == HTTPStatus.OK:
            return
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise BaseProblem(
                f"{name} may not be read, or is not there{_said(body)}",
                hint=f"correct the name, or log in: docker login {self._host}",
            )
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise BaseProblem(f"{name} cannot be had: {self._host} answers {status}{_said(body)}")
        raise Unreachable(f"{self.url} answers {status} when asked for {name}{_said(body)}")

    def whole(self, answer: Bytes, largest: int, name: str) -> bytes:
        """The body of an answer that has a bound, in bytes."""
        body = bytearray()
        for piece in self.going_on(answer.pieces):
            body += piece
            if len(body) > largest:
                raise CutOff(self.url, f"{name} is longer than {largest >> 20} MiB")
        return bytes(body)

    def _step(self, call: _Call, stack: ExitStack) -> Bytes | None:
        """The answer to a call; None where it has to be made again, or elsewhere."""
        answer = self._ask(call, stack)
        if answer is None:
            return None
        if answer.status in _MOVED and "location" in answer.headers:
            stack.close()
            self._follow(call, answer.headers["location"])
        elif answer.status == HTTPStatus.UNAUTHORIZED and not call.asked_in and self._is_ours(call):
            stack.close()
            self._log_in(call, challenge_of(answer.headers.get("www-authenticate", "")))
        elif answer.status in _LATER:
            stack.close()
            self._wait(call, answer)
        else:
            return answer
        return None

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Unreachable(f"nothing more is asked of {self.url}: it was interrupted")

    def _is_ours(self, call: _Call) -> bool:
        return _origin(call.url) == self.url

    def _ask(self, call: _Call, stack: ExitStack) -> Bytes | None:
        """One request; None where it broke off and may be made again."""
        self._check()
        origin = _origin(call.url)
        headers = {"User-Agent": f"modelforge/{__version__}", **call.headers}
        key = self._keys.headers.get(call.repository)
        if key is not None and self._is_ours(call):
            headers["Authorization"] = key
        try:
            return stack.enter_context(
                self._client(origin).fetch(call.url[len(origin) :] or "/", headers=headers)
            )
        except NoAnswer as error:
            if _TLS_PLAIN not in error.reason:
                raise
            hint = "if it is to be trusted: insecure = true under [base]"
            raise Unreachable(str(error), hint=hint) from error
        except CutOff:
            call.put_off += 1
            if call.put_off >= TRIES:
                raise
            self._sleep(1.0)
            return None

    def _wait(self, call: _Call, answer: Bytes) -> None:
        """Waits as long as the registry says; not longer than is bearable, and not for ever."""
        call.put_off += 1
        said = answer.headers.get("retry-after", "")
        seconds = float(said) if said.isdecimal() else float(1 << call.put_off)
        if call.put_off < TRIES and seconds <= LONGEST_WAIT:
            self._sleep(seconds)
            return
        many = answer.status == HTTPStatus.TOO_MANY_REQUESTS
        what = "its limit of requests is reached" if many else "it is overloaded or down"
        again = f", and it wants {said} s of patience" if said.isdecimal() else ""
        hint = f"try again later, or with a login: docker login {self._host}" if many else "try again later"
        raise Unreachable(
            f"the registry {urlsplit(call.url).netloc} answers {answer.status}: {what}{again}", hint=hint
        )

    def _follow(self, call: _Call, location: str) -> None:
        call.hops += 1
        if call.hops > _MOST_HOPS:
            raise Unreachable(f"{self.url} redirects in circles, in the end to {location}")
        target = urljoin(call.url, location)
        scheme = urlsplit(target).scheme
        if scheme not in {"http", "https"} or (scheme == "http" and not self._insecure):
            raise Unreachable(
                f"{self.url} redirects to {target}, which is not https",
                hint="if it is to be trusted: insecure = true under [base]",
            )
        call.url = target

    def _log_in(self, call: _Call, challenge: Challenge) -> None:
        """Gets what a 401 asks for."""
        call.asked_in = True
        with self._keys.lock:
            login = self._keys.found()
            if challenge.scheme == "basic" and login is not None and not login.identity_token:
                self._keys.headers[call.repository] = login.basic
            elif challenge.scheme == "bearer" and challenge.realm:
                token = self._token(call.repository, challenge, login)
                self._keys.headers[call.repository] = f"Bearer {token}"
            else:
                raise BaseProblem(
                    f"{self._host}/{call.repository} may not be read without a login",
                    hint=f"log in: docker login {self._host}",
                )

    def _token(self, repository: str, challenge: Challenge, login: Login | None) -> str:
        realm = urljoin(self.url, challenge.realm)
        if not realm.startswith("https://") and not self._insecure:
            raise Unreachable(f"{self.url} wants credentials to be sent to {realm}, which is not https")
        call, origin = token_call(challenge, f"repository:{repository}:pull", login), _origin(realm)
        path = realm[len(origin) :] or "/"
        if call.query:
            path += ("&" if "?" in path else "?") + call.query
        method = "POST" if call.form else "GET"
        answer = self._client(origin).call(method, path, call.form or None, headers=call.headers)
        if answer.status in _LATER:
            raise Unreachable(f"{origin}, which gives tokens for {self._host}, answers {answer.status}")
        token = token_in(answer.body) if answer.status == HTTPStatus.OK else ""
        if not token:
            raise BaseProblem(
                f"{origin} gives no token for {self._host}/{repository} ({answer.status}{_said(answer.body)})",
                hint=f"correct the name, or log in: docker login {self._host}",
            )
        return token

    def _client(self, origin: str) -> HttpClient:
        with self._opening:
            if origin not in self._clients:
                self._clients[origin] = HttpClient(
                    origin,
                    timeouts=self._timeouts,
                    direct=is_loopback(urlsplit(origin).netloc),
                    transport=self._transport,
                )
            return self._clients[origin]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _said(body: bytes) -> str:
    """`: what the registry says of an error`, or "". Short, and safe to show."""
    try:
        error = json.loads(body)["errors"][0]
        text = error.get("message") or error.get("code")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        text = body[: 4 * _LONGEST_TEXT].decode(errors="replace")
        text = "" if "<" in text else text
    shown = " ".join("".join(c if c.isprintable() else " " for c in str(text or "")).split())
    return f": {shown[:_LONGEST_TEXT]}" if shown else ""
