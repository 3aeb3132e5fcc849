"""Which chat format a GGUF has, judged by what its own Jinja template renders, and the Go template for it.

That real servers render the Go templates so is tested in tests/live/test_store_live.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge import chat_templates
from modelforge.chat_templates import choose, end_token, formats, go_template, is_imported
from modelforge.gguf import read_header
from tests.ggufs import Typed, write_gguf
from tests.jinjas import JINJAS

if TYPE_CHECKING:
    from pathlib import Path

CHATML = JINJAS["chatml"].jinja


@pytest.mark.parametrize("name", sorted(JINJAS))
def test_the_usual_formats_are_known(name: str) -> None:
    known = JINJAS[name]
    choice = choose(known.jinja, known.eos)
    assert choice is not None
    assert choice.name == known.format
    assert choice.stop


@pytest.mark.parametrize(
    "jinja",
    [
        "",
        "no markup at all",
        "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}",
        "{% for broken",
        CHATML.replace("'<|im_end|>'", "'<|im_stop|>'"),
        CHATML.replace("message['content']", "message['content'] + '!'"),
        CHATML + "{{ '<|im_end|>' }}",
        "<|im_start|>{{ raise_exception('never') }}",
        "<|im_start|>{{ messages[9].content.nothing }}",
        "<|im_start|>{{ ''.__class__.__mro__ }}",
        "<|im_start|>{{ 1 / 0 }}",
    ],
)
def test_what_renders_otherwise_is_unknown(jinja: str) -> None:
    assert choose(jinja, "<|im_end|>") is None


def test_a_template_cannot_reach_out_of_its_sandbox() -> None:
    escape = "<|im_start|>{% for x in ''.__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}"
    assert choose(escape, None) is None


def test_the_go_template_is_readable_and_keeps_the_formats_newlines() -> None:
    choice = choose(CHATML, "<|im_end|>")
    assert choice is not None
    assert choice.template == (
        "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
        '{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}{{ if not $last }}<|im_end|>\n{{ end }}'
        '{{ end }}{{ if and $last (ne .Role "assistant") }}<|im_start|>assistant\n{{ end }}{{ end }}'
    )
    assert choice.stop == ("<|im_start|>", "<|im_end|>")


def test_the_models_own_default_system_text_is_kept() -> None:
    known = JINJAS["chatml with a default"]
    choice = choose(known.jinja, known.eos)
    assert choice is not None
    assert choice.template.startswith(
        "{{ if not .System }}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{{ end }}"
    )


def test_what_stands_before_every_system_text_is_kept() -> None:
    known = JINJAS["llama-3 with a date"]
    choice = choose(known.jinja, known.eos)
    assert choice is not None
    lead = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    assert f"{{{{ if eq $i 0 }}}}{lead}{{{{ end }}}}{{{{ .Content }}}}" in choice.template
    assert choice.template.startswith(
        "{{ if not .System }}<|start_header_id|>system<|end_header_id|>\n\n" + lead
    )


def test_todays_date_is_left_to_the_server() -> None:
    known = JINJAS["mistral-v7 with today's date"]
    choice = choose(known.jinja, known.eos)
    assert choice is not None
    assert "[SYSTEM_PROMPT]Today is {{ currentDate }}.[/SYSTEM_PROMPT]" in choice.template
    assert choose(known.jinja.replace("%Y-%m-%d", "%d %B %Y"), known.eos) is None


def test_a_default_that_would_be_go_markup_is_unknown() -> None:
    known = JINJAS["chatml with a default"]
    assert choose(known.jinja.replace("helpful", "{{ '{{' }}"), known.eos) is None


def test_the_end_token_tells_formats_apart() -> None:
    jinja = JINJAS["zephyr"].jinja
    assert choose(jinja, "</s>") is not None
    assert choose(jinja, "<|other|>") is None


def test_every_format_has_a_mark_and_stops_that_it_uses() -> None:
    for form in formats():
        text = go_template(form)
        assert form.mark in text or form.merge, form.name
        assert "{{ .Content }}" in text
        assert all(stop.strip() == stop for stop in form.stop), form.name


def test_ollamas_own_templates_are_told_from_others() -> None:
    ours = choose(CHATML, None)
    assert ours is not None
    assert not is_imported(ours.template)
    assert not is_imported("{{ .Prompt }}")
    assert len(chat_templates._table()["imported"]) == 20


@pytest.mark.parametrize("count", [3, 2000], ids=["short vocabulary", "long vocabulary"])
def test_the_end_token_is_read_from_the_vocabulary(tmp_path: Path, count: int) -> None:
    tokens = [f"token {index} é" for index in range(count)]
    keys = {
        "tokenizer.ggml.tokens": Typed("str", tuple(tokens)),
        "tokenizer.ggml.eos_token_id": count - 1,
        "tokenizer.chat_template": "x",
    }
    path = tmp_path / "model.gguf"
    write_gguf(path, {"general.architecture": "llama", **keys}, [])
    assert end_token(path, read_header(path)) == f"token {count - 1} é"


def test_a_vocabulary_without_an_end_token_has_none(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, {"general.architecture": "llama"}, [])
    assert end_token(path, read_header(path)) is None
