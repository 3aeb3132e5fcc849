"""The GGUF header of a converted model: names, types and keys as Ollama's converter gives them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.converted import KNOWN, converted_header
from modelforge.errors import BaseProblem
from modelforge.safetensors import SafeTensor
from modelforge.shape import shape_of
from tests import shapes
from tests.folders import BYTES

if TYPE_CHECKING:
    from modelforge.gguf import Header
    from tests.shapes import Model

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rope_theta": 10000.0,
    "head_dim": 16,
    "sliding_window": 128,
}
NORMS = {"input_layernorm": (64,), "post_attention_layernorm": (64,)}
LAYER = {
    "self_attn.q_proj": (64, 64),
    "self_attn.k_proj": (32, 64),
    "self_attn.v_proj": (32, 64),
    "self_attn.o_proj": (64, 64),
    "mlp.gate_proj": (128, 64),
    "mlp.up_proj": (128, 64),
    "mlp.down_proj": (64, 128),
    **NORMS,
}
PHI3 = {
    "self_attn.qkv_proj": (128, 64),
    "self_attn.o_proj": (64, 64),
    "mlp.gate_up_proj": (256, 64),
    "mlp.down_proj": (64, 128),
    **NORMS,
}


def tensor(name: str, *shape: int, kind: str = "BF16") -> SafeTensor:
    return SafeTensor(name=name, type=kind, shape=shape, bytes=prod(shape) * BYTES[kind])


def tensors(layer: dict[str, tuple[int, ...]], *, layers: int = 2, kind: str = "BF16") -> list[SafeTensor]:
    return [
        tensor("model.embed_tokens.weight", 1000, 64, kind=kind),
        tensor("model.norm.weight", 64, kind=kind),
        *(
            tensor(f"model.layers.{block}.{name}.weight", *shape, kind=kind)
            for block in range(layers)
            for name, shape in layer.items()
        ),
    ]


def made(found: list[SafeTensor], **config: Any) -> Header:
    return converted_header({**CONFIG, **config}, found, vocabulary_bytes=0)


def test_a_llama_is_named_and_typed_as_a_server_does() -> None:
    found = [*tensors(LAYER), tensor("lm_head.weight", 1000, 64)]
    header = made(found)
    lines = {one.name: (one.dims, one.type, one.bytes) for one in header.tensors}
    assert lines["token_embd.weight"] == ((64, 1000), "BF16", 128_000)
    assert lines["output.weight"][1] == "BF16"
    assert lines["blk.1.attn_k.weight"] == ((64, 32), "BF16", 4096)
    assert lines["blk.0.ffn_norm.weight"] == ((64,), "F32", 256)
    assert header.metadata["general.file_type"] == 32
    shape = shape_of(header)
    assert (shape.architecture, shape.training_context, shape.vocabulary) == ("llama", 512, 1000)
    assert shape.groups[0][0].key == 32
    assert shape.exact


@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_full_and_half_precision_become_f16(kind: str) -> None:
    header = made(tensors(LAYER, kind=kind))
    assert {one.type for one in header.tensors} == {"F16", "F32"}
    assert header.metadata["general.file_type"] == 1


def test_llama_3_brings_its_rope_factors() -> None:
    header = made(tensors(LAYER), rope_scaling={"rope_type": "llama3"})
    assert header.tensors[-1].name == "rope_freqs.weight"
    assert header.tensors[-1].dims == (8,)


ARCHITECTURES = [
    ("LlamaForCausalLM", LAYER, "llama"),
    ("Qwen2ForCausalLM", {**LAYER}, "qwen2"),
    ("GemmaForCausalLM", LAYER, "gemma"),
    (
        "Gemma2ForCausalLM",
        {**LAYER, "pre_feedforward_layernorm": (64,), "post_feedforward_layernorm": (64,)},
        "gemma2",
    ),
    (
        "Gemma3ForCausalLM",
        {
            **LAYER,
            "pre_feedforward_layernorm": (64,),
            "post_feedforward_layernorm": (64,),
            "self_attn.q_norm": (16,),
            "self_attn.k_norm": (16,),
        },
        "gemma3",
    ),
    ("Phi3ForCausalLM", PHI3, "phi3"),
    ("Olmo3ForCausalLM", {**LAYER, "self_attn.q_norm": (64,), "post_feedforward_layernorm": (64,)}, "olmo2"),
]


@pytest.mark.parametrize(
    ("named", "layer", "architecture"), [pytest.param(*one, id=one[2]) for one in ARCHITECTURES]
)
def test_every_known_architecture_can_be_planned_for(
    named: str, layer: dict[str, tuple[int, ...]], architecture: str
) -> None:
    header = made(tensors(layer), architectures=[named])
    assert all(
        one.name.startswith(("blk.", "token_embd", "output_norm"))
        and "proj" not in one.name
        and "layernorm" not in one.name
        for one in header.tensors
    )
    shape = shape_of(header)
    assert (shape.architecture, len(shape.layers)) == (architecture, 2)
    assert shape.layers[0].key == 32


def test_all_of_them_are_tried() -> None:
    assert {named for named, _, _ in ARCHITECTURES} == set(KNOWN)


def test_windows_are_told_where_the_converter_writes_them() -> None:
    layer = ARCHITECTURES[4][1]
    header = made(tensors(layer), architectures=["Gemma3ForCausalLM"], sliding_window_pattern=2)
    assert [one.window for one in shape_of(header).layers] == [128, None]
    types = ["full_attention", "sliding_attention"]
    header = made(tensors(layer), architectures=["Gemma3ForCausalLM"], layer_types=types)
    assert [one.window for one in shape_of(header).layers] == [None, 128]


@pytest.mark.parametrize(
    ("model", "named", "config"),
    [
        pytest.param(shapes.LLAMA_8B, "LlamaForCausalLM", {}, id="llama"),
        pytest.param(shapes.QWEN25_7B, "Qwen2ForCausalLM", {}, id="qwen2"),
        pytest.param(
            shapes.GEMMA2_9B, "Gemma2ForCausalLM", {"head_dim": 256, "sliding_window": 4096}, id="gemma2"
        ),
    ],
)
def test_a_public_model_has_the_shape_of_its_gguf(model: Model, named: str, config: dict[str, Any]) -> None:
    config |= {
        "architectures": [named],
        "hidden_size": model.embedding,
        "intermediate_size": model.feed_forward,
        "max_position_embeddings": model.context,
        "num_attention_heads": model.heads,
        "num_hidden_layers": model.layers,
        "num_key_value_heads": model.kv_heads,
    }
    wanted = model.header("F16")
    back = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "output": "lm_head",
        "blk": "model.layers",
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "ffn_norm": "pre_feedforward_layernorm" if named.startswith("Gemma2") else "post_attention_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    }
    found = [
        tensor(
            ".".join(back.get(part, part) for part in one.name.split(".")), *reversed(one.dims), kind="F16"
        )
        for one in wanted.tensors
    ]
    header = converted_header(config, found, vocabulary_bytes=0)
    assert {one.name: one.bytes for one in header.tensors} == {one.name: one.bytes for one in wanted.tensors}
    assert shape_of(header).weights == shape_of(wanted).weights
    assert shape_of(header).layers == shape_of(wanted).layers


@pytest.mark.parametrize(
    ("config", "words", "hint"),
    [
        pytest.param(
            {"architectures": ["Qwen3ForCausalLM"]},
            "can be: LlamaForCausalLM, Qwen2",
            "convert_hf",
            id="qwen3",
        ),
        pytest.param(
            {"architectures": ["MistralForCausalLM"]}, "MistralForCausalLM cannot", "convert_hf", id="mistral"
        ),
        pytest.param(
            {"architectures": []}, "does not say its 'architectures'", "convert_hf", id="none named"
        ),
        pytest.param(
            {"architectures": "llama"}, "does not say its 'architectures'", "convert_hf", id="a text"
        ),
        pytest.param({"num_hidden_layers": None}, "no 'num_hidden_layers'", "number", id="no layers"),
        pytest.param({"hidden_size": "64"}, "'64' as its 'hidden_size'", "number", id="a text for a number"),
        pytest.param({"hidden_size": True}, "'hidden_size'", "number", id="true for a number"),
        pytest.param({"num_hidden_layers": 3}, "lacks layer 2 of 3", "weight files", id="a layer is missing"),
        pytest.param({"num_hidden_layers": 1}, "other layers", "weight files", id="a layer too many"),
        pytest.param(
            {"architectures": ["Qwen2ForCausalLM"], "rope_scaling": {"type": "dynamic"}},
            "'dynamic', at which Ollama's converter panics",
            "convert_hf",
            id="a scaling that ends the server",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(config: dict[str, Any], words: str, hint: str) -> None:
    with pytest.raises(BaseProblem) as caught:
        made(tensors(LAYER), **config)
    (problem,) = caught.value.problems
    assert words in problem.message
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "embedding"),
        ([tensor("transformer.wte.weight", 10, 64)], "embedding"),
        ([*tensors(LAYER), tensor("model.norm.weight", 64)], "'output_norm.weight' is there twice"),
        ([*tensors(LAYER), tensor("model.x", 4, 4, kind="F8_E4M3")], "of type F8_E4M3"),
    ],
)
def test_tensors_that_are_not_those_of_the_model(found: list[SafeTensor], words: str) -> None:
    with pytest.raises(BaseProblem, match=words):
        made(found)
