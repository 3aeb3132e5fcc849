"""Which stop texts can end no answer: no word, no mark that the model has, and none where it is not certain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.chat_templates import choose, formats, has_token
from modelforge.gguf import read_header
from modelforge.stops import dead_stops, marks_in
from tests.ggufs import Typed, write_gguf
from tests.jinjas import JINJAS

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ("a", "b", "[", "<", "|", ">")
LLAMA_3, CHATML = JINJAS["llama-3"], JINJAS["chatml"]


def model(tmp_path: Path, jinja: str | None, *tokens: str, words: int = 0) -> Path:
    """A GGUF whose last token is its end-of-text token."""
    whole = (*(f"w{number}" for number in range(words)), *WORDS, *tokens)
    keys: dict[str, object] = {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": Typed("str", whole),
        "tokenizer.ggml.eos_token_id": len(whole) - 1,
    }
    if jinja is not None:
        keys["tokenizer.chat_template"] = jinja
    path = tmp_path / "model.gguf"
    write_gguf(path, keys, [("token_embd.weight", (256, 8), "F32")])
    return path


def dead(path: Path, *stops: str, texts: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return list(dead_stops(stops, texts, path, read_header(path)))


@pytest.mark.parametrize("words", [0, 2000], ids=["short vocabulary", "long vocabulary"])
def test_a_mark_of_another_format_is_dead(tmp_path: Path, words: int) -> None:
    path = model(tmp_path, LLAMA_3.jinja, "<|eot_id|>", words=words)
    assert dead(path, "<|im_end|>", "<|eot_id|>") == [("<|im_end|>", "<|eot_id|>")]
    assert dead(path, "</s>") == [("</s>", "<|eot_id|>")]
    assert dead(path, "[INST]", "\n<|im_start|>user") == [
        ("[INST]", "<|eot_id|>"),
        ("\n<|im_start|>user", "<|eot_id|>"),
    ]


@pytest.mark.parametrize("words", [0, 2000], ids=["short vocabulary", "long vocabulary"])
def test_a_token_of_the_vocabulary_may_always_come(tmp_path: Path, words: int) -> None:
    path = model(tmp_path, CHATML.jinja, "<|endoftext|>", "</s>", "<|im_end|>", words=words)
    assert dead(path, "<|endoftext|>", "</s>", "<|im_start|>", "<|im_end|>") == []
    assert dead(path, "<|endoftext") == []
    assert dead(path, "<|end|>") == [("<|end|>", "<|im_end|>")]


@pytest.mark.parametrize(
    "stop",
    [
        "User:",
        "\n\n",
        "Observation:",
        "###",
        "</answer>",
        "<END>",
        "[DONE]",
        "<",
        "<|",
        "</tool_call>",
        "[1]",
    ],
)
def test_words_and_tags_are_never_dead(tmp_path: Path, stop: str) -> None:
    assert dead(model(tmp_path, LLAMA_3.jinja, "<|eot_id|>"), stop) == []


@pytest.mark.parametrize("name", sorted(JINJAS))
def test_no_stop_text_of_a_known_format_is_dead(tmp_path: Path, name: str) -> None:
    """Even where the vocabulary has the end-of-text token alone."""
    known = JINJAS[name]
    choice = choose(known.jinja, known.eos)
    assert choice is not None
    path = model(tmp_path, known.jinja, known.eos)
    assert dead(path, *choice.stop, known.eos) == []
    assert dead(path, *choice.stop, texts=(choice.template,)) == []


def test_every_format_has_marks_or_words() -> None:
    marks = {mark for form in formats() for stop in form.stop for mark in marks_in(stop)}
    assert {
        "<|im_end|>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<end_of_turn>",
        "<｜User｜>",
        "[|endofturn|]",
    } <= marks
    assert marks_in("USER: and <b>bold</b>, then </s>") == ("</s>",)
    assert marks_in("<|im_end|>\n<|im_end|>") == ("<|im_end|>",)


@pytest.mark.parametrize(
    "template",
    [
        "{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}",
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}",
        '{% for m in messages %}{{ "<|%s|>" % m.role }}{% endfor %}',
    ],
)
def test_a_mark_that_a_template_may_put_together_is_not_dead(tmp_path: Path, template: str) -> None:
    assert dead(model(tmp_path, template, "<eos>"), "<|user|>") == []
    assert dead(model(tmp_path, None, "<eos>"), "<|user|>", texts=(template,)) == []
    assert dead(model(tmp_path, template, "<eos>"), "[INST]") == [("[INST]", "<eos>")]


def test_what_the_prompts_mention_may_come(tmp_path: Path) -> None:
    path = model(tmp_path, LLAMA_3.jinja, "<|eot_id|>")
    assert dead(path, "<|done|>", texts=("End each answer with <|done|>.",)) == []
    assert dead(path, "<|done|>", texts=("Be short.",)) == [("<|done|>", "<|eot_id|>")]


def test_without_a_vocabulary_nothing_is_certain(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, {"general.architecture": "llama", "tokenizer.chat_template": LLAMA_3.jinja}, [])
    assert dead(path, "<|im_end|>") == []
    assert has_token(path, read_header(path), "<|im_end|>") is None


def test_a_file_that_has_gone_tells_nothing(tmp_path: Path) -> None:
    path = model(tmp_path, LLAMA_3.jinja, "<|eot_id|>", words=2000)
    header = read_header(path)
    path.unlink()
    assert has_token(path, header, "<|im_end|>") is None


def test_weights_are_not_taken_for_the_vocabulary(tmp_path: Path) -> None:
    tokens = tuple(f"w{number}" for number in range(2000))
    token = b"<|im_end|>"
    keys = {"general.architecture": "llama", "tokenizer.ggml.tokens": Typed("str", tokens)}
    data = len(token).to_bytes(8, "little") + token
    path = tmp_path / "model.gguf"
    write_gguf(path, keys, [("a.weight", (256, 8), "F32")], data={"a.weight": data.ljust(256 * 8 * 4, b"\0")})
    assert data in path.read_bytes()
    assert has_token(path, read_header(path), "<|im_end|>") is False
    assert has_token(path, read_header(path), "w1999") is True
