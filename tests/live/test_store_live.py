"""A store that we write, served by real Ollamas; and a store that they write, read by us."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from modelforge.bases import LocalFile
from modelforge.chat_templates import choose
from modelforge.events import silent
from modelforge.runtimes import ChatRequest, Turn
from modelforge.runtimes.standing import differences
from tests.fakes import some_candidate, some_rendered
from tests.jinjas import JINJAS
from tests.live.servers import NEW, OLD
from tests.prompts import HARD_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelforge.render import Rendered
    from modelforge.runtimes import Runtime
    from modelforge.runtimes.embedded import EmbeddedRuntime
    from tests.live.servers import Server

LONG_AGO = 1_000_000_000
EXACT = {
    "temperature": 0.0,
    "seed": 7,
    "num_ctx": 1024,
    "num_predict": 80,
    "repeat_penalty": 1.0,
    "num_thread": 1,
}
QUESTIONS = ("Hello!", "Write a fizzbuzz function.", "What is the capital of France?")


@pytest.fixture
def embedded(open_embedded: Callable[[Path], EmbeddedRuntime], server: Server) -> EmbeddedRuntime:
    """Our runtime over the server's own store."""
    return open_embedded(server.models)


def on(file: Path, **request: Any) -> Rendered:
    return some_rendered(some_candidate(source=LocalFile(path=file, bytes=file.stat().st_size)), **request)


def ask(runtime: Runtime, name: str, question: str) -> str:
    turn = Turn(role="user", content=question)
    return runtime.chat(name, ChatRequest(messages=(turn,), options=EXACT)).text


def listed(server: Server) -> dict[str, str]:
    """Name and digest of all models that the server lists."""
    models = json.loads(server.call("GET", "/api/tags")[1])["models"]
    return {model["name"]: model["digest"] for model in models}


def age(server: Server) -> None:
    for path in (server.models / "blobs").iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))


def layers(server: Server, name: str) -> dict[str, str]:
    """Digest by the last word of the media type, config included, as the manifest on disk has them."""
    whole = json.loads((server.models / "manifests/registry.ollama.ai/library" / name / "latest").read_text())
    found = {layer["mediaType"].rpartition(".")[2]: layer["digest"] for layer in whole["layers"]}
    return {**found, "config": whole["config"]["digest"]}


def test_a_server_that_runs_finds_the_model_at_once(
    server: Server, embedded: EmbeddedRuntime, ollama: Runtime, tiny: Path
) -> None:
    request = {
        "system": "Answer in JSON.",
        "license": ("MIT <&>",),
        "parameters": {
            "num_ctx": 1024,
            "temperature": 1e-7,
            "top_p": 0.95,
            "stop": ("<|im_end|>", "a\u2028b"),
        },
        "messages": (Turn(role="user", content="<hi>"), Turn(role="assistant", content="\x7f\x01")),
        "requires": "0.14.0",
    }
    made = embedded.create(on(tiny, **request), "Coder:v1", silent)
    (entry,) = embedded.list()
    assert listed(server) == {"Coder:v1": entry.digest.removeprefix("sha256:")}
    shown = ollama.show("coder:V1")
    assert shown is not None
    assert differences(made, shown) == ()
    assert [(one.name, one.digest, one.bytes) for one in ollama.list()] == [
        (entry.name, entry.digest, entry.bytes)
    ]


def test_hard_prompts_arrive_byte_for_byte(server: Server, embedded: EmbeddedRuntime, tiny: Path) -> None:
    for label, prompt in HARD_PROMPTS.items():
        turn = Turn(role="user", content=prompt)
        embedded.create(
            on(tiny, system=prompt, messages=(turn,), parameters={"stop": (prompt,)}), "hard", silent
        )
        shown = json.loads(server.call("POST", "/api/show", {"model": "hard"})[1])
        assert shown["system"] == prompt, label
        assert shown["messages"] == [{"role": "user", "content": prompt}], label


def test_the_layers_are_those_that_the_server_writes_itself(
    server: Server, embedded: EmbeddedRuntime, ollama: Runtime, tiny: Path
) -> None:
    request = {
        "system": "Be brief. <>&\u2028",
        "template": "{{ .System }} {{ .Prompt }}",
        "parameters": {
            "num_ctx": 512,
            "temperature": 0.1,
            "top_p": 1e-7,
            "min_p": 1.0,
            "stop": ("<|im_end|>",),
        },
        "messages": (Turn(role="user", content="<hi>\t\n"),),
        "license": ("L",),
    }
    embedded.create(on(tiny, **request), "ours", silent)
    ollama.create(on(tiny, **request), "theirs", silent)
    ours, theirs = layers(server, "ours"), layers(server, "theirs")
    if server.version == NEW:  # it rewrites the weights
        del ours["model"], theirs["model"]
    else:  # it lists the layers in the config
        del ours["config"], theirs["config"]
    assert ours == theirs


def test_it_survives_restarts_with_pruning(
    server: Server, embedded: EmbeddedRuntime, ollama: Runtime, tiny: Path
) -> None:
    made = embedded.create(on(tiny, system="Talk like a pirate."), "coder", silent)
    (server.models / "blobs" / "sha256-modelforge-00000000-1-00000000").write_bytes(
        b"what a killed writer left"
    )
    (server.models / "manifests" / ".modelforge-00000000-1-00000000").write_bytes(b"half a manifest")
    for _ in range(2):
        age(server)
        server.restart()
        assert list(listed(server)) == ["coder:latest"]
    assert embedded.show("coder") == made
    assert not list((server.models / "blobs").glob("sha256-modelforge-*"))
    assert "corrupt manifests" not in server.log()
    assert ask(ollama, "coder", "Write a function that adds two numbers.").startswith("Arr!")


@pytest.mark.parametrize("system", [None, "Talk like a pirate."])
def test_it_answers_as_a_model_that_the_server_made_from_the_same_file(
    embedded: EmbeddedRuntime, ollama: Runtime, tiny: Path, system: str | None
) -> None:
    embedded.create(on(tiny, system=system), "ours", silent)
    ollama.create(on(tiny, system=system), "theirs", silent)
    for question in QUESTIONS:
        ours, theirs = ask(ollama, "ours", question), ask(ollama, "theirs", question)
        assert ours == theirs
        assert ours == ask(embedded, "ours", question)
        assert ours


def test_a_store_that_the_server_wrote_is_read_run_and_cleaned_by_us(
    server: Server, embedded: EmbeddedRuntime, ollama: Runtime, tiny: Path
) -> None:
    made = ollama.create(on(tiny, system="Talk like a pirate.", parameters={"seed": 3}), "coder", silent)
    found = embedded.show("coder")
    assert found is not None
    assert differences(made, found) == ()
    assert ask(embedded, "coder", "Write a function that adds two numbers.").startswith("Arr!")
    ((entry, header),) = embedded.served("coder")
    assert entry.digest.removeprefix("sha256:") == listed(server)["coder:latest"]
    assert header.metadata["general.architecture"] == "llama"
    for one in embedded.list():
        embedded.delete(one.name)
    assert listed(server) == {}
    left = {path.stat().st_size for path in (server.models / "blobs").iterdir()}
    assert left <= {tiny.stat().st_size}  # 0.32 leaves the uploaded file behind


def test_a_copy_and_a_delete_of_ours_are_seen_at_once(
    server: Server, embedded: EmbeddedRuntime, ollama: Runtime, tiny: Path
) -> None:
    embedded.create(on(tiny), "modelforge/staged:1", silent)
    embedded.copy("modelforge/staged:1", "coder")
    embedded.delete("modelforge/staged:1")
    assert list(listed(server)) == ["coder:latest"]
    assert ask(ollama, "coder", "Hello!") == "Hello! How can I help you today?"
    status, _ = server.call("DELETE", "/api/delete", {"model": "coder"})
    assert status == 200
    assert embedded.list() == ()
    assert list((server.models / "blobs").iterdir()) == []


def test_what_a_dying_server_left_is_repaired_by_building_again(
    server: Server, embedded: EmbeddedRuntime, tiny: Path
) -> None:
    embedded.create(on(tiny), "coder", silent)
    (server.models / "manifests/registry.ollama.ai/library/coder/latest").write_bytes(b"")
    assert server.call("POST", "/api/show", {"model": "coder"})[0] == 500
    embedded.create(on(tiny), "coder", silent)
    assert server.call("POST", "/api/show", {"model": "coder"})[0] == 200


def test_a_go_template_of_ones_own_is_rendered_by_the_server_and_by_us(
    embedded: EmbeddedRuntime, ollama: Runtime, tiny: Path
) -> None:
    template = "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n"
    embedded.create(on(tiny, template=template), "coder", silent)
    assert (
        ask(ollama, "coder", "Hello!")
        == ask(embedded, "coder", "Hello!")
        == "Hello! How can I help you today?"
    )


# -- chat formats ------------------------------------------------------------------------------------

BOS = "<s>"
SYSTEM = {"role": "system", "content": "Be “kind”, {{ .Role }}\nand <brief>."}
ROUND = [
    {"role": "user", "content": "One?\nTwo & <three>?"},
    {"role": "assistant", "content": "1.\n\n2 {% x %}"},
    {"role": "user", "content": "Three"},
    {"role": "assistant", "content": "3"},
    {"role": "user", "content": "été 😀"},
]
CONVERSATIONS = [[*lead, *ROUND[:turns]] for lead in ([], [SYSTEM]) for turns in (1, 3, 5)]


def by_jinja(jinja: str, eos: str, messages: list[dict[str, str]]) -> str | None:
    """As transformers renders it, without the begin-of-text token that a server adds itself; None: refused."""

    def refuse(message: str) -> str:
        raise ValueError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    if "strftime_now" in jinja:
        import datetime as dt  # noqa: PLC0415

        environment.globals["strftime_now"] = lambda form: dt.datetime.now().strftime(form)  # noqa: DTZ005
    try:
        text = environment.from_string(jinja).render(
            messages=messages, add_generation_prompt=True, bos_token=BOS, eos_token=eos
        )
    except ValueError:
        return None
    return text.removeprefix(BOS)


def by_server(server: Server, messages: list[dict[str, str]]) -> str:
    body = {
        "model": "chat",
        "messages": messages,
        "stream": False,
        "_debug_render_only": True,
        "options": EXACT,
    }
    status, text = server.call("POST", "/api/chat", body)
    assert status == 200, text
    rendered: str = json.loads(text)["_debug_info"]["rendered_template"]
    return rendered


def test_our_go_templates_render_as_the_ggufs_jinja(
    server: Server, embedded: EmbeddedRuntime, tiny: Path
) -> None:
    if server.version != OLD:
        server.restart(OLLAMA_GO_TEMPLATE="1")  # else the GGUF's own may win
    compared = 0
    for label, known in JINJAS.items():
        choice = choose(known.jinja, known.eos)
        assert choice is not None, label
        embedded.create(on(tiny, template=choice.template), "chat", silent)
        for messages in CONVERSATIONS:
            expected = by_jinja(known.jinja, known.eos, messages)
            if expected is None or any(turn["content"] not in expected for turn in messages):
                continue  # refuses or drops a system text, so it has no opinion where it goes
            assert by_server(server, messages) == expected, label
            compared += 1
    assert compared > 5 * len(JINJAS)


def test_a_generated_prompt_is_rendered_as_a_chat(
    server: Server, embedded: EmbeddedRuntime, tiny: Path
) -> None:
    if server.version != OLD:
        server.restart(OLLAMA_GO_TEMPLATE="1")
    embedded.create(on(tiny, system="Be brief."), "chat", silent)
    body = {
        "model": "chat",
        "prompt": "Hello!",
        "stream": False,
        "_debug_render_only": True,
        "options": EXACT,
    }
    status, text = server.call("POST", "/api/generate", body)
    assert status == 200
    assert json.loads(text)["_debug_info"]["rendered_template"] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("setting", ["", "0", "1"])
def test_the_newest_server_says_the_same_by_either_template(
    server: Server, embedded: EmbeddedRuntime, tiny: Path, setting: str
) -> None:
    if setting:
        server.restart(OLLAMA_GO_TEMPLATE=setting)
    embedded.create(on(tiny, system="Talk like a pirate."), "chat", silent)
    messages = [{"role": "user", "content": "Hello!"}]
    assert by_server(server, messages) == (
        "<|im_start|>system\nTalk like a pirate.<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
