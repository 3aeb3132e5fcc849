"""Our side of the llama.cpp child, and the child's own code with a stand-in for the library. No process is started."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from modelforge.errors import SmokeFailed
from modelforge.runtimes import Placement, ToolCall, llama_worker
from modelforge.runtimes import llama as module
from modelforge.runtimes.llama import Llama, Loading, placement_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from typing_extensions import Self

LOADING = Loading(model="/store/blobs/sha256-a", adapters=(), num_ctx=512)
READY = {"ready": {"seconds": 0.5}}
DONE = {
    "done": {
        "reason": "stop",
        "tools": [],
        "usage": {"prompt_tokens": 12, "completion_tokens": 4},
        "timings": {"prompt_ms": 100.0, "predicted_ms": 200.0},
    }
}


@dataclass
class FakeWorker:
    """A child that answers from a script; `code` is what it ends with when the script is over."""

    script: list[Mapping[str, Any]]
    code: int = 0
    log_text: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    started: int = 0
    ended: int = 0
    log: Path = Path()
    environment: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.started += 1
        self.log.write_text(self.log_text, encoding="utf-8")
        return self

    def __exit__(self, *_exc: object) -> None:
        self.ended += 1

    def send(self, line: str) -> None:
        if self.code:
            raise BrokenPipeError
        self.sent.append(json.loads(line))

    def receive(self) -> str | None:
        return json.dumps(self.script.pop(0)) if self.script else None

    def exit_code(self) -> int:
        return self.code


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> FakeWorker:
    worker = FakeWorker(script=[READY])

    def make(_command: list[str], *, environment: dict[str, str], log: Path, folder: Path) -> FakeWorker:
        assert folder == log.parent
        worker.log, worker.environment = log, environment
        return worker

    monkeypatch.setattr(module, "Worker", make)
    return worker


@pytest.fixture
def llama(tmp_path: Path, child: FakeWorker) -> Iterator[Llama]:
    made = Llama(python="python", environment={"PATH": "/bin"}, scratch=tmp_path / "scratch")
    assert child.started == 0
    yield made
    made.close()


def chat(llama: Llama, heard: list[str] | None = None) -> Any:
    return llama.chat({}, (heard if heard is not None else []).append, load_seconds=0.5)


def test_a_reply_comes_in_pieces_and_whole(llama: Llama, child: FakeWorker) -> None:
    child.script += [{"text": "Hel"}, {"text": "lo"}, DONE]
    heard: list[str] = []
    assert llama.load(LOADING) == 0.5
    reply = chat(llama, heard)
    assert (heard, reply.text, reply.done_reason) == (["Hel", "lo"], "Hello", "stop")
    assert (reply.prompt_tokens, reply.output_tokens) == (12, 4)
    assert (reply.seconds, reply.first_token_seconds, reply.load_seconds) == pytest.approx((0.3, 0.15, 0.5))
    assert reply.tokens_per_second == pytest.approx(20)


@pytest.mark.parametrize(
    ("reason", "told"), [("length", "length"), ("stop", "stop"), ("tool_calls", "stop"), (None, "stop")]
)
def test_a_reply_ends_for_ollamas_reasons(
    llama: Llama, child: FakeWorker, reason: str | None, told: str
) -> None:
    child.script.append({"done": {**DONE["done"], "reason": reason}})
    llama.load(LOADING)
    assert chat(llama).done_reason == told


def test_tools_are_called(llama: Llama, child: FakeWorker) -> None:
    calls = [
        {"name": "add", "arguments": '{"a": 1}'},
        {"name": "go", "arguments": ""},
        {"name": "bad", "arguments": "[1"},
    ]
    child.script.append({"done": {**DONE["done"], "tools": calls}})
    llama.load(LOADING)
    assert chat(llama).tool_calls == (
        ToolCall(name="add", arguments={"a": 1}),
        ToolCall(name="go", arguments={}),
        ToolCall(name="bad", arguments={}),
    )


def test_a_model_is_loaded_once(llama: Llama, child: FakeWorker) -> None:
    llama.load(LOADING)
    assert llama.load(replace(LOADING)) == 0
    assert (child.started, child.ended) == (1, 0)
    child.script.append(READY)
    llama.load(replace(LOADING, num_ctx=1024))
    assert (child.started, child.ended) == (2, 1)
    assert [question["load"]["num_ctx"] for question in child.sent] == [512, 1024]


def test_nothing_is_left_of_the_child(llama: Llama, child: FakeWorker, tmp_path: Path) -> None:
    llama.load(LOADING)
    assert len(list((tmp_path / "scratch").iterdir())) == 1
    llama.close()
    assert (child.ended, list((tmp_path / "scratch").iterdir())) == (1, [])
    assert llama.placement() is None


def test_a_cache_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    llama = Llama(python="python", environment={}, scratch=tmp_path / "file" / "cache")
    with pytest.raises(SmokeFailed, match=r"the cache folder .* cannot be written") as caught:
        llama.load(LOADING)
    assert "MODELFORGE_CACHE" in str(caught.value.problems[0].hint)


def test_without_the_library_the_error_says_how_to_get_it(llama: Llama, child: FakeWorker) -> None:
    child.script[:] = [{"failed": "No module named 'xllamacpp'"}]
    with pytest.raises(SmokeFailed, match="not installed") as caught:
        llama.load(LOADING)
    assert caught.value.exit_code == 8
    assert "pip install 'ollama-modelforge[embedded]'" in str(caught.value.problems[0].hint)


def test_a_model_that_does_not_load_brings_llama_cpps_own_words(llama: Llama, child: FakeWorker) -> None:
    child.script[:] = [{"failed": "Failed to init server"}]
    child.log_text = "0.00.001 I loading\n0.00.004 E error loading model: tensor is missing\n0.00.005 I bye\n"
    with pytest.raises(SmokeFailed, match=r"llama\.cpp: Failed to init server") as caught:
        llama.load(LOADING)
    assert caught.value.problems[0].hint == "error loading model: tensor is missing"
    assert llama.loaded is None


def test_a_prompt_that_is_too_long_is_said_with_a_remedy(llama: Llama, child: FakeWorker) -> None:
    reason = "request (4018 tokens) exceeds the available context size (512 tokens), try increasing it"
    child.script.append({"failed": reason})
    llama.load(LOADING)
    with pytest.raises(SmokeFailed, match=r"4018 tokens\) exceeds .* \(512 tokens\)$") as caught:
        chat(llama)
    assert "num_ctx" in str(caught.value.problems[0].hint)


@pytest.mark.parametrize(("code", "told"), [(-6, "by signal 6"), (1, "with exit code 1")])
def test_a_child_that_dies_is_told_with_its_last_words(
    llama: Llama, child: FakeWorker, code: int, told: str
) -> None:
    child.log_text = "GGML_ASSERT(a == b) failed\n"
    llama.load(LOADING)
    child.code = code
    with pytest.raises(SmokeFailed, match=f"ended {told}") as caught:
        chat(llama)
    assert caught.value.problems[0].hint == "GGML_ASSERT(a == b) failed"
    with pytest.raises(SmokeFailed, match="no model is loaded"):
        chat(llama)


def test_a_child_that_dies_while_it_answers_is_told_too(llama: Llama, child: FakeWorker) -> None:
    llama.load(LOADING)
    child.script.append({"text": "Hel"})
    heard: list[str] = []
    with pytest.raises(SmokeFailed, match="before it had answered"):
        chat(llama, heard)
    assert heard == ["Hel"]


VECTORS = {"done": {"vectors": [[0.5, 1], [None, -2.0]], "usage": {"prompt_tokens": 7}, "seconds": 0.125}}


def test_texts_become_vectors(llama: Llama, child: FakeWorker) -> None:
    child.script.append(VECTORS)
    llama.load(replace(LOADING, embedding=True))
    made = llama.embed(("a", "b"), load_seconds=0.5)
    assert made.vectors[0] == (0.5, 1.0)
    assert math.isnan(made.vectors[1][0])
    assert (made.prompt_tokens, made.seconds, made.load_seconds) == (7, 0.125, 0.5)
    assert [question.get("embed") for question in child.sent] == [None, {"input": ["a", "b"]}]


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ([[1.0]], "1 of 2 vectors came"),
        (None, "0 of 2 vectors came"),
        ([[1.0], "x"], "a vector is no list of numbers but 'x'"),
        ([[1.0], ["x"]], "a vector holds 'x', which is no number"),
        ([[1.0], [True]], "a vector holds 'True', which is no number"),
    ],
)
def test_what_is_no_vector_for_each_text_is_an_error(
    llama: Llama, child: FakeWorker, vectors: object, words: str
) -> None:
    child.script.append({"done": {**VECTORS["done"], "vectors": vectors}})
    llama.load(replace(LOADING, embedding=True))
    with pytest.raises(SmokeFailed, match=words):
        llama.embed(("a", "b"), load_seconds=0)


@pytest.mark.parametrize(
    ("reason", "told", "remedy"),
    [
        (
            "input (102 tokens) is larger than the max context size (64 tokens). skipping",
            r"102 tokens\) is larger than the max context size \(64 tokens\)$",
            "raise num_ctx",
        ),
        (
            "input (600 tokens) is too large to process. increase the physical batch size (current: 512)",
            "too large to process",
            "num_batch",
        ),
    ],
)
def test_a_text_that_is_too_long_is_said_with_a_remedy(
    llama: Llama, child: FakeWorker, reason: str, told: str, remedy: str
) -> None:
    child.script.append({"failed": reason})
    llama.load(replace(LOADING, embedding=True))
    with pytest.raises(SmokeFailed, match=told) as caught:
        llama.embed(("a",), load_seconds=0)
    assert remedy in str(caught.value.problems[0].hint)


def test_placement_is_what_the_log_tells(llama: Llama, child: FakeWorker) -> None:
    child.log_text = "0.1 I load_tensors:   CPU_Mapped model buffer size =     2.50 MiB\n"
    llama.load(LOADING)
    assert llama.placement() == Placement(bytes=2621440, vram=0)


def test_buffers_are_added_up_by_where_they_are() -> None:
    log = (
        "load_tensors:        CUDA0 model buffer size =  1000.00 MiB\n"
        "load_tensors:   CPU_Mapped model buffer size =   100.00 MiB\n"
        "llama_kv_cache:      CUDA0 KV buffer size =    64.00 MiB\n"
        "llama_context:  CUDA_Host  output buffer size =     1.00 MiB\n"
        "sched_reserve:      CUDA0 compute buffer size =     8.00 MiB\n"
    )
    assert placement_of(log) == Placement(bytes=1173 << 20, vram=1072 << 20)
    assert placement_of("nothing of interest") is None


# -- the child's own code ----------------------------------------------------------------------------


class FakeServer:
    """llama.cpp's server: streams two pieces and an end, or fails as it does."""

    made: ClassVar[list[Any]] = []

    def __init__(self, params: Any) -> None:
        if params.model.path == "bad":
            raise RuntimeError("Failed to init server")
        FakeServer.made.append(params)

    def handle_embeddings(self, request: dict[str, Any]) -> dict[str, Any]:
        if "too long" in request["input"]:
            return {
                "error": {"code": 400, "message": "input (102 tokens) is larger than the max context size"}
            }
        data = [
            {"index": index, "embedding": [float(len(text)), None]}
            for index, text in enumerate(request["input"])
        ]
        return {"data": data[::-1], "usage": {"prompt_tokens": 7}}

    def handle_chat_completions(
        self, request: dict[str, Any], on_piece: Callable[[dict[str, Any]], bool]
    ) -> None:
        assert request["stream"] is True
        if request.get("too_long"):
            on_piece({"error": {"message": "too long"}})
            return
        tool = {"index": 0, "function": {"name": "add", "arguments": '{"a"'}}
        more = {"index": 0, "function": {"arguments": ": 1}"}}
        pieces: list[dict[str, Any]] = [
            {"choices": [{"delta": {"role": "assistant", "content": None}, "finish_reason": None}]},
            {"choices": [{"delta": {"content": "Hel"}, "finish_reason": None}]},
            {"choices": [{"delta": {"content": "lo", "tool_calls": [tool]}}]},
            {"choices": [{"delta": {"tool_calls": [more]}}]},
            {"choices": [{"delta": {}, "finish_reason": "length"}], "timings": {"prompt_ms": 1}},
            {"choices": [], "usage": {"prompt_tokens": 3}},
        ]
        for piece in pieces:
            assert on_piece(piece) is False


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("xllamacpp")
    fake.__dict__.update(
        CommonParams=lambda: SimpleNamespace(model=SimpleNamespace(), cpuparams=SimpleNamespace()),
        CommonAdapterLoraInfo=lambda path, scale: (path, scale),
        llama_load_mode=SimpleNamespace(LLAMA_LOAD_MODE_NONE="none"),
        Server=FakeServer,
    )
    monkeypatch.setitem(sys.modules, "xllamacpp", fake)
    FakeServer.made = []


def conversation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *questions: Mapping[str, Any]) -> list[Any]:
    """Runs the child's main on these lines; gives the lines of its answer."""
    answers = tmp_path / "answers"
    handle = os.open(answers, os.O_WRONLY | os.O_CREAT)
    watched: list[float] = []
    monkeypatch.setattr(
        sys, "stdin", io.StringIO("".join(json.dumps(question) + "\n" for question in questions))
    )
    monkeypatch.setattr(os, "dup", lambda _old: handle)
    monkeypatch.setattr(os, "dup2", lambda _old, _new: 0)
    monkeypatch.setattr("faulthandler.dump_traceback_later", lambda patience, **_: watched.append(patience))
    llama_worker.main()
    assert set(watched) == {300.0}
    return [json.loads(line) for line in answers.read_text().splitlines()]


def load(**changes: Any) -> dict[str, Any]:
    return {"load": {**asdict(LOADING), **changes}, "patience": 300}


@pytest.mark.usefixtures("library")
def test_the_child_loads_and_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded, *pieces, done = conversation(
        monkeypatch, tmp_path, load(), {"chat": {"messages": []}, "patience": 300}
    )
    assert loaded["ready"]["seconds"] >= 0
    assert pieces == [{"text": "Hel"}, {"text": "lo"}]
    assert done["done"] == {
        "reason": "length",
        "tools": [{"name": "add", "arguments": '{"a": 1}'}],
        "usage": {"prompt_tokens": 3},
        "timings": {"prompt_ms": 1},
    }


@pytest.mark.usefixtures("library")
def test_the_child_goes_on_after_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask = {"chat": {}, "patience": 300}
    too_long = {"chat": {"too_long": True}, "patience": 300}
    answers = conversation(monkeypatch, tmp_path, ask, load(model="bad"), ask, load(), too_long, ask)
    assert [next(iter(answer)) for answer in answers] == [
        "failed",
        "failed",
        "failed",
        "ready",
        "failed",
        "text",
        "text",
        "done",
    ]
    assert answers[1] == {"failed": "Failed to init server"}
    assert answers[4] == {"failed": "too long"}


@pytest.mark.usefixtures("library")
def test_the_child_embeds_and_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ask(*texts: str) -> dict[str, Any]:
        return {"embed": {"input": texts}, "patience": 300}

    early, _, first, failed, again = conversation(
        monkeypatch, tmp_path, ask("a"), load(embedding=True), ask("a", "bcd"), ask("too long"), ask("a")
    )
    assert early == {"failed": "no model is loaded"}
    assert first["done"]["vectors"] == [[1.0, None], [3.0, None]]
    assert first["done"]["usage"] == {"prompt_tokens": 7}
    assert first["done"]["seconds"] >= 0
    assert failed == {"failed": "input (102 tokens) is larger than the max context size"}
    assert again["done"]["vectors"] == [[1.0, None]]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("settings", "batch"),
    [
        ({}, 512),
        ({"num_ctx": 8192}, 2048),
        ({"num_ctx": 8192, "num_batch": 4096}, 4096),
        ({"num_batch": 4096}, 512),
        ({"num_batch": 64}, 64),
    ],
)
def test_an_embedded_text_is_taken_in_one_batch_as_ollama_does_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, Any], batch: int
) -> None:
    conversation(monkeypatch, tmp_path, load(embedding=True, **settings), load(**settings))
    embeds, chats = FakeServer.made
    assert (embeds.embedding, embeds.n_batch, embeds.n_ubatch) == (True, batch, batch)
    assert not hasattr(chats, "embedding")
    assert not hasattr(chats, "n_ubatch")


@pytest.mark.usefixtures("library")
def test_the_child_hands_settings_on_and_listens_for_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {"adapters": ["/a"], "num_batch": 128, "num_gpu": 0, "num_thread": 2, "use_mmap": False}
    conversation(monkeypatch, tmp_path, load(**settings), load())
    full, plain = FakeServer.made
    assert (full.n_ctx, full.n_parallel, full.n_batch, full.n_gpu_layers) == (512, 1, 128, 0)
    assert (full.cpuparams.n_threads, full.load_mode, full.lora_adapters) == (2, "none", [("/a", 1.0)])
    assert not hasattr(plain, "n_gpu_layers")
    assert not hasattr(plain, "lora_adapters")
    assert len(full.api_keys[0]) == 32
    assert full.api_keys != plain.api_keys


def test_the_child_says_that_the_library_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    (answer,) = conversation(monkeypatch, tmp_path, load())
    assert "xllamacpp" in answer["failed"]
