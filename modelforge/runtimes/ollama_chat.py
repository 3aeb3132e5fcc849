"""One answer of a served model: the request's body, the pieces as they come, the reply with its times.

An answer counts only with `done` and a `done_reason` at its end: a server that stops, or gives up on a model
that repeats itself, ends the stream without either and without an error.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelforge.errors import SmokeFailed
from modelforge.runtimes import ChatReply, ToolCall
from modelforge.runtimes.embedding import only_embeds
from modelforge.runtimes.ollama_api import patiently
from modelforge.runtimes.ollama_errors import asking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from modelforge.runtimes import ChatRequest
    from modelforge.runtimes.ollama_api import OllamaApi

KEEP_ALIVE = "5m"  # said each time: left out, a server keeps what the last request set
_NANOSECONDS = 1e9


def chat(api: OllamaApi, name: str, request: ChatRequest, on_text: Callable[[str], None] | None) -> ChatReply:
    """One answer of a model, its text handed to `on_text` piece by piece.

    Raises:
        SmokeFailed: the model cannot be loaded, stopped answering, or makes embeddings only.
    """
    with asking(name):
        can = api.show(name).get("capabilities") or ()
        if "embedding" in can and "completion" not in can:
            raise only_embeds(name)
        body = chat_body(name, request, thinks="thinking" in can)
        return patiently(lambda: read_reply(api.chat(body), on_text, time.perf_counter))


def chat_body(name: str, request: ChatRequest, *, thinks: bool) -> dict[str, Any]:
    """The body of /api/chat. `thinks`: the model can, so it is told not to (others refuse the key's value true)."""
    body: dict[str, Any] = {
        "model": name,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
        "options": dict(request.options),
        "keep_alive": KEEP_ALIVE,
    }
    if request.format is not None:
        body["format"] = request.format
    if request.tools:
        body["tools"] = list(request.tools)
    if thinks:
        body["think"] = False
    return body


@dataclass(kw_only=True, slots=True)
class _Heard:
    """What has come so far."""

    texts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    first: float | None = None
    last: Mapping[str, Any] = field(default_factory=dict)


def read_reply(
    pieces: Iterable[Mapping[str, Any]],
    on_text: Callable[[str], None] | None,
    clock: Callable[[], float],
) -> ChatReply:
    """Puts an answer together.

    Args:
        pieces: the objects of the stream.
        on_text: hears each text at once.
        clock: seconds from anywhere, only going forward; the request is sent when the first piece is asked for.

    Raises:
        SmokeFailed: the answer has no end.
    """
    start = clock()
    heard = _Heard()
    for piece in pieces:
        _hear(heard, piece, on_text, clock)
    if not heard.last.get("done") or not heard.last.get("done_reason"):
        raise SmokeFailed(
            "the answer broke off: the server stopped, or gave up on a model that repeats itself",
            hint="look at the server's log; a repeat_penalty above 1 helps against repeating",
        )
    return _reply(heard, total=clock() - start, start=start)


def _hear(
    heard: _Heard,
    piece: Mapping[str, Any],
    on_text: Callable[[str], None] | None,
    clock: Callable[[], float],
) -> None:
    message = piece.get("message") or {}
    text = message.get("content") or ""
    calls = message.get("tool_calls") or ()
    if heard.first is None and (text or calls or message.get("thinking")):
        heard.first = clock()
    if text:
        heard.texts.append(text)
        if on_text is not None:
            on_text(text)
    for call in calls:
        function = call.get("function") or {}
        heard.calls.append(ToolCall(name=function.get("name", ""), arguments=function.get("arguments") or {}))
    heard.last = piece


def _reply(heard: _Heard, *, total: float, start: float) -> ChatReply:
    last = heard.last
    load = seconds_in(last, "load_duration")
    seconds = seconds_in(last, "total_duration") or total
    first = total if heard.first is None else heard.first - start
    tokens, token_seconds = int(last.get("eval_count") or 0), seconds_in(last, "eval_duration")
    return ChatReply(
        text="".join(heard.texts),
        tool_calls=tuple(heard.calls),
        done_reason=last["done_reason"],
        prompt_tokens=int(last.get("prompt_eval_count") or 0),
        output_tokens=tokens,
        seconds=max(seconds - load, 0.0),
        first_token_seconds=max(first - load, 0.0),
        load_seconds=load,
        tokens_per_second=tokens / token_seconds if tokens and token_seconds else None,
    )


def seconds_in(piece: Mapping[str, Any], key: str) -> float:
    """A duration of an answer, which has nanoseconds, in seconds; 0 where it is absent."""
    return float(piece.get(key) or 0) / _NANOSECONDS
