"""What is warned of, in the words that a user reads, for the version that the plan is for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.bases import HubFile, LocalFile, RegistryModel
from modelforge.gguf import read_header
from modelforge.modelfile import Modelfile, Turn
from modelforge.shape import shape_of
from modelforge.unused import unused
from tests.ggufs import Typed, tiny_llama
from tests.jinjas import JINJAS
from tests.plans import candidate, profile, settings
from tests.prompt_sources import GO
from tests.prompt_sources import JINJAS as ABLE
from tests.shapes import LLAMA_8B

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.bases import Candidate

SERVED = candidate(LLAMA_8B, "8b", "Q8_0")
FILE = "profiles/coder.toml"
PASSED_OVER = "the model's chat template makes no prompts"


def local(tmp_path: Path, jinja: str | None = None, *tokens: str, **metadata: object) -> Candidate:
    """A GGUF file of the project, with a vocabulary."""
    keys = {
        "tokenizer.chat_template": jinja,
        "tokenizer.ggml.tokens": Typed("str", ("a", "b", *tokens)),
        "tokenizer.ggml.eos_token_id": 1 + len(tokens),
        **metadata,
    }
    path = tiny_llama(tmp_path / "tiny-Q8_0.gguf", metadata=keys)
    source = LocalFile(path=path, bytes=path.stat().st_size)
    return replace(SERVED, ref="./models/tiny-Q8_0.gguf", source=source, shape=shape_of(read_header(path)))


def of(architecture: str) -> Candidate:
    return replace(SERVED, shape=replace(SERVED.shape, architecture=architecture))


def told(
    base: Candidate, engine: str = "0.32", *, origins: dict[str, str] | None = None, **asked: Any
) -> list[str]:
    """The warnings for a model that asks for this; all parameters are the profile's."""
    of_profile = profile(parameters=dict(asked.get("parameters", {})), origins=origins)
    found = unused(of_profile, Modelfile(from_=base.ref, **asked), base, settings(engine=engine))
    return list(found)


# -- stop texts ----------------------------------------------------------------------------------------


def test_a_dead_stop_text_is_told_with_its_place_and_what_the_model_has(tmp_path: Path) -> None:
    base = local(tmp_path, JINJAS["llama-3"].jinja, "<|eot_id|>")
    stops = {"stop": ("User:", "<|im_end|>", "<|eot_id|>")}
    places = {"parameters.stop": f"{FILE}:7:1", "parameters.stop.1": f"{FILE}:9:3"}
    (warning,) = told(base, parameters=stops, origins=places)
    assert warning == (
        f"{FILE}:9:3: the stop text '<|im_end|>' ends no answer: neither the chat template nor the vocabulary "
        "has it; its turns end with '<|eot_id|>'"
    )


def test_a_stop_text_that_the_prompts_mention_is_not_dead(tmp_path: Path) -> None:
    base = local(tmp_path, JINJAS["llama-3"].jinja, "<|eot_id|>")
    stops = {"stop": ("<|done|>",)}
    assert len(told(base, parameters=stops)) == 1
    assert told(base, parameters=stops, system="Say <|done|> when you are done.") == []
    assert told(base, parameters=stops, messages=(Turn(role="assistant", content="4<|done|>"),)) == []
    assert told(base, parameters=stops, template="{{ .Prompt }}<|done|>") == []


def test_without_a_chat_template_no_stop_text_is_dead(tmp_path: Path) -> None:
    base = local(tmp_path, None, "<eos>")
    assert told(base, parameters={"stop": ("[INST]",)}) == []
    assert len(told(base, parameters={"stop": ("[INST]",)}, template="<|user|>{{ .Prompt }}")) == 1


def test_a_base_that_does_not_lie_here_is_not_judged(tmp_path: Path) -> None:
    here = local(tmp_path, JINJAS["llama-3"].jinja, "<|eot_id|>")
    assert isinstance(here.source, LocalFile)
    hub = HubFile(
        name="hf.co/a/b:Q8_0",
        repository="a/b",
        commit="c",
        path="x",
        digest="d",
        bytes=1,
        here=here.source.path,
    )
    registry = RegistryModel(name="x/y", digest="d", manifest=b"", blobs=())
    stops = {"stop": ("<|im_end|>",)}
    assert len(told(replace(here, source=hub), parameters=stops)) == 1
    assert told(replace(here, source=replace(hub, here=tmp_path / "none")), parameters=stops) == []
    assert told(replace(here, source=registry), parameters=stops) == []
    assert told(SERVED, parameters=stops) == []


def test_a_file_that_is_no_gguf_is_for_others_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF")
    broken = replace(SERVED, source=LocalFile(path=path, bytes=4))
    assert told(broken, parameters={"stop": ("<|im_end|>",)}, template=GO["plain"]) == []


# -- chat templates ------------------------------------------------------------------------------------


def test_a_template_that_the_ggufs_own_replaces_is_told_with_the_remedy(tmp_path: Path) -> None:
    base = local(tmp_path, ABLE["tools"])
    origins = {"chat_template_file": f"{FILE}:4:1"}
    (warning,) = told(base, template=GO["plain"], origins=origins)
    assert warning.startswith(f"{FILE}:4:1: {PASSED_OVER} on Ollama 0.32: ")
    assert "OLLAMA_GO_TEMPLATE=1" in warning
    assert told(base, "0.24", template=GO["plain"]) == []
    assert told(base, template=GO["tools"]) == []
    assert told(base, template=GO["plain"], parser="passthrough") == []
    assert told(base) == []


def test_a_renderer_comes_before_a_template() -> None:
    for engine in ("0.24", "0.32"):
        asked = told(SERVED, engine, template=GO["plain"], renderer="qwen3-coder")
        assert asked == [f"{PASSED_OVER}: the renderer 'qwen3-coder' does"]


@pytest.mark.parametrize("architecture", ["gemma4", "laguna", "nemotron_h_moe"])
def test_an_architecture_with_a_format_of_its_own_takes_no_template(architecture: str) -> None:
    for engine in ("0.24", "0.32"):
        asked = told(of(architecture), engine, template=GO["plain"])
        assert asked == [f"{PASSED_OVER}: Ollama {engine} has the format of {architecture} built in"]
    assert told(of(architecture), "0.19", template=GO["plain"]) == []


def test_a_parser_alone_switches_the_ggufs_template_off(tmp_path: Path) -> None:
    base = local(tmp_path, ABLE["plain"], "<eos>")
    (warning,) = told(base, parser="qwen3", origins={"parser": f"{FILE}:2:1"})
    assert warning.startswith(
        f"{FILE}:2:1: the parser 'qwen3' switches the GGUF's own chat template off on Ollama 0.32"
    )
    assert told(base, "0.24", parser="qwen3") == []
    assert told(base, parser="qwen3", renderer="qwen3-coder") == []
    assert told(base, parser="qwen3", template=GO["plain"]) == []
    assert told(local(tmp_path, JINJAS["chatml"].jinja, "<|im_end|>"), parser="qwen3") == [], (
        "servers add a template"
    )
    assert told(local(tmp_path, None), parser="qwen3") == []
    assert told(SERVED, parser="qwen3") == []
    built_in = replace(base, shape=replace(base.shape, architecture="gemma4"))
    assert told(built_in, parser="gemma4") == []


# -- names ---------------------------------------------------------------------------------------------


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    assert told(SERVED, renderer="qwen3-codr", parser="qwen3-coder") == [
        "Ollama 0.32 has no renderer 'qwen3-codr': every chat fails; did you mean 'qwen3-coder'?"
    ]
    assert told(SERVED, parser="nonesuch") == [
        "Ollama 0.32 has no parser 'nonesuch': answers pass as they are"
    ]


def test_a_name_is_known_by_version() -> None:
    assert len(told(SERVED, "0.24", renderer="qwen3.8")) == 1
    assert told(SERVED, "0.32", renderer="qwen3.8") == []
    assert told(SERVED, "0.33", renderer="nonesuch") == []


# -- parameters ----------------------------------------------------------------------------------------


def test_a_parameter_of_a_later_version() -> None:
    origins = {"parameters.draft_num_predict": f"{FILE}:8:1"}
    asked = {"draft_num_predict": 4}
    assert told(SERVED, "0.24", parameters=asked, origins=origins) == [
        f"{FILE}:8:1: draft_num_predict does nothing on Ollama 0.24, which does not know it: it came with 0.30"
    ]
    assert told(SERVED, "0.30", parameters=asked) == []


def test_drafts_need_layers_that_draft(tmp_path: Path) -> None:
    base = local(tmp_path)
    assert told(base, parameters={"draft_num_predict": 4}) == [
        "draft_num_predict does nothing: ./models/tiny-Q8_0.gguf has no layers that draft"
    ]
    assert told(base, parameters={"draft_num_predict": 0}) == []
    weights = replace(base.shape.weights, drafts=1)
    assert (
        told(replace(base, shape=replace(base.shape, weights=weights)), parameters={"draft_num_predict": 4})
        == []
    )


def test_the_own_engine_of_0_24_looks_at_no_penalty() -> None:
    asked = {"repeat_penalty": 1.2, "min_p": 0.1, "typical_p": 0.9}
    why = "does nothing on Ollama 0.24: it runs the architecture qwen3 on its own engine, which does not look at it"
    assert told(of("qwen3"), "0.24", parameters=asked) == [f"repeat_penalty {why}", f"typical_p {why}"]
    assert told(of("llama"), "0.24", parameters=asked) == []
    assert told(of("qwen3"), "0.32", parameters=asked) == []
    assert told(of("qwen3"), "0.20", parameters=asked) == [], "which architectures that ran so was not read"
    assert told(replace(of("qwen3"), projector_bytes=1), "0.24", parameters=asked) == []


def test_the_whole_context_for_repeats_fails_on_0_32() -> None:
    (warning,) = told(SERVED, parameters={"repeat_last_n": -1})
    assert warning == (
        "repeat_last_n = -1 fails every request on Ollama 0.32.15, which takes 0 or more: "
        "for the whole context write 8192"
    )
    assert told(SERVED, parameters={"repeat_last_n": 64}) == []
    assert told(SERVED, "0.24", parameters={"repeat_last_n": -1}) == []


def test_usual_settings_are_not_warned_of(tmp_path: Path) -> None:
    base = local(tmp_path, JINJAS["chatml"].jinja, "<|im_end|>")
    usual = {
        "num_ctx": 512,
        "temperature": 0.2,
        "repeat_penalty": 1.1,
        "num_batch": 256,
        "stop": ("<|im_end|>", "\n\n"),
    }
    for engine in ("0.24", "0.32"):
        assert told(base, engine, parameters=usual, template=GO["plain"], system="Be short.") == []
