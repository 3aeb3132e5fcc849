"""Real servers pass over, or refuse, just what we warn of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from modelforge import engines, prompt_source
from tests.ggufs import tiny_llama
from tests.live.servers import OK
from tests.prompt_sources import GO, JINJAS, UNSURE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.live.servers import Server

PROMPT = "Tell me a story about a dog."
FIXED = {"num_predict": 40, "num_ctx": 512, "num_thread": 1, "seed": 7, "temperature": 0}


def made(server: Server, name: str, **fields: object) -> None:
    """A model of that name; `fields` as /api/create takes them."""
    status, text = server.call("POST", "/api/create", {"model": name, "stream": False, **fields})
    assert (status, "success" in text) == (OK, True), text


def asked(
    server: Server, name: str, options: Mapping[str, object] | None = None, prompt: str = PROMPT
) -> tuple[int, str]:
    """Status and, of an answer, its text; else the error."""
    body = {
        "model": name,
        "messages": [{"role": "user", "content": prompt}],
        "stream": False,
        "options": {**FIXED, **(options or {})},
    }
    status, text = server.call("POST", "/api/chat", body)
    found: dict[str, Any] = json.loads(text)
    return status, found["message"]["content"] if status == OK else found["error"]


def is_old(server: Server) -> bool:
    """Whether it has engines of its own."""
    return tuple(int(part) for part in server.version.split(".")[:2]) < engines.LLAMA_SERVER


@pytest.fixture
def chat(server: Server, tiny: Path) -> Server:
    """A server with the small model under the name `tiny`."""
    made(server, "tiny", files={"tiny.gguf": server.send(tiny.read_bytes())})
    return server


@pytest.mark.parametrize("jinja", JINJAS)
def test_a_server_takes_the_chat_template_that_we_say(server: Server, tmp_path: Path, jinja: str) -> None:
    """What show tells as the template is what runs: GGUF's own Jinja where the model's is passed over."""
    server.put(
        "base", tiny_llama(tmp_path / "base.gguf", metadata={"tokenizer.chat_template": JINJAS[jinja]})
    )
    for name, template in GO.items():
        made(server, "own", **{"from": "base"}, template=template)
        shown = json.loads(server.call("POST", "/api/show", {"model": "own"})[1])["template"]
        takes_jinja = shown == JINJAS[jinja]
        assert takes_jinja or shown == template
        said = not is_old(server) and prompt_source.takes_jinja(JINJAS[jinja], template, "llama")
        assert said == takes_jinja or (name in UNSURE and not said), f"{name}: {shown}"


def test_the_variable_makes_the_server_take_the_template(server: Server, tmp_path: Path) -> None:
    """The remedy that the warning names."""
    server.restart(OLLAMA_GO_TEMPLATE="1")  # an old server takes it in any case
    server.put("base", tiny_llama(tmp_path / "b.gguf", metadata={"tokenizer.chat_template": JINJAS["tools"]}))
    made(server, "own", **{"from": "base"}, template=GO["plain"])
    assert json.loads(server.call("POST", "/api/show", {"model": "own"})[1])["template"] == GO["plain"]


def test_a_renderer_makes_the_prompts_whatever_the_template_says(chat: Server) -> None:
    made(chat, "own", **{"from": "tiny"}, template="NEVER {{ .Prompt }}", renderer="qwen3-coder")
    body = {"model": "own", "messages": [{"role": "user", "content": "Hi"}], "_debug_render_only": True}
    rendered = json.loads(chat.call("POST", "/api/chat", body | {"stream": False})[1])["_debug_info"]
    assert "NEVER" not in rendered["rendered_template"]
    assert "Hi" in rendered["rendered_template"]


def test_a_parser_alone_switches_the_ggufs_template_off(server: Server, tiny: Path) -> None:
    server.put("base", tiny)
    made(server, "own", **{"from": "base"}, parser="qwen3", system="Be kind.")
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": False, "_debug_render_only": True}
    prompts = [
        json.loads(server.call("POST", "/api/chat", {"model": name, **body})[1])["_debug_info"][
            "rendered_template"
        ]
        for name in ("base", "own")
    ]
    assert prompts[1] == "Hi"
    assert ("<|im_start|>" in prompts[0]) == (not is_old(server)), "an old server knows no Jinja"


@pytest.mark.parametrize("name", ["qwen3.8", "qwen9", "olmo3"])
def test_a_server_fails_chats_for_a_renderer_that_we_do_not_know(chat: Server, name: str) -> None:
    made(chat, "own", **{"from": "tiny"}, renderer=name)
    status, said = asked(chat, "own")
    major, minor = chat.version.split(".")[:2]
    known = engines.renderers((int(major), int(minor)))
    assert known is not None
    assert (status == OK) == (name in known), said
    if status != OK:
        assert f'unknown renderer "{name}"' in said


def test_every_renderer_that_we_know_is_there(chat: Server) -> None:
    major, minor = chat.version.split(".")[:2]
    for name in sorted(engines.renderers((int(major), int(minor))) or ()):
        made(chat, "own", **{"from": "tiny"}, renderer=name)
        body = {"model": "own", "messages": [{"role": "user", "content": "Hi"}], "_debug_render_only": True}
        status, text = chat.call("POST", "/api/chat", body | {"stream": False})
        assert status == OK, text


def test_an_unknown_parser_changes_nothing(chat: Server) -> None:
    made(chat, "own", **{"from": "tiny"}, parser="nonesuch")
    assert asked(chat, "own") == asked(chat, "tiny")


@pytest.mark.parametrize(
    ("name", "value"),
    [("repeat_penalty", 5.0), ("frequency_penalty", 5.0), ("presence_penalty", 8.0), ("typical_p", 0.05)],
)
def test_the_own_engine_looks_at_no_penalty(chat: Server, name: str, value: float) -> None:
    """Of 0.24's two engines the own one, which OLLAMA_NEW_ENGINE gives to every architecture that it has."""
    made(chat, "flat", **{"from": "tiny"}, template="{{ range .Messages }}{{ .Content }}{{ end }}")

    def wild(**options: object) -> str:
        """An answer to nonsense: with so many likely tokens any change of them shows."""
        flat = {"temperature": 1.5, "top_k": 0, "top_p": 1.0}
        status, said = asked(chat, "flat", {**flat, **options}, "zx q")
        assert status == OK, said
        return said

    assert name in engines.UNREAD_BY_OWN_ENGINE
    assert wild() != wild(**{name: value})
    if is_old(chat):
        chat.restart(OLLAMA_NEW_ENGINE="1")
        assert wild() == wild(**{name: value})
        assert wild() != wild(min_p=0.9)


def test_an_old_server_drops_a_parameter_that_it_does_not_know(chat: Server) -> None:
    for name in engines.SINCE:
        before = chat.log().count(f"option={name}")
        assert asked(chat, "tiny", {name: 3})[0] == OK
        assert (chat.log().count(f"option={name}") > before) == is_old(chat)


def test_the_whole_context_for_repeats_fails_on_a_new_server(chat: Server) -> None:
    status, said = asked(chat, "tiny", {"repeat_last_n": -1})
    assert (status == OK) == is_old(chat), said
    assert asked(chat, "tiny", {"repeat_last_n": 512})[0] == OK


def test_no_repeat_penalty_is_1_and_0_never_works(chat: Server) -> None:
    """Why a profile may not say 0: a new server refuses it, and an old one's runner dies of it."""
    assert asked(chat, "tiny", {"repeat_penalty": 1.0})[0] == OK
    assert asked(chat, "tiny", {"repeat_penalty": 0.0})[0] != OK


def test_a_stop_text_that_the_model_never_makes_changes_no_answer(chat: Server) -> None:
    """And one that it does make ends the answer before it."""
    whole = asked(chat, "tiny")
    assert asked(chat, "tiny", {"stop": ["<|eot_id|>"]}) == whole
    status, cut = asked(chat, "tiny", {"stop": ["demo"]})
    assert (status, whole[1].startswith(cut + "demo")) == (OK, True)
