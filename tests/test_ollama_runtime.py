"""The ollama runtime against a server of its own making: everything that a real one does only on a bad day."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2  # noqa: TID251 (the fake behind the door)
import pytest

from modelforge.bases import LocalFile, ServedModel
from modelforge.errors import BuildFailed, SmokeFailed, Unreachable, UsageProblem
from modelforge.events import silent
from modelforge.filehash import Hashes
from modelforge.gguf import LongArray
from modelforge.modelfile import Loss
from modelforge.project_settings import Timeouts
from modelforge.runtimes import BrokenModel, ChatRequest, Turn, ollama_cli, ollama_weights
from modelforge.runtimes.ollama import OllamaRuntime, Via, connect
from modelforge.runtimes.ollama_api import error_words, unix_seconds
from modelforge.runtimes.ollama_cli import local_command
from modelforge.runtimes.ollama_host import parse_host
from modelforge.runtimes.ollama_probe import version_key
from modelforge.runtimes.ollama_show import header_of, needs_verbose, parse_parameters, standing_of
from modelforge.runtimes.ollama_stub import stub
from modelforge.runtimes.ollama_weights import Room, local_room
from tests.fakes import some_candidate, some_rendered
from tests.ggufs import tiny_llama

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from modelforge.render import Rendered

HOST = parse_host("gpu-box", "--host")
DIGEST = "ab" * 32
HELLO = ChatRequest(messages=(Turn(role="user", content="hi"),), options={"stop": ("x",)})
MODELFILE = f"# x\n# FROM base:latest\n\nFROM /m/blobs/sha256-{DIGEST}\nTEMPLATE {{{{ .Prompt }}}}\n"
END = {"done": True, "done_reason": "stop", "eval_count": 4, "eval_duration": 2e9, "total_duration": 3e9}
SUCCESS = {"status": "success"}


def lines(*objects: object) -> httpx2.Response:
    return httpx2.Response(200, content="".join(json.dumps(one) + "\n" for one in objects))


def refused(status: int, words: str) -> httpx2.Response:
    return httpx2.Response(status, json={"error": words})


class Fake:
    """Answers by `METHOD /path`: a response, a list of them used up in order, an error, or a function."""

    def __init__(self, **more: Any) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {
            "GET /api/version": httpx2.Response(200, json={"version": "0.32.15"}),
            "GET /api/tags": lambda _: httpx2.Response(
                200, json={"models": [tag("base:latest"), tag("made:latest")]}
            ),
            "POST /api/show": lambda _: httpx2.Response(200, json=show()),
            "POST /api/create": lambda _: lines({"status": "writing manifest"}, SUCCESS),
            "POST /api/copy": lambda _: httpx2.Response(200),
            "DELETE /api/delete": lambda _: httpx2.Response(200),
            "POST /api/generate": lambda _: httpx2.Response(200),
            "GET /api/ps": lambda _: httpx2.Response(200, json={"models": []}),
            "HEAD blob": lambda _: httpx2.Response(200),
            **more,
        }

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = "blob" if request.url.path.startswith("/api/blobs/") else request.url.path
        key = f"{request.method} {path}"
        body = request.read()
        self.asked.append((key, json.loads(body) if body.startswith(b"{") else len(body)))
        answer = self.answers[key]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer) and not isinstance(answer, httpx2.Response):
            answer = answer(request)
        if isinstance(answer, httpx2.RequestError):
            answer.request = request
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, httpx2.Response)
        return answer

    def bodies(self, key: str) -> list[Any]:
        return [body for asked, body in self.asked if asked == key]


def tag(name: str, digest: str = DIGEST) -> dict[str, Any]:
    return {"name": name, "digest": digest, "size": 10, "modified_at": "2026-11-21T09:35:41.691053448Z"}


def show(**more: Any) -> dict[str, Any]:
    return {"modelfile": MODELFILE, "template": "{{ .Prompt }}", "capabilities": ["completion"], **more}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., OllamaRuntime]:
    def start_it(
        fake: Fake, *, via: Via = "api", held: list[str] | None = None, path: str = ""
    ) -> OllamaRuntime:
        @contextmanager
        def lock() -> Iterator[None]:
            if held is not None:
                held.append(fake.asked[-1][0])
            yield

        return connect(
            HOST,
            timeouts=Timeouts(),
            via=via,
            lock=lock,
            hashes=Hashes(tmp_path / "hashes"),
            command=local_command(HOST, environment={"PATH": path}, seconds=300),
            transport=httpx2.MockTransport(fake),
        )

    return start_it


def served(**request: Any) -> Rendered:
    base = some_candidate(ref="base", source=ServedModel(name="base", digest=""))
    return some_rendered(base=base, **request)


# --- is it an Ollama? ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            httpx2.Response(200, html="<html><title>Sign in</title><p>Please  log in"),
            "HTTP 200, text/html, 'Sign in Please log in'",
        ),
        (
            httpx2.Response(302, headers={"location": "https://login.example.com"}),
            "HTTP 302 to https://login.example",
        ),
        (httpx2.Response(200, json={"status": "ok"}), 'HTTP 200, application/json, \'{"status":"ok"}\''),
        (httpx2.Response(200, json=["0.32.15"]), "application/json"),
        (httpx2.Response(404, text="404 page not found"), "HTTP 404, text/plain, '404 page not found'"),
        (httpx2.Response(403), "HTTP 403, no content type, empty"),
    ],
)
def test_what_is_no_ollama_is_described(
    answer: httpx2.Response, words: str, start: Callable[..., OllamaRuntime]
) -> None:
    with pytest.raises(Unreachable) as caught:
        start(Fake(**{"GET /api/version": answer}))
    assert caught.value.exit_code == 10
    assert "What answers at gpu-box:11434 is no Ollama" in str(caught.value)
    assert words in str(caught.value)
    assert "--host" in (caught.value.problems[0].hint or "")


def test_a_version_alone_is_no_proof_where_more_is_told(start: Callable[..., OllamaRuntime]) -> None:
    told = httpx2.Response(200, json={"version": "0.6.5", "deployment_id": ""})
    with pytest.raises(Unreachable, match="is no Ollama"):
        start(Fake(**{"GET /api/version": told, "GET /api/tags": httpx2.Response(200, html="<html>")}))
    assert start(Fake(**{"GET /api/version": told})).info.version == "0.6.5"


def test_nothing_there_gives_the_three_remedies(start: Callable[..., OllamaRuntime]) -> None:
    error = httpx2.ConnectError("x")
    error.__cause__ = ConnectionRefusedError(111, "x")
    with pytest.raises(Unreachable) as caught:
        start(Fake(**{"GET /api/version": error}))
    assert str(caught.value) == "No Ollama answers at gpu-box:11434 (connection refused)."
    assert caught.value.problems[0].hint == (
        "start it:           ollama serve\n"
        "another host:       --host gpu-box:11434, or OLLAMA_HOST\n"
        "without Ollama:     --runtime embedded"
    )


def test_a_server_that_hangs_is_given_up(start: Callable[..., OllamaRuntime]) -> None:
    with pytest.raises(Unreachable, match="nothing came for 30 s"):
        start(Fake(**{"GET /api/version": httpx2.ReadTimeout("x")}))


def test_an_old_server_is_refused_and_a_plain_build_is_not(start: Callable[..., OllamaRuntime]) -> None:
    with pytest.raises(Unreachable, match=r"too old: 0\.5\.4") as caught:
        start(Fake(**{"GET /api/version": httpx2.Response(200, json={"version": "0.5.4"})}))
    assert "0.5.5" in (caught.value.problems[0].hint or "")
    plain = start(Fake(**{"GET /api/version": httpx2.Response(200, json={"version": "0.0.0"})}))
    assert plain.info.version == "0.0.0"
    assert version_key("0.0.0") > version_key("0.33.0-rc2") > version_key("0.32.15") > version_key("0.5.5")
    assert version_key("dev") == version_key("0.0.0")


# --- create ----------------------------------------------------------------------------------------------


def test_only_what_is_set_is_sent_in_the_bases_own_spelling(start: Callable[..., OllamaRuntime]) -> None:
    fake = Fake(
        **{
            "GET /api/tags": lambda _: httpx2.Response(
                200, json={"models": [tag("BASE:latest"), tag("made:latest")]}
            )
        }
    )
    held: list[str] = []
    start(fake, held=held).create(served(parameters={"stop": ()}), "made", silent)
    assert fake.bodies("POST /api/create") == [
        {"model": "made", "from": "BASE:latest", "parameters": {"stop": []}, "stream": True}
    ]
    assert held == ["GET /api/version"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lines({"status": "writing manifest"}), "the server stopped after 'writing manifest'"),
        (lines(), "the server said nothing"),
        (lines({"status": "x"}, {"error": "no space left on device"}), "no space left on device"),
        (lines({"error": '{"error":{"code":400,"message":"inner words"}}'}), "inner words"),
        (refused(500, "read-only file system"), "read-only file system"),
        (httpx2.Response(403), "HTTP 403 without a word"),
        (httpx2.Response(200, text="<html>"), "no JSON object"),
    ],
)
def test_success_is_only_what_says_so(
    answer: httpx2.Response, words: str, start: Callable[..., OllamaRuntime]
) -> None:
    with pytest.raises(BuildFailed) as caught:
        start(Fake(**{"POST /api/create": answer})).create(served(), "made", silent)
    assert caught.value.exit_code == 7
    assert f"could not create made: {words}" in str(caught.value) or words in str(caught.value)


def test_a_create_that_stumbles_over_another_write_is_tried_again(
    start: Callable[..., OllamaRuntime],
) -> None:
    midway = refused(400, "stat /m/manifests/registry.ollama.ai/library/x/latest: no such file or directory")
    fake = Fake(**{"POST /api/create": [midway, midway, lines(SUCCESS)]})
    assert start(fake).create(served(), "made", silent).manifest == f"sha256:{DIGEST}"
    assert len(fake.bodies("POST /api/create")) == 3
    with pytest.raises(BuildFailed, match="no such file"):
        start(Fake(**{"POST /api/create": midway})).create(served(), "made", silent)


def test_what_comes_back_otherwise_is_a_failed_build(start: Callable[..., OllamaRuntime]) -> None:
    with pytest.raises(BuildFailed) as caught:
        start(Fake()).create(served(system="mine", parameters={"top_k": 1}), "made", silent)
    assert "system differs at character 1: wanted 'mine', got nothing" in str(caught.value)
    assert "parameter top_k: wanted 1, got nothing" in str(caught.value)


def test_a_server_that_dies_is_a_failed_build(start: Callable[..., OllamaRuntime]) -> None:
    with pytest.raises(BuildFailed, match="the connection broke off"):
        start(Fake(**{"POST /api/create": httpx2.ReadError("x")})).create(served(), "made", silent)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"system": ""}, "cannot empty the system"),
        ({"template": ""}, "cannot empty the template"),
        ({"system": "ab\ud83d"}, r"system has half of a surrogate pair at character 3 \(U\+D83D\)"),
        ({"parameters": {"stop": ("\udc00",)}}, "parameter stop has half"),
        ({"messages": (Turn(role="user", content="\udc00"),)}, "message 1 has half"),
    ],
)
def test_what_ollama_would_alter_is_refused_before_it_is_sent(
    request_: dict[str, Any], words: str, start: Callable[..., OllamaRuntime]
) -> None:
    fake = Fake()
    with pytest.raises(UsageProblem, match=words):
        start(fake).create(served(**request_), "made", silent)
    with pytest.raises(UsageProblem, match=words):
        start(fake).expected(served(**request_))
    assert {key for key, _body in fake.asked} == {"GET /api/version"}


def test_a_blob_that_arrived_after_all_is_no_error(
    start: Callable[..., OllamaRuntime], tmp_path: Path
) -> None:
    file = tiny_llama(tmp_path / "tiny.gguf")
    missing = httpx2.Response(404)
    fake = Fake(
        **{
            "POST /api/show": [refused(404, "not found"), httpx2.Response(200, json=show())],
            "HEAD blob": [missing, httpx2.Response(200)],
            "POST blob": httpx2.WriteError("Broken pipe"),
        }
    )
    base = some_candidate(source=LocalFile(path=file, bytes=file.stat().st_size))
    start(fake).create(some_rendered(base=base), "made", silent)
    assert [key for key, _body in fake.asked].count("POST blob") == 1
    assert fake.bodies("POST /api/create")[0]["files"].keys() == {"1-weights.gguf"}


def test_via_cli_names_every_loss_and_touches_nothing(start: Callable[..., OllamaRuntime]) -> None:
    fake = Fake()
    rendered = served(system="10\u00a0000")
    with pytest.raises(BuildFailed) as caught:
        start(fake, via="cli").create(rendered, "made", silent)
    assert caught.value.exit_code == 7
    assert "SYSTEM" in caught.value.problems[0].message
    assert "--via cli" in (caught.value.problems[0].hint or "")
    assert len(fake.asked) == 1
    listed = Loss(instruction="PARAMETER stop", reason="something")
    assert ollama_cli._problem(listed).message == "PARAMETER stop: something"


def test_via_cli_without_the_command_says_so(start: Callable[..., OllamaRuntime], tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="not on PATH"):
        start(Fake(), via="cli", path=str(tmp_path)).create(served(system="x"), "made", silent)


# --- show, copy, delete ------------------------------------------------------------------------------------


def test_nothing_broken_and_refused_are_told_apart(start: Callable[..., OllamaRuntime]) -> None:
    missing = refused(404, "model 'x' not found")
    assert start(Fake(**{"POST /api/show": missing})).show("other") is None
    with pytest.raises(BrokenModel):  # it is in the list
        start(Fake(**{"POST /api/show": missing})).show("made")
    for words in ("EOF", "unexpected EOF", "invalid character 'x' looking for beginning of value"):
        with pytest.raises(BrokenModel):
            start(Fake(**{"POST /api/show": refused(500, words)})).show("other")
    with pytest.raises(BrokenModel, match="weights"):
        start(Fake(**{"HEAD blob": httpx2.Response(404)})).show("made")
    with pytest.raises(Unreachable, match="refuses: HTTP 403 without a word"):
        start(Fake(**{"POST /api/show": httpx2.Response(403)})).show("made")


def test_a_blob_that_went_missing_is_seen(start: Callable[..., OllamaRuntime]) -> None:
    """Servers remember what they showed before; only with options do they look again."""

    def remembered(request: httpx2.Request) -> httpx2.Response:
        looks = "options" in json.loads(request.content)
        return (
            httpx2.Response(404, json={"error": "not found"}) if looks else httpx2.Response(200, json=show())
        )

    with pytest.raises(BrokenModel):
        start(Fake(**{"POST /api/show": remembered})).show("made")


def test_a_copy_is_verified_and_done_again(start: Callable[..., OllamaRuntime]) -> None:
    other = [tag("base:latest"), tag("made:latest", "cd" * 32)]
    stale = httpx2.Response(200, json={"models": other})
    fake = Fake(
        **{
            "GET /api/tags": [
                stale,
                stale,
                stale,
                lambda _: httpx2.Response(200, json={"models": [tag("made:latest")]}),
            ]
        }
    )
    start(fake).copy("base", "made")
    assert len(fake.bodies("POST /api/copy")) == 2
    with pytest.raises(BuildFailed, match="does not have what base has"):
        start(Fake(**{"GET /api/tags": stale})).copy("base", "made")


def test_a_broken_name_is_mended_to_be_deleted(start: Callable[..., OllamaRuntime]) -> None:
    fake = Fake(**{"DELETE /api/delete": [refused(500, "EOF"), httpx2.Response(200)]})
    start(fake).delete("broken")
    assert fake.bodies("POST /api/copy") == [{"source": "base:latest", "destination": "broken"}]
    assert len(fake.bodies("DELETE /api/delete")) == 2
    empty = httpx2.Response(200, json={"models": None})
    fake = Fake(**{"DELETE /api/delete": [refused(500, "EOF"), httpx2.Response(200)], "GET /api/tags": empty})
    start(fake).delete("broken")
    assert fake.bodies("POST /api/create")[0]["files"].keys() == {"stub.gguf"}
    with pytest.raises(BuildFailed, match="read-only"):
        start(Fake(**{"DELETE /api/delete": refused(500, "read-only file system")})).delete("made")


def test_cloud_models_in_the_list_do_no_harm(start: Callable[..., OllamaRuntime]) -> None:
    listed = httpx2.Response(200, json={"models": [tag("gpt-oss:120b-cloud"), tag("base:latest")]})
    runtime = start(Fake(**{"GET /api/tags": listed}))
    assert [entry.name for entry in runtime.list()] == ["gpt-oss:120b-cloud", "base:latest"]
    assert runtime.show("base") is not None


def test_placement_takes_the_version_that_stands(start: Callable[..., OllamaRuntime]) -> None:
    loaded = [
        {"name": "made:latest", "digest": DIGEST, "size": 7, "size_vram": 5},
        {"name": "made:latest", "digest": "old", "size": 1, "size_vram": 0},
    ]
    place = start(Fake(**{"GET /api/ps": httpx2.Response(200, json={"models": loaded})})).placement("Made")
    assert place is not None
    assert (place.bytes, place.vram) == (7, 5)


# --- chat --------------------------------------------------------------------------------------------------


def piece(text: str, **more: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}, "done": False, **more}


def test_a_reply_is_put_together(start: Callable[..., OllamaRuntime]) -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    last = {**piece(""), **END, "load_duration": 1e9, "prompt_eval_count": 3}
    last["message"] = {"content": "", "tool_calls": [call]}
    fake = Fake(**{"POST /api/chat": lines(piece("He"), piece("llo"), last)})
    heard: list[str] = []
    reply = start(fake).chat("made", HELLO, heard.append)
    assert (reply.text, heard, reply.done_reason) == ("Hello", ["He", "llo"], "stop")
    assert reply.tool_calls[0].name == "add"
    assert reply.tool_calls[0].arguments == {"a": 1}
    assert (reply.seconds, reply.load_seconds, reply.tokens_per_second) == (2.0, 1.0, 2.0)
    assert (reply.prompt_tokens, reply.output_tokens) == (3, 4)
    assert reply.first_token_seconds == 0
    body = fake.bodies("POST /api/chat")[0]
    assert (body["keep_alive"], body["stream"], body["options"]) == ("5m", True, {"stop": ["x"]})
    assert "think" not in body
    assert "format" not in body


def test_a_thinking_model_is_told_not_to(start: Callable[..., OllamaRuntime]) -> None:
    fake = Fake(
        **{
            "POST /api/show": httpx2.Response(200, json=show(capabilities=["completion", "thinking"])),
            "POST /api/chat": lines(END),
        }
    )
    start(fake).chat("made", HELLO)
    assert fake.bodies("POST /api/chat")[0]["think"] is False


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lines(piece("a"), {"done": False}), "broke off"),
        (lines(piece("a"), {"done": True}), "broke off"),
        (lines(), "broke off"),
        (lines(piece("a"), {"error": "unexpected EOF"}), "unexpected EOF"),
        (refused(500, "llama-server process has terminated"), "llama-server process has terminated"),
        (refused(400, '{"error":{"code":400,"message":"bad \\"schema\\""}}'), 'bad "schema"'),
        (httpx2.ReadTimeout("x"), "nothing came for 300 s"),
        (httpx2.ReadError("x"), "the connection broke off"),
    ],
)
def test_an_answer_without_its_end_is_a_failed_test(
    answer: httpx2.Response | Exception, words: str, start: Callable[..., OllamaRuntime]
) -> None:
    with pytest.raises(SmokeFailed) as caught:
        start(Fake(**{"POST /api/chat": answer})).chat("made", HELLO)
    assert caught.value.exit_code == 8
    assert words in str(caught.value)


# --- embeddings --------------------------------------------------------------------------------------------


def test_an_embedding_model_is_told_from_one_that_chats(start: Callable[..., OllamaRuntime]) -> None:
    shown = httpx2.Response(200, json=show(capabilities=["embedding"]))
    fake = Fake(**{"POST /api/show": shown})
    with pytest.raises(SmokeFailed, match="made makes embeddings and answers no chat") as caught:
        start(fake).chat("made", HELLO)
    assert "expect = { closer_to = " in str(caught.value.problems[0].hint)
    assert fake.bodies("POST /api/chat") == []


def test_a_server_that_knows_no_capabilities_says_it_itself(start: Callable[..., OllamaRuntime]) -> None:
    words = '"made" does not support chat'
    fake = Fake(**{"POST /api/show": httpx2.Response(200, json={}), "POST /api/chat": refused(400, words)})
    with pytest.raises(SmokeFailed, match=f"made does not answer: {words}") as caught:
        start(fake).chat("made", HELLO)
    assert "if it is an embedding model" in str(caught.value.problems[0].hint)


def test_texts_are_embedded_whole(start: Callable[..., OllamaRuntime]) -> None:
    answer = {"embeddings": [[1, 0], [0.5, -2.5]], "prompt_eval_count": 7}
    times = {"total_duration": 3e9, "load_duration": 1e9}
    fake = Fake(**{"POST /api/embed": httpx2.Response(200, json={**answer, **times})})
    made = start(fake).embed("made", ("a", "b"), {"num_ctx": 64})
    assert made.vectors == ((1.0, 0.0), (0.5, -2.5))
    assert (made.prompt_tokens, made.seconds, made.load_seconds) == (7, 2.0, 1.0)
    (body,) = fake.bodies("POST /api/embed")
    assert body == {
        "model": "made",
        "input": ["a", "b"],
        "options": {"num_ctx": 64},
        "truncate": False,
        "keep_alive": "5m",
    }


@pytest.mark.parametrize(
    ("answer", "words", "remedy"),
    [
        (
            refused(501, "This server does not support embeddings. Start it with `--embeddings`"),
            "made answers chats and makes no embeddings",
            "contains",
        ),
        (refused(400, "the input length exceeds the context length"), "exceeds", "raise num_ctx"),
        (refused(500, "failed to encode response: json: unsupported value: NaN"), "NaN", "damaged"),
        (refused(400, "embedding contains NaN or Inf values"), "NaN", "damaged"),
        (refused(500, "llama-server process has terminated"), "has terminated", "log"),
        (httpx2.Response(200, json={"embeddings": []}), "0 of 1 vectors came", ""),
        (httpx2.Response(200, json={"embeddings": [{"a": 1}]}), "no list of numbers", ""),
        (httpx2.Response(200, json={"embeddings": [["1"]]}), "holds '1', which is no number", ""),
        (httpx2.Response(200, content=b"<html>"), "no JSON object", "log"),
        (httpx2.Response(200, content=b""), "the server said nothing", "log"),
        (httpx2.ReadTimeout("x"), "nothing came for 300 s", "log"),
        (httpx2.ReadError("x"), "the connection broke off", "log"),
    ],
)
def test_no_vectors_are_a_failed_test(
    answer: httpx2.Response | Exception, words: str, remedy: str, start: Callable[..., OllamaRuntime]
) -> None:
    with pytest.raises(SmokeFailed) as caught:
        start(Fake(**{"POST /api/embed": answer})).embed("made", ("a",), {})
    assert caught.value.exit_code == 8
    assert words in str(caught.value)
    assert remedy in (caught.value.problems[0].hint or "")


# --- what show tells ---------------------------------------------------------------------------------------


def test_parameters_are_read_back_typed_and_exact() -> None:
    text = (
        "num_ctx                        1.048576e+06\n"
        "temperature                    0.1\n"
        "use_mmap                       false\n"
        'stop                           "a\\nb\\u00a0\\x7f\\a\\"\\\\n\\U0001f600"\n'
        'stop                           " "'
    )
    assert parse_parameters(text) == {
        "num_ctx": 1048576,
        "temperature": 0.1,
        "use_mmap": False,
        "stop": ('a\nb\u00a0\x7f\a"\\n\U0001f600', " "),
    }
    assert type(parse_parameters(text)["num_ctx"]) is int
    assert parse_parameters("") == {}


def test_a_system_prompt_cannot_pass_for_the_modelfile_around_it() -> None:
    system = f"FROM /m/blobs/sha256-{'00' * 32}\nRENDERER evil"
    text = MODELFILE + f'SYSTEM "{system}"\nRENDERER good\nPARSER "odd"\nLICENSE x\n'
    standing = standing_of(show(modelfile=text, system=system), "sha256:1")
    assert standing.weights == (f"sha256:{DIGEST}",)
    assert (standing.renderer, standing.parser) == ("good", '"odd"')
    assert standing.template == ""


def test_projectors_drafts_and_adapters_are_weights_too() -> None:
    other = [f"sha256-{digit * 64}" for digit in "123"]
    files = f"ADAPTER C:\\m\\blobs\\{other[0]}\nDRAFT /m/blobs/{other[1]}\nFROM /m/blobs/{other[2]}\nTEMPLATE"
    shown = show(modelfile=MODELFILE.replace("TEMPLATE", files))
    expected = [f"sha256-{DIGEST}", other[2], other[1], other[0]]
    assert standing_of(shown, "").weights == tuple(one.replace("-", ":") for one in expected)


def test_a_header_is_made_from_a_plain_show() -> None:
    shown = {
        "model_info": {
            "general.architecture": "llama",
            "tokenizer.ggml.tokens": None,
            "tokenizer.ggml.merges": None,
        },
        "tensors": [
            {"name": "token_embd.weight", "type": "Q8_0", "shape": [256, 1000]},
            {"name": "new.weight", "type": "Q9_9", "shape": [10]},
        ],
    }
    assert not needs_verbose(shown)
    header = header_of(shown, 99)
    assert header.metadata["tokenizer.ggml.tokens"] == LongArray(type="str", length=1000)
    assert "tokenizer.ggml.merges" not in header.metadata
    assert [tensor.bytes for tensor in header.tensors] == [256 // 32 * 34 * 1000, 40]
    assert (header.file_bytes, header.projector_bytes) == (99, 0)
    both = header_of({**shown, "projector_info": {"general.architecture": "clip"}}, 300_000)
    assert (both.file_bytes, both.projector_bytes) == (272_040, 27_960)
    assert needs_verbose({"model_info": {"llama.attention.head_count_kv": None}})


def test_small_things() -> None:
    assert unix_seconds("1970-01-01T00:00:01.5Z") == 1.5
    assert unix_seconds("1970-01-01T01:00:00.123456789+01:00") == pytest.approx(0.123456789)
    assert unix_seconds("") == 0
    assert error_words(b"404 page not found", 404) == "404 page not found"
    assert error_words(b'{"error":""}', 500) == "HTTP 500 without a word"
    assert error_words(b"\xff" * 900, 500) == "\ufffd" * 500
    assert len(stub()) % 32 == 0


def test_a_store_is_local_only_where_its_blob_is(tmp_path: Path) -> None:
    shown = {"modelfile": f"# x\nFROM {tmp_path}/blobs/sha256-{DIGEST}\n"}
    assert local_room(shown) is None
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / f"sha256-{DIGEST}").touch()
    room = local_room(shown)
    assert room is not None
    assert room.where == str(tmp_path)
    assert room.free > 0
    assert local_room({}) is None


@pytest.mark.parametrize(
    ("version", "there", "times"), [((0, 24, 0), False, 1), ((0, 32, 15), False, 3), ((0, 32), True, 2)]
)
def test_a_disk_that_is_too_small_is_seen_before(
    version: tuple[int, ...],
    there: bool,  # noqa: FBT001
    times: int,
) -> None:
    room = Room(where="the volume ollama", free=times * 1000)
    assert ollama_weights.copies(version, there=there) == times
    ollama_weights.check_room("w.gguf", times * 1000, room)
    with pytest.raises(BuildFailed, match=r"importing w.gguf needs .* in the volume ollama"):
        ollama_weights.check_room("w.gguf", times * 1000, replace(room, free=room.free - 1))
    ollama_weights.check_room("w.gguf", times * 1000, None)
