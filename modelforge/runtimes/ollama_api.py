"""Ollama's HTTP API as typed calls, and its errors as words.

A refusal is a `Refused`; what it means is for the caller to say. Answers and errors as seen on v0.24.0 and
v0.32.15: an error may be a JSON object, JSON nested as a string inside one, plain text, or nothing at all, and
after HTTP 200 it may come as a line of the stream.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from modelforge.runtimes import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from modelforge.http import Answer, HttpClient
    from modelforge.project_settings import Timeouts

T = TypeVar("T")

OK = 200
NOT_FOUND = 404
_CREATED = 201
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4)
_LONGEST = 500
_MIDWAY = re.compile(r"stat .*manifests.*: no such file or directory", re.DOTALL)
_UNREADABLE = re.compile(
    r"EOF|unexpected EOF|unexpected end of JSON input|invalid character .*|template: .*|json: .*"
)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


class Refused(Exception):
    """The server said no: HTTP status (200 for an error inside a stream) and its words."""

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        self.words = words
        super().__init__(words)

    @property
    def midway(self) -> bool:
        """Whether it stumbled over another model that was just being copied or deleted: ask again."""
        return _MIDWAY.search(self.words) is not None

    @property
    def unreadable(self) -> bool:
        """Whether the model's manifest, or a blob of it, is cut short or is no JSON."""
        return self.status >= 500 and _UNREADABLE.fullmatch(self.words) is not None  # noqa: PLR2004 (server errors)


class OllamaApi:
    """The calls. Every one may raise `Unreachable` (http's), and `Refused` unless it says otherwise."""

    def __init__(self, http: HttpClient, timeouts: Timeouts) -> None:
        self._http = http
        self._timeouts = timeouts

    def version(self) -> Answer:
        """The raw answer, whatever it is; never raises `Refused`."""
        return self._http.call("GET", "/api/version")

    def tags(self) -> tuple[Entry, ...]:
        """All models that can be listed."""
        listed = self._json("GET", "/api/tags").get("models") or ()
        return tuple(
            Entry(
                name=model["name"],
                digest=f"sha256:{model['digest']}",
                bytes=int(model.get("size") or 0),
                modified=unix_seconds(model.get("modified_at") or ""),
            )
            for model in listed
        )

    def remote(self) -> dict[str, str]:
        """The listed models that the server only passes prompts on for: name -> where to (`https://ollama.com:443`)."""
        listed = self._json("GET", "/api/tags").get("models") or ()
        return {model["name"]: model["remote_host"] for model in listed if model.get("remote_host")}

    def show(self, name: str, *, verbose: bool = False, fresh: bool = False) -> dict[str, Any]:
        """What a model has; `verbose` with the vocabulary.

        Servers remember their answer for as long as the manifest stays the same, and then do not see that a
        blob is gone. `fresh` makes them look: they do where options are given, which show in the Modelfile's
        PARAMETER lines alone.
        """
        body: dict[str, Any] = {"model": name, "verbose": verbose}
        if fresh:
            body["options"] = {"num_ctx": 0}
        return self._json("POST", "/api/show", body)

    def running(self) -> tuple[Mapping[str, Any], ...]:
        """What is loaded, as the server tells it."""
        return tuple(self._json("GET", "/api/ps").get("models") or ())

    def has_blob(self, digest: str) -> bool:
        """Whether the server has a blob, so that it must not be sent."""
        answer = self._http.call("HEAD", f"/api/blobs/{digest}")
        if answer.status not in {OK, NOT_FOUND}:
            raise refusal(answer)
        return answer.status == OK

    def upload(self, digest: str, file: Path, on_bytes: Callable[[int], None]) -> None:
        """Sends a blob. Raises OSError, too, where the file cannot be read."""
        answer = self._http.upload(f"/api/blobs/{digest}", file, on_bytes)
        if answer.status not in {OK, _CREATED}:
            raise refusal(answer)

    def create(
        self,
        body: Mapping[str, Any],
        *,
        on_line: Callable[[Mapping[str, Any]], None] | None = None,
        patience: float = 0.0,
    ) -> None:
        """Makes a model; returns only after the server has said `success` as its last word.

        The answer is streamed: a server goes on with one that is not, even where nobody listens any more.

        Args:
            body: the request.
            on_line: hears each line of the answer.
            patience: seconds of silence beyond the usual ones, where the server has much to do without a word.
        """
        patiently(lambda: self._finished("/api/create", body, on_line, patience))

    def pull(self, name: str, *, insecure: bool, on_line: Callable[[Mapping[str, Any]], None]) -> None:
        """Has the server pull a model; `on_line` hears what it says on the way. `insecure`: over plain http.

        Returns only after the server has said `success` as its last word.
        """
        patiently(lambda: self._finished("/api/pull", {"model": name, "insecure": insecure}, on_line))

    def copy(self, source: str, destination: str) -> None:
        """Copies a model's manifest."""
        self._plain("POST", "/api/copy", {"source": source, "destination": destination})

    def delete(self, name: str) -> None:
        """Deletes a name and the blobs that nothing else has."""
        self._plain("DELETE", "/api/delete", {"model": name})

    def chat(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The pieces of an answer as they come."""
        with self._lines("/api/chat", {**body, "stream": True}) as lines:
            yield from lines

    def embed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The embeddings of texts. The answer comes in one piece, after the model was loaded if it was not."""
        with self._lines("/api/embed", body) as lines:
            found = next(lines, None)
        if found is None:
            raise Refused(OK, "the server said nothing")
        return found

    def unload(self, name: str) -> None:
        """Takes a model out of memory."""
        self._plain("POST", "/api/generate", {"model": name, "keep_alive": 0, "stream": False})

    def close(self) -> None:
        """Lets go of the connections."""
        self._http.close()

    def _finished(
        self,
        path: str,
        body: Mapping[str, Any],
        on_line: Callable[[Mapping[str, Any]], None] | None,
        patience: float = 0.0,
    ) -> None:
        last = ""
        with self._lines(path, {**body, "stream": True}, patience) as lines:
            for line in lines:
                last = str(line.get("status") or "")
                if on_line:
                    on_line(line)
        if last != "success":
            raise Refused(OK, f"the server stopped after {last!r}" if last else "the server said nothing")

    def _json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self._plain(method, path, body)
        try:
            found = json.loads(answer.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Refused(answer.status, f"an answer that is no JSON object: {_beginning(answer.body)}")
        return found

    def _plain(self, method: str, path: str, body: object = None) -> Answer:
        def once() -> Answer:
            answer = self._http.call(method, path, body)
            if answer.status != OK:
                raise refusal(answer)
            return answer

        return patiently(once)

    @contextmanager
    def _lines(
        self, path: str, body: Mapping[str, Any], patience: float = 0.0
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """The JSON objects of a stream; one with an error in it raises."""
        with self._http.stream("POST", path, body, seconds=self._timeouts.load + patience) as stream:
            if stream.status != OK:
                raise Refused(stream.status, error_words(stream.rest(), stream.status))
            yield map(_checked_line, stream.lines)


def patiently(action: Callable[[], T]) -> T:
    """Does it again for a moment, while the server stumbles over somebody else's copy or delete."""
    for pause in _PAUSES:
        try:
            return action()
        except Refused as refused:
            if not refused.midway:
                raise
        time.sleep(pause)
    return action()


def refusal(answer: Answer) -> Refused:
    """The error that an answer is."""
    return Refused(answer.status, error_words(answer.body, answer.status))


def error_words(body: bytes, status: int) -> str:
    """The words of an error answer, out of however many layers of JSON."""
    text = body.decode(errors="replace").strip()
    return _innermost(text)[:_LONGEST] or f"HTTP {status} without a word"


def _innermost(found: object) -> str:
    if isinstance(found, dict):
        nothing = "" if "error" in found else str(found)
        return next((_innermost(found[key]) for key in ("error", "message") if found.get(key)), nothing)
    if not isinstance(found, str):
        return str(found)
    try:
        inner = json.loads(found) if found.startswith("{") else None
    except ValueError:
        inner = None
    return _innermost(inner) if isinstance(inner, dict) else found


def _checked_line(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused(OK, f"a line that is no JSON object: {_beginning(line)}")
    if found.get("error"):
        raise Refused(OK, _innermost(found)[:_LONGEST])
    return found


def _beginning(body: bytes) -> str:
    return repr(body[:60].decode(errors="replace"))


def unix_seconds(text: str) -> float:
    """Unix time of Go's RFC 3339 with up to nine decimals; 0 where it is none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return 0.0
    zone = "+00:00" if match[3] == "Z" else match[3]
    return datetime.fromisoformat(match[1] + zone).timestamp() + float(match[2] or 0)
