"""Our side of the llama.cpp child process: what is loaded, what is asked, what came back."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.errors import SmokeFailed
from modelforge.process import Worker
from modelforge.runtimes import ChatReply, Embeddings, Placement, ToolCall
from modelforge.runtimes.embedding import vectors_of
from modelforge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PROGRAM = Path(__file__).with_name("llama_worker.py")
"""Run as a file, it needs nothing of modelforge, so it starts in no time wherever modelforge lies."""
_PATIENCE = 300.0
_LOG_LINES = 5
_LOG_WIDTH = 200
_BUFFER = re.compile(r"(\S+) +(?:model|KV|compute|output|RS) buffer size = +([0-9.]+) MiB")
_STAMP = re.compile(r"^[0-9.]+ [A-Z] ")
_TOO_LONG = re.compile(r"exceeds the available context size|larger than the max context size")
_TOO_MANY = "too large to process"
_MISSING = "No module named 'xllamacpp'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """What the memory depends on; another of these means loading anew. None leaves it to llama.cpp.

    `embedding`: it makes embeddings, and then answers no chat.
    """

    model: str
    adapters: tuple[str, ...]
    num_ctx: int
    embedding: bool = False
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_thread: int | None = None
    use_mmap: bool | None = None


class Llama:
    """llama.cpp with at most one model, in a process that starts when it is first needed."""

    def __init__(self, *, python: str, environment: Mapping[str, str], scratch: Path) -> None:
        self._command = [python, str(_PROGRAM)]
        self._environment = {**environment, "GGML_NO_BACKTRACE": "1", "PYTHONSAFEPATH": "1"}
        self._scratch = scratch
        self._running = ExitStack()
        self._worker: Worker | None = None
        self._log: Path | None = None
        self.loaded: Loading | None = None
        self._load_seconds = 0.0

    def load(self, wanted: Loading) -> float:
        """Has a model in memory; gives the seconds that this took, 0 where it was there.

        Raises:
            SmokeFailed: it cannot be loaded, or llama.cpp is not installed.
        """
        if self.loaded == wanted and self._worker is not None:
            return 0.0
        self.close()
        self._start()
        answer = self._ask({"load": asdict(wanted)}, _ignore)
        self.loaded = wanted
        return float(answer["ready"]["seconds"])

    def chat(
        self, request: Mapping[str, Any], on_text: Callable[[str], None], *, load_seconds: float
    ) -> ChatReply:
        """One answer of the loaded model.

        Raises:
            SmokeFailed: it refused, stopped answering, or died.
        """
        pieces: list[str] = []

        def take(text: str) -> None:
            pieces.append(text)
            on_text(text)

        done = self._ask({"chat": request}, take)["done"]
        return _reply("".join(pieces), done, load_seconds)

    def embed(self, texts: Sequence[str], *, load_seconds: float) -> Embeddings:
        """A vector for each text, of the loaded model.

        Raises:
            SmokeFailed: it refused, or died.
        """
        done = self._ask({"embed": {"input": list(texts)}}, _ignore)["done"]
        return Embeddings(
            vectors=vectors_of(done["vectors"], texts),
            prompt_tokens=int(done["usage"].get("prompt_tokens", 0)),
            seconds=float(done["seconds"]),
            load_seconds=load_seconds,
        )

    def placement(self) -> Placement | None:
        """Where the loaded model lies, as llama.cpp told in its log; None if nothing is loaded or told."""
        if self.loaded is None or self._log is None:
            return None
        return placement_of(self._log.read_text(encoding="utf-8", errors="replace"))

    def close(self) -> None:
        """Ends the process."""
        self._worker, self.loaded = None, None
        self._running.close()

    def _start(self) -> None:
        self._log = self._scratch / f"llama-{secrets.token_hex(4)}.log"
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._log.touch()
        except OSError as error:
            raise SmokeFailed(
                f"the cache folder {self._scratch} cannot be written ({error.strerror})",
                hint="set MODELFORGE_CACHE to a folder of yours",
            ) from error
        self._running.callback(self._log.unlink, missing_ok=True)
        worker = Worker(self._command, environment=self._environment, log=self._log, folder=self._scratch)
        self._worker = self._running.enter_context(worker)

    def _ask(self, question: Mapping[str, Any], on_text: Callable[[str], None]) -> Mapping[str, Any]:
        """Sends a line and hears the answer to its end."""
        worker = self._worker
        if worker is None:
            raise SmokeFailed("no model is loaded")
        try:
            worker.send(json.dumps({**question, "patience": _PATIENCE}))
        except OSError:
            raise self._died(worker) from None
        while (line := worker.receive()) is not None:
            answer: dict[str, Any] = json.loads(line)
            if "failed" in answer:
                raise self._refused(str(answer["failed"]))
            if "text" not in answer:
                return answer
            on_text(answer["text"])
        raise self._died(worker)

    def _refused(self, reason: str) -> SmokeFailed:
        if reason == _MISSING:
            return SmokeFailed(
                "smoke tests need llama.cpp, which is not installed here",
                hint="pip install 'ollama-modelforge[embedded]', or build over an Ollama server (--runtime ollama)",
            )
        if _TOO_LONG.search(reason):
            words = reason.partition(", try")[0].removesuffix(". skipping")
            return SmokeFailed(f"llama.cpp: {words}", hint="raise num_ctx, or ask less")
        if _TOO_MANY in reason:
            hint = "raise num_ctx, and num_batch where it is set, or take shorter texts"
            return SmokeFailed(f"llama.cpp: {reason}", hint=hint)
        said = self._last_words() if self.loaded is None else ""
        return SmokeFailed(f"llama.cpp: {reason}", hint=said or None)

    def _died(self, worker: Worker) -> SmokeFailed:
        code = worker.exit_code()
        said = self._last_words()
        self.close()
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return SmokeFailed(f"llama.cpp ended {how} before it had answered", hint=said or None)

    def _last_words(self) -> str:
        """The errors in llama.cpp's log, else its last lines."""
        if self._log is None:
            return ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if re.match(r"[0-9.]+ E ", line)]
        return "\n".join(_STAMP.sub("", line)[:_LOG_WIDTH] for line in (errors or lines)[-_LOG_LINES:])


def placement_of(log: str) -> Placement | None:
    """Adds up the buffers that llama.cpp told of. Those of CPU and pinned host memory are no GPU's."""
    sizes = [(device, float(size)) for device, size in _BUFFER.findall(log)]
    if not sizes:
        return None
    on_gpu = sum(
        size for device, size in sizes if not device.startswith("CPU") and not device.endswith("Host")
    )
    return Placement(bytes=round(sum(size for _, size in sizes) * MIB), vram=round(on_gpu * MIB))


def _ignore(_text: str) -> None:
    """Nobody listens."""


def _reply(text: str, done: Mapping[str, Any], load_seconds: float) -> ChatReply:
    timings, usage = done["timings"], done["usage"]
    prompt, answer = float(timings.get("prompt_ms", 0)) / 1000, float(timings.get("predicted_ms", 0)) / 1000
    tokens = int(usage.get("completion_tokens", 0))
    return ChatReply(
        text=text,
        tool_calls=tuple(ToolCall(name=call["name"], arguments=_arguments(call)) for call in done["tools"]),
        done_reason="length" if done["reason"] == "length" else "stop",
        prompt_tokens=int(usage.get("prompt_tokens", 0)),
        output_tokens=tokens,
        seconds=prompt + answer,
        first_token_seconds=prompt + answer / max(tokens, 1),
        load_seconds=load_seconds,
        tokens_per_second=tokens / answer if tokens and answer else None,
    )


def _arguments(call: Mapping[str, str]) -> dict[str, Any]:
    """A call's arguments; a model may write what is no JSON object, which is then no argument at all."""
    try:
        value = json.loads(call["arguments"] or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
