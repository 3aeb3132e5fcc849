"""The ollama runtime against real servers: every behaviour of theirs that it relies on."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.bases import LocalFile, ServedModel
from modelforge.errors import BaseProblem, BuildFailed, SmokeFailed, Unreachable, UsageProblem
from modelforge.events import Event, Progress, silent
from modelforge.filehash import Hashes
from modelforge.gguf import read_header
from modelforge.project_settings import Timeouts
from modelforge.runtimes import WEIGHTS, BrokenModel, ChatRequest, Runtime, Turn
from modelforge.runtimes.ollama import OllamaRuntime, Via, connect
from modelforge.runtimes.ollama_cli import local_command
from modelforge.runtimes.ollama_host import parse_host
from modelforge.runtimes.ollama_weights import import_name
from modelforge.runtimes.standing import differences
from tests.fakes import Heard, some_candidate, some_rendered
from tests.ggufs import Typed, write_gguf
from tests.live.servers import NEW, Server
from tests.prompts import HARD_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelforge.render import Rendered

STAGED = "modelforge/staged:0123"
HELLO = (Turn(role="user", content="Hello"),)
SHORT = {"temperature": 0.0, "seed": 1, "num_ctx": 512, "num_predict": 8, "repeat_penalty": 1.0}


@pytest.fixture
def open_runtime(server: Server, tmp_path: Path) -> Iterator[Callable[..., OllamaRuntime]]:
    opened: list[OllamaRuntime] = []

    def open_it(*, via: Via = "api", **timeouts: float) -> OllamaRuntime:
        host = parse_host(server.host, "OLLAMA_HOST")
        opened.append(
            connect(
                host,
                timeouts=Timeouts(**timeouts),
                via=via,
                lock=nullcontext,
                hashes=Hashes(tmp_path / "hashes"),
                command=local_command(host, environment=server.environment, seconds=300),
            )
        )
        return opened[-1]

    yield open_it
    for runtime in opened:
        runtime.close()


@pytest.fixture
def runtime(open_runtime: Callable[..., OllamaRuntime]) -> OllamaRuntime:
    return open_runtime()


def on(file: Path, **request: Any) -> Rendered:
    """A rendered profile on a local file."""
    base = some_candidate(ref=str(file), source=LocalFile(path=file, bytes=file.stat().st_size))
    return some_rendered(base=base, **request)


def served(name: str, **request: Any) -> Rendered:
    """A rendered profile on a model of the server."""
    return some_rendered(base=some_candidate(ref=name, source=ServedModel(name=name, digest="")), **request)


def manifest_of(server: Server, name: str) -> Path:
    model, _colon, tag = name.partition(":")
    path = model if "/" in model else f"library/{model}"
    return server.models / "manifests" / "registry.ollama.ai" / path / (tag or "latest")


def break_name(server: Server, name: str) -> Path:
    """What a server leaves that dies in a copy."""
    file = manifest_of(server, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")
    return file


def blobs(server: Server) -> list[str]:
    return sorted(file.name for file in (server.models / "blobs").iterdir())


def test_it_is_a_runtime_and_says_which(server: Server, runtime: OllamaRuntime) -> None:
    as_protocol: Runtime = runtime
    assert as_protocol.info.kind == "ollama"
    assert as_protocol.info.version == server.version
    assert as_protocol.info.endpoint == server.host


def test_everything_that_is_set_comes_back_and_is_what_was_expected(
    runtime: OllamaRuntime, tiny: Path
) -> None:
    rendered = on(
        tiny,
        system="Be brief.",
        template="{{ .System }}\n{{- range .Messages }}\n{{ .Role }}: {{ .Content }}\n{{- end }}\n",
        license=("First\n", "Second"),
        parameters={
            "num_ctx": 1048576,
            "seed": 4294967295,
            "temperature": 0.1,
            "top_p": 1e-7,
            "min_p": 1.0,
            "num_predict": -2,
            "use_mmap": True,
            "stop": ("\n\n", '"', "</s>", " ", "tab\t\x07\x7f\u200d\u2028\U0001f600\\n"),
        },
        messages=(Turn(role="user", content="FROM x\n"), Turn(role="assistant", content="RENDERER y")),
        requires="0.14.0",
    )
    assert runtime.expected(rendered) is None
    made = runtime.create(rendered, STAGED, silent)
    expected = runtime.expected(rendered)
    assert expected is not None
    assert differences(expected, made) == ()
    assert made.system == "Be brief."
    assert made.parameters["num_ctx"] == 1048576
    assert made.parameters["stop"] == rendered.request.parameters["stop"]
    assert made.license == ("First\n\nSecond",)
    assert made.requires == "0.14.0"


def test_hard_prompts_arrive_byte_for_byte(runtime: OllamaRuntime, tiny: Path) -> None:
    for label, prompt in HARD_PROMPTS.items():
        rendered = on(
            tiny,
            system=prompt,
            license=(prompt,),
            messages=(Turn(role="user", content=prompt),),
            parameters={"stop": (prompt,)},
        )
        made = runtime.create(rendered, STAGED, silent)
        assert made.system == prompt, label
        assert made.messages[0].content == prompt, label
        assert made.parameters["stop"] == (prompt,), label


TEMPLATES = {
    "one line": "{{ .System }} {{ .Prompt }}",
    "quotes around": '"{{ .Prompt }}"',
    "triple quotes and instructions": 'SYSTEM """x"""\nSYSTEM hard\nRENDERER a\n"{{ .Prompt }}"\nPARSER b\n',
    "blank at the ends": " {{ .Prompt }} ",
    "CRLF": "{{ .System }}\r\n{{ .Prompt }}\r\n",
    "none of its own": "{{ .Prompt }}",
}


@pytest.mark.parametrize("shown", ["go", "jinja"])
def test_templates_arrive_and_do_not_hide_what_follows(
    shown: str, server: Server, open_runtime: Callable[..., OllamaRuntime], tiny: Path
) -> None:
    if shown == "jinja":  # show then tells the GGUF's own template in place of ours, on 0.32
        server.restart(OLLAMA_GO_TEMPLATE="0")
    runtime = open_runtime()
    for label, template in TEMPLATES.items():
        made = runtime.create(
            on(tiny, template=template, system="hard\nto read", renderer="gemma4"), STAGED, silent
        )
        assert (made.template or "{{ .Prompt }}", made.renderer) == (template, "gemma4"), label
        if shown == "jinja" and "SYSTEM" in template:
            continue  # without a system prompt behind it nobody can tell where such a template ends
        made = runtime.create(on(tiny, template=template), STAGED, silent)
        assert (made.template or "{{ .Prompt }}", made.renderer, made.parser) == (template, "", ""), label
    told = json.loads(server.call("POST", "/api/show", {"model": STAGED})[1])["template"]
    assert told.startswith("{%") is (shown == "jinja" and server.version == NEW)


def test_weights_are_imported_once(runtime: OllamaRuntime, tiny: Path, tmp_path: Path) -> None:
    heard = Heard()
    runtime.create(on(tiny), STAGED, heard)
    sent = [event for event in heard.events if isinstance(event, Progress)]
    assert {event.stage for event in sent} == {"import"}
    assert sent[-1].done == sent[-1].total == tiny.stat().st_size
    copy = Path(shutil.copy(tiny, tmp_path / "other name.gguf"))
    again = Heard()
    runtime.create(on(copy, system="x"), "modelforge/staged:4567", again)
    assert again.texts == ["reading other name.gguf"]
    listed = [entry.name for entry in runtime.list()]
    assert [name for name in listed if name.startswith(WEIGHTS)] == [
        import_name(Hashes(tmp_path).sha256(tiny))
    ]


def test_a_damaged_import_is_made_again(
    server: Server, runtime: OllamaRuntime, tiny: Path, tmp_path: Path
) -> None:
    name = import_name(Hashes(tmp_path).sha256(tiny))
    first = runtime.create(on(tiny), STAGED, silent)
    break_name(server, name)
    assert runtime.expected(on(tiny)) is None
    assert runtime.create(on(tiny), STAGED, silent).weights == first.weights
    (server.models / "blobs" / first.weights[0].replace(":", "-")).unlink()
    with pytest.raises(BrokenModel):
        runtime.show(name)
    assert runtime.create(on(tiny), STAGED, silent).weights == first.weights
    assert runtime.chat(STAGED, ChatRequest(messages=HELLO, options=SHORT)).done_reason


def test_a_blob_that_is_there_is_not_sent_again(server: Server, runtime: OllamaRuntime, tiny: Path) -> None:
    runtime.create(on(tiny), STAGED, silent)
    shutil.copy(
        tiny, server.models / "blobs" / Hashes(server.folder / "hashes").sha256(tiny).replace(":", "-")
    )
    for entry in runtime.list():
        manifest_of(server, entry.name).unlink()
    heard = Heard()
    runtime.create(on(tiny), STAGED, heard)
    assert not [event for event in heard.events if isinstance(event, Progress)]


def test_a_file_that_is_no_model_is_refused_before_it_is_sent(
    server: Server, runtime: OllamaRuntime, tmp_path: Path, tiny: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:100_000])
    hostile = tmp_path / "hostile.gguf"
    hostile.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 16)
    for file in (cut, hostile):
        with pytest.raises(BaseProblem):
            runtime.create(on(file), STAGED, silent)
    assert blobs(server) == []
    assert runtime.list() == ()


def test_a_variant_inherits_merges_and_clears(runtime: OllamaRuntime, tiny: Path) -> None:
    base = runtime.create(
        on(tiny, system="Base.", license=("A",), parameters={"num_ctx": 512, "top_k": 5}),
        "Base:Latest",
        silent,
    )
    assert base.parameters["stop"] == ("<|im_start|>", "<|im_end|>")
    child = served("base:LATEST", license=("B",), parameters={"top_k": 7, "stop": ()})
    made = runtime.create(child, STAGED, silent)
    assert made.system == "Base."
    assert made.license == ("A\nB",)
    assert made.parameters == {"num_ctx": 512, "top_k": 7}
    assert made.weights == base.weights


def test_a_base_that_is_not_there_is_not_pulled(runtime: OllamaRuntime) -> None:
    assert runtime.expected(served("nobody-has-this:1b")) is None
    with pytest.raises(BuildFailed, match="is not on") as caught:
        runtime.create(served("nobody-has-this:1b"), STAGED, silent)
    assert caught.value.problems[0].hint == "ollama pull nobody-has-this:1b"


def test_what_cannot_be_asked_is_refused(server: Server, runtime: OllamaRuntime, tiny: Path) -> None:
    for request in ({"system": ""}, {"template": ""}, {"system": "a\ud800"}):
        with pytest.raises(UsageProblem):
            runtime.create(on(tiny, **request), STAGED, silent)
    assert blobs(server) == []


def test_a_bad_template_is_a_failed_build_and_leaves_no_name(runtime: OllamaRuntime, tiny: Path) -> None:
    with pytest.raises(BuildFailed, match="template error") as caught:
        runtime.create(on(tiny, template="{{ .Foo"), STAGED, silent)
    assert caught.value.exit_code == 7
    assert runtime.show(STAGED) is None


def lora(file: Path, **metadata: object) -> Path:
    tensors = [
        ("blk.0.attn_q.weight.lora_a", (256, 4), "F32"),
        ("blk.0.attn_q.weight.lora_b", (4, 256), "F32"),
    ]
    write_gguf(
        file,
        {
            "general.architecture": "llama",
            "general.type": "adapter",
            "adapter.type": "lora",
            "adapter.lora.alpha": Typed("f32", 8.0),
            **metadata,
        },
        tensors,
    )
    return file


def test_adapters_come_over_the_base_in_their_order(
    runtime: OllamaRuntime, tiny: Path, tmp_path: Path
) -> None:
    first, second = lora(tmp_path / "a.gguf"), lora(tmp_path / "b.gguf", **{"general.name": "b"})
    rendered = on(tiny, adapters=(first, second), system="x")
    made = runtime.create(rendered, STAGED, silent)
    hashes = Hashes(tmp_path)
    assert made.weights[1:] == (hashes.sha256(first), hashes.sha256(second))
    expected = runtime.expected(rendered)
    assert expected is not None
    assert differences(expected, made) == ()
    assert runtime.chat(STAGED, ChatRequest(messages=HELLO, options=SHORT)).output_tokens


def test_a_model_is_no_adapter_and_an_adapter_no_model(
    runtime: OllamaRuntime, tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(BaseProblem, match="is no GGUF adapter"):
        runtime.create(on(tiny, adapters=(tiny,)), STAGED, silent)
    with pytest.raises(BaseProblem, match="is an adapter"):
        runtime.create(on(lora(tmp_path / "a.gguf")), STAGED, silent)


def test_names_are_one_whatever_their_case(runtime: OllamaRuntime, tiny: Path) -> None:
    made = runtime.create(on(tiny), "Coder:RTX-4090", silent)
    assert runtime.show("coder:rtx-4090") == made
    runtime.copy("CODER:rtx-4090", "coder:old")
    runtime.delete("coder:rtx-4090")
    assert [entry.name for entry in runtime.list() if entry.name.casefold().startswith("coder")] == [
        "Coder:old"
    ]


def test_a_copy_has_what_its_source_has(runtime: OllamaRuntime, tiny: Path) -> None:
    one = runtime.create(on(tiny, system="one"), STAGED, silent)
    runtime.create(on(tiny, system="two"), "coder", silent)
    runtime.copy(STAGED, "coder")
    assert runtime.show("coder") == one
    entry = next(entry for entry in runtime.list() if entry.name == "coder:latest")
    assert entry.digest == one.manifest
    assert entry.bytes > 2_000_000
    assert entry.modified > 1.7e9


def test_nothing_is_copied_from_what_is_not_there_or_broken(
    server: Server, runtime: OllamaRuntime, tiny: Path
) -> None:
    one = runtime.create(on(tiny, system="one"), "coder", silent)
    with pytest.raises(BuildFailed, match="there is no"):
        runtime.copy("nothing", "coder")
    break_name(server, "broken")
    with pytest.raises(BrokenModel):
        runtime.copy("broken", "coder")
    assert runtime.show("coder") == one


def test_a_broken_name_is_seen_repaired_and_deleted(
    server: Server, runtime: OllamaRuntime, tiny: Path
) -> None:
    one = runtime.create(on(tiny), STAGED, silent)
    file = break_name(server, "broken")
    with pytest.raises(BrokenModel) as caught:
        runtime.show("broken")
    assert "cannot be read" in str(caught.value)
    runtime.copy(STAGED, "broken")
    assert runtime.show("broken") == one
    file.write_bytes(file.read_bytes()[:100])
    runtime.delete("broken")
    assert not file.exists()
    assert runtime.show("broken") is None
    assert runtime.show(STAGED) == one


def test_a_broken_name_is_deleted_where_there_is_no_other_model(
    server: Server, runtime: OllamaRuntime
) -> None:
    file = break_name(server, "broken")
    runtime.delete("broken")
    assert not file.exists()
    assert runtime.list() == ()
    assert blobs(server) == []


def test_deleting_what_is_not_there_is_no_error(runtime: OllamaRuntime) -> None:
    runtime.delete("nothing:here")
    assert runtime.show("nothing:here") is None
    runtime.unload("nothing:here")


def test_chat_is_deterministic_and_tells_its_times(runtime: OllamaRuntime, tiny: Path) -> None:
    runtime.create(on(tiny, parameters={"num_ctx": 512}), STAGED, silent)
    pieces: list[str] = []
    request = ChatRequest(messages=HELLO, options={**SHORT, "num_predict": 16})
    first = runtime.chat(STAGED, request, pieces.append)
    assert "".join(pieces) == first.text
    assert len(pieces) > 1
    again = runtime.chat(STAGED, request)
    assert again.text == first.text
    assert first.done_reason in {"stop", "length"}
    assert first.prompt_tokens > 0
    assert 0 < first.output_tokens <= 16
    assert first.load_seconds > again.load_seconds
    assert 0 <= again.first_token_seconds <= again.seconds + 0.5
    assert first.tokens_per_second


def test_chat_takes_formats(runtime: OllamaRuntime, tiny: Path) -> None:
    runtime.create(on(tiny), STAGED, silent)
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    reply = runtime.chat(
        STAGED, ChatRequest(messages=HELLO, options={**SHORT, "num_predict": 40}, format=schema)
    )
    assert set(json.loads(reply.text)) == {"a"}


def test_chat_errors_are_the_servers_words(runtime: OllamaRuntime, tiny: Path) -> None:
    with pytest.raises(SmokeFailed, match="not found"):
        runtime.chat("nothing", ChatRequest(messages=HELLO, options=SHORT))
    runtime.create(on(tiny), STAGED, silent)
    bad = ChatRequest(messages=HELLO, options=SHORT, format={"type": "nope"})
    with pytest.raises(SmokeFailed) as caught:
        runtime.chat(STAGED, bad)
    assert "schema" in str(caught.value)
    assert '{"' not in str(caught.value).partition("Unrecognized")[0]
    tools: tuple[dict[str, Any], ...] = ({"type": "function", "function": {"name": "f"}},)
    with pytest.raises(SmokeFailed, match="does not support tools"):
        runtime.chat(STAGED, ChatRequest(messages=HELLO, options=SHORT, tools=tools))


def test_placement_and_unload(runtime: OllamaRuntime, tiny: Path) -> None:
    runtime.create(on(tiny), STAGED, silent)
    assert runtime.placement(STAGED) is None
    runtime.chat(STAGED, ChatRequest(messages=HELLO, options=SHORT))
    place = runtime.placement(STAGED)
    assert place is not None
    assert place.bytes > 1_000_000
    assert place.vram == 0
    runtime.unload(STAGED)
    assert runtime.placement(STAGED) is None


def test_served_models_and_their_headers(runtime: OllamaRuntime, tiny: Path) -> None:
    runtime.create(on(tiny), "coder:a", silent)
    runtime.create(on(tiny, system="x"), "coder:b", silent)
    runtime.create(on(tiny), "other", silent)
    found = runtime.served("Coder")
    assert sorted(entry.name for entry, _header in found) == ["coder:a", "coder:b"]
    assert [entry.name for entry, _header in runtime.served("coder:b")] == ["coder:b"]
    header, file = found[0][1], read_header(tiny)
    assert sorted(header.tensors, key=str) == sorted(file.tensors, key=str)
    for key, value in file.metadata.items():
        if key.startswith("llama.") or key == "tokenizer.ggml.tokens":
            assert header.metadata[key] == (pytest.approx(value) if isinstance(value, float) else value), key


@pytest.mark.parametrize(
    ("label", "exact"),
    [
        ("docstrings", False),
        ("NBSP", False),
        ("trailing newlines", True),
        ("a Modelfile", False),
        ("quote first", True),
    ],
)
def test_via_cli_is_exact_or_refused(
    label: str,
    exact: bool,  # noqa: FBT001
    open_runtime: Callable[..., OllamaRuntime],
    tiny: Path,
) -> None:
    runtime = open_runtime(via="cli")
    rendered = on(
        tiny, system=HARD_PROMPTS[label], parameters={"num_ctx": 512, "temperature": 0.2, "stop": ("a",)}
    )
    if exact:
        made = runtime.create(rendered, STAGED, silent)
        assert made.system == HARD_PROMPTS[label]
        assert made.parameters == {"num_ctx": 512, "temperature": 0.2, "stop": ("a",)}
        return
    with pytest.raises(BuildFailed) as caught:
        runtime.create(rendered, STAGED, silent)
    assert "SYSTEM" in str(caught.value.problems[0].message)
    assert runtime.list() == ()


def test_via_cli_tells_the_commands_error(open_runtime: Callable[..., OllamaRuntime], tiny: Path) -> None:
    with pytest.raises(BuildFailed, match=r"ollama create ended with 1: .*template error"):
        open_runtime(via="cli").create(on(tiny, template="{{ .Foo"), STAGED, silent)


def test_a_server_that_dies_in_the_upload_is_a_failed_build(
    server: Server, open_runtime: Callable[..., OllamaRuntime], tmp_path: Path
) -> None:
    big = tmp_path / "big.gguf"
    write_gguf(
        big, {"general.architecture": "llama", "general.type": "model"}, [("x.weight", (4096, 4096), "F32")]
    )
    killed = threading.Event()

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.text == big.name and not killed.is_set():
            killed.set()
            server.kill()

    runtime = open_runtime()
    with pytest.raises(BuildFailed) as caught:
        runtime.create(on(big), STAGED, kill)
    assert killed.is_set()
    assert caught.value.exit_code == 7
    assert "did not create" in str(caught.value)
    with pytest.raises(Unreachable) as gone:
        runtime.list()
    assert gone.value.exit_code == 10


def test_a_server_that_is_not_there_is_unreachable(
    server: Server, open_runtime: Callable[..., OllamaRuntime]
) -> None:
    server.stop()
    with pytest.raises(Unreachable) as caught:
        open_runtime()
    assert str(caught.value) == f"No Ollama answers at {server.host} (connection refused)."
    hint = caught.value.problems[0].hint or ""
    assert [line.partition(":")[0] for line in hint.splitlines()] == [
        "start it",
        "another host",
        "without Ollama",
    ]


def test_a_store_that_cannot_be_written_is_told_in_words(
    server: Server, runtime: OllamaRuntime, tiny: Path
) -> None:
    runtime.create(on(tiny), STAGED, silent)
    store = manifest_of(server, "full")
    store.parent.parent.mkdir(parents=True, exist_ok=True)
    store.parent.write_text("a file where a folder has to be")
    with pytest.raises(BuildFailed) as caught:
        runtime.copy(STAGED, "full")
    assert "not a directory" in str(caught.value)
    store.parent.unlink()
