"""The child process that runs llama.cpp: `python llama_worker.py`, JSON lines in and out. Needs nothing of modelforge.

An abort in native code ends this process, not modelforge. Each line in is one of

    {"load": {"model": path, "adapters": [path], "num_ctx": 4096, ...}, "patience": 300}
    {"chat": {...}, "patience": 300}          a request as llama.cpp's chat completions take it, or, where it has a
                                              prompt, as its completions do
    {"embed": {"input": [text]}, "patience": 300}

and is answered by {"ready": {"seconds": 0.1}}, or by any number of {"text": "…"} and then {"done": {...}}; in all
cases {"failed": "why"} may come instead. All else that anything prints goes to standard error.
"""

from __future__ import annotations

import faulthandler
import json
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Say: TypeAlias = Callable[[Mapping[str, Any]], None]

_VERBOSE = 4  # tells the buffer sizes
_EMBEDDING_BATCH = 2048


def main() -> None:
    """Answers lines until there are no more."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # nothing that prints shall come between our lines

        def say(answer: Mapping[str, Any]) -> None:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()

        server: Any = None
        for line in sys.stdin:
            asked = json.loads(line)
            if "load" in asked:
                server = None  # frees the memory before the next model takes some
            try:
                server = _answer(server, asked, say)
            except Exception as error:  # noqa: BLE001 (whatever goes wrong, the answer is one line)
                say({"failed": str(error) or type(error).__name__})
            faulthandler.cancel_dump_traceback_later()


def _answer(server: Any, asked: Mapping[str, Any], say: Say) -> Any:  # noqa: ANN401 (the library has no types)
    """Answers one line; gives the server that is there then."""
    alive = _watch(float(asked["patience"]))
    if "load" not in asked:
        if server is None:
            message = "no model is loaded"
            raise RuntimeError(message)
        embeds = "embed" in asked
        say({"done": _embed(server, asked["embed"]) if embeds else _chat(server, asked["chat"], say, alive)})
        return server
    start = time.perf_counter()
    loaded = _load(asked["load"])
    say({"ready": {"seconds": time.perf_counter() - start}})
    return loaded


def _watch(patience: float) -> Callable[[], None]:
    """Ends this process if nothing happens for `patience` seconds, even where native code hangs."""

    def alive() -> None:
        faulthandler.dump_traceback_later(patience, exit=True)

    alive()
    return alive


def _load(settings: Mapping[str, Any]) -> Any:  # noqa: ANN401
    import xllamacpp  # noqa: PLC0415 (it may be missing: that is an answer, too)

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.n_ctx = settings["num_ctx"]
    params.n_parallel = 1
    params.verbosity = _VERBOSE
    params.warmup = False
    params.ui = False
    params.offline = True
    params.ctx_shift = False
    params.cache_ram_mib = 0
    params.api_keys = [secrets.token_hex(16)]  # it listens on a port of the loopback: for nobody
    if settings.get("embedding"):
        params.embedding = True
        # All of a text at once, as Ollama does it (llm/llama_server.go, v0.32.15): encoders cannot do it in parts.
        batch = min(settings.get("num_batch") or _EMBEDDING_BATCH, settings["num_ctx"])
        params.n_batch = params.n_ubatch = batch
        settings = {**settings, "num_batch": None}
    for ours, theirs in (("num_batch", "n_batch"), ("num_gpu", "n_gpu_layers"), ("main_gpu", "main_gpu")):
        if settings.get(ours) is not None:
            setattr(params, theirs, settings[ours])
    if settings.get("num_thread"):
        params.cpuparams.n_threads = settings["num_thread"]
    if settings.get("use_mmap") is False:
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in settings["adapters"]]
    if adapters:
        params.lora_adapters = adapters
    return xllamacpp.Server(params)


def _chat(
    server: Any,  # noqa: ANN401
    request: Mapping[str, Any],
    say: Say,
    alive: Callable[[], None],
) -> Mapping[str, Any]:
    reply = _Reply()

    def on_piece(piece: Mapping[str, Any]) -> bool:
        alive()
        text = reply.take(piece)
        if text:
            say({"text": text})
        return False  # True would stop it

    ask = server.handle_completions if "prompt" in request else server.handle_chat_completions
    ask({**request, "stream": True, "stream_options": {"include_usage": True}}, on_piece)
    if reply.error:
        raise RuntimeError(reply.error)
    return reply.whole()


def _embed(server: Any, request: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401
    start = time.perf_counter()
    answer = server.handle_embeddings(dict(request))
    seconds = time.perf_counter() - start
    if "error" in answer:
        raise RuntimeError(str(answer["error"].get("message", answer["error"])))
    data = sorted(answer["data"], key=lambda one: int(one["index"]))
    return {"vectors": [one["embedding"] for one in data], "usage": answer["usage"], "seconds": seconds}


class _Reply:
    """Puts the pieces of a streamed reply together."""

    def __init__(self) -> None:
        self.error = ""
        self.reason: str | None = None
        self.tools: dict[int, dict[str, str]] = {}
        self.usage: Mapping[str, Any] = {}
        self.timings: Mapping[str, Any] = {}

    def take(self, piece: Mapping[str, Any]) -> str:
        """One piece; gives its text."""
        if "error" in piece:
            self.error = str(piece["error"].get("message", piece["error"]))
        self.usage = piece.get("usage") or self.usage
        self.timings = piece.get("timings") or self.timings
        text = ""
        for choice in piece.get("choices") or ():
            self.reason = choice.get("finish_reason") or self.reason
            delta = choice.get("delta") or {}
            text += delta.get("content") or choice.get("text") or ""
            for call in delta.get("tool_calls") or ():
                self._take_tool(call)
        return text

    def _take_tool(self, call: Mapping[str, Any]) -> None:
        known = self.tools.setdefault(int(call.get("index", 0)), {"name": "", "arguments": ""})
        function = call.get("function") or {}
        known["name"] += function.get("name") or ""
        known["arguments"] += function.get("arguments") or ""

    def whole(self) -> Mapping[str, Any]:
        """What came of it all."""
        return {
            "reason": self.reason,
            "tools": [self.tools[index] for index in sorted(self.tools)],
            "usage": self.usage,
            "timings": self.timings,
        }


if __name__ == "__main__":
    main()
