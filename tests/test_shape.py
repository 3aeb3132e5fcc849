"""What a header says: layers, windows, state, weights by place, and which key is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelforge.architecture import Layer
from modelforge.errors import BaseProblem
from modelforge.gguf import Header, LongArray
from modelforge.shape import shape_of
from tests import shapes

if TYPE_CHECKING:
    from modelforge.gguf import Value

MIB = 1 << 20


def header_with(model: shapes.Model, quant: str = "Q4_K_M", **keys: Value) -> Header:
    return model.header(
        quant, **{f"{model.architecture}.{key.replace('__', '.')}": keys[key] for key in keys}
    )


def without(header: Header, key: str) -> Header:
    return replace(header, metadata={name: value for name, value in header.metadata.items() if name != key})


@pytest.mark.parametrize(
    ("quant", "bits"),
    [("Q8_0", 8.5008), ("Q6_K", 6.5633), ("Q4_K_M", 4.8944), ("Q4_K_S", 4.6672), ("IQ4_XS", 4.4597)],
)
def test_bits_per_weight_are_those_that_llama_cpp_publishes_for_8b(quant: str, bits: float) -> None:
    assert shape_of(shapes.LLAMA_8B.header(quant)).bits == pytest.approx(bits, abs=0.0001)


def test_an_untied_model_keeps_its_embedding_off_the_gpu() -> None:
    weights = shape_of(shapes.LLAMA_8B.header("Q4_K_M")).weights
    assert weights.input == 4096 * 128256 // 256 * 144
    assert weights.device == weights.file - weights.input
    assert len(weights.blocks) == 32


def test_a_tied_model_has_the_embedding_in_both_places() -> None:
    weights = shape_of(shapes.LLAMA_3B.header("Q4_K_M")).weights
    assert weights.file / MIB == pytest.approx(1918.35, abs=0.01)
    assert weights.device == weights.file
    assert weights.input == 3072 * 128256 // 256 * 210


def test_full_attention_is_one_kind_of_layer() -> None:
    shape = shape_of(shapes.LLAMA_8B.header("Q8_0"))
    assert shape.groups == ((Layer(key=1024, value=1024), 32),)
    assert (shape.training_context, shape.vocabulary, shape.exact) == (131072, 128256, True)


@pytest.mark.parametrize(
    ("model", "sliding", "window"),
    [(shapes.GEMMA2_9B, 21, 4096), (shapes.GEMMA3_12B, 40, 1024), (shapes.GPT_OSS_20B, 12, 128)],
)
def test_sliding_windows_follow_the_architectures_pattern(
    model: shapes.Model, sliding: int, window: int
) -> None:
    shape = shape_of(model.header("Q8_0"))
    assert sum(layer.window == window for layer in shape.layers) == sliding
    assert shape.layers[0].window == window
    assert shape.layers[model.layers - 1].window is None
    assert shape.exact


def test_a_pattern_in_the_file_wins() -> None:
    flags = tuple(block < 10 for block in range(48))
    shape = shape_of(header_with(shapes.GEMMA3_12B, attention__sliding_window_pattern=flags))
    assert sum(layer.window is not None for layer in shape.layers) == 10


def test_other_architectures_keep_their_whole_context_whatever_window_they_name() -> None:
    shape = shape_of(header_with(shapes.LLAMA_8B, attention__sliding_window=4096))
    assert shape.groups == ((Layer(key=1024, value=1024), 32),)


def test_latent_attention_keeps_one_compressed_row() -> None:
    shape = shape_of(shapes.DEEPSEEK2_LITE.header("Q4_K_M"))
    assert shape.groups == ((Layer(key=576, value=0), 27),)
    assert shape.exact


def test_a_file_from_before_latent_keys_is_planned_with_all_heads() -> None:
    header = shapes.DEEPSEEK2_LITE.header("Q4_K_M")
    for key in ("key_length_mla", "value_length_mla"):
        header = without(header, f"deepseek2.attention.{key}")
    old = {"deepseek2.attention.head_count_kv": 16, "deepseek2.attention.key_length": 192}
    old["deepseek2.attention.value_length"] = 128
    shape = shape_of(replace(header, metadata={**header.metadata, **old}))
    assert shape.groups == ((Layer(key=3072, value=2048), 27),)


def test_hybrids_have_attention_on_some_layers_and_state_on_the_others() -> None:
    shape = shape_of(shapes.QWEN3_NEXT_80B.header("Q4_K_M"))
    state = 4 * (3 * (4096 + 2 * 16 * 128) + 128 * 4096)
    assert dict(shape.groups) == {Layer(key=512, value=512): 12, Layer(state=state): 36}
    assert shape.state == 36 * state
    assert shape.exact


def test_a_family_that_the_planner_did_not_confirm_is_over_estimated_and_it_is_said() -> None:
    model = replace(shapes.LLAMA_8B, architecture="internlm2")
    shape = shape_of(model.header("Q4_K_M"))
    assert not shape.exact
    assert shape.inexact_because == ("the compute buffer of 'internlm2' models is over-estimated",)


def test_layers_without_kv_heads_are_recurrent_where_the_architecture_says_so() -> None:
    heads = tuple(8 if block in {5, 15} else 0 for block in range(16))
    model = replace(shapes.LLAMA_1B, architecture="granitehybrid", kv_heads=heads)
    model = replace(
        model,
        keys={"ssm.conv_kernel": 4, "ssm.inner_size": 3072, "ssm.state_size": 128, "ssm.group_count": 1},
    )
    shape = shape_of(model.header("Q8_0"))
    state = 4 * (3 * (3072 + 256) + 128 * 3072)
    assert dict(shape.groups) == {Layer(key=512, value=512): 2, Layer(state=state): 14}


def test_short_convolutions_keep_little() -> None:
    heads = tuple(8 if block % 2 else 0 for block in range(16))
    model = replace(shapes.LLAMA_1B, architecture="lfm2", kv_heads=heads, keys={"shortconv.l_cache": 3})
    assert dict(shape_of(model.header("Q8_0")).groups)[Layer(state=4 * 2048 * 2)] == 8


def test_pure_recurrent_models_have_no_cache() -> None:
    keys = {"ssm.conv_kernel": 4, "ssm.inner_size": 5120, "ssm.state_size": 128, "ssm.group_count": 1}
    shape = shape_of(replace(shapes.LLAMA_1B, architecture="mamba2", keys=keys).header("Q8_0"))
    assert shape.groups == ((Layer(state=4 * (3 * (5120 + 256) + 128 * 5120)), 16),)


@pytest.mark.parametrize(("architecture", "shared", "own"), [("gemma3n", 0, 20), ("gemma4", 12, 36)])
def test_layers_that_share_a_cache_have_none(architecture: str, shared: int, own: int) -> None:
    keys = {
        "attention.sliding_window": 512,
        "attention.shared_kv_layers": shared,
        "attention.sliding_window_pattern": tuple(block % 5 < 4 for block in range(48)),
    }
    shape = shape_of(replace(shapes.GEMMA3_12B, architecture=architecture, keys=keys).header("Q8_0"))
    assert [bool(layer.key) for layer in shape.layers] == [True] * own + [False] * (48 - own)


def test_windowed_layers_may_have_heads_of_their_own_size() -> None:
    keys = {
        "attention.sliding_window": 1024,
        "attention.sliding_window_pattern": tuple(block % 6 < 5 for block in range(48)),
        "attention.key_length_swa": 128,
        "attention.value_length_swa": 128,
    }
    shape = shape_of(replace(shapes.GEMMA3_12B, architecture="gemma4", keys=keys).header("Q8_0"))
    assert shape.layers[0] == Layer(key=1024, value=1024, window=1024)
    assert shape.layers[5] == Layer(key=2048, value=2048)


def test_encoders_keep_no_cache() -> None:
    shape = shape_of(shapes.NOMIC_EMBED.header("F16"))
    assert (shape.groups, shape.encoder, shape.weights.device < shape.weights.file) == ((), True, True)


def test_a_servers_numbers_and_unread_arrays_do() -> None:
    header = shapes.LLAMA_8B.header("Q8_0")
    shown = {key: float(value) if isinstance(value, int) else value for key, value in header.metadata.items()}
    shown["llama.attention.head_count_kv"] = LongArray(type="i32", length=32)
    assert shape_of(replace(header, metadata=shown)) == shape_of(header)


def test_without_a_tensor_table_the_file_counts_and_it_is_said() -> None:
    header = replace(shapes.LLAMA_8B.header("Q8_0"), tensors=())
    shape = shape_of(header)
    assert shape.weights.device >= header.file_bytes
    assert not shape.exact
    assert shape.vocabulary == 128256


def test_an_unknown_architecture_is_planned_as_full_attention_and_it_is_said() -> None:
    model = replace(shapes.LLAMA_8B, architecture="brandnew", keys={"attention.sliding_window": 128})
    shape = shape_of(model.header("Q8_0"))
    assert shape.groups == ((Layer(key=1024, value=1024), 32),)
    assert shape.inexact_because == (
        "the architecture 'brandnew' is not known; planned as full attention on every layer",
        "the compute buffer of 'brandnew' models is over-estimated",
    )


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "context_length"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(BaseProblem, match=f"has no 'llama.{key}'"):
        shape_of(without(shapes.LLAMA_8B.header("Q8_0"), f"llama.{key}"))


def test_heads_are_needed_for_attention() -> None:
    header = without(shapes.QWEN25_7B.header("Q8_0"), "qwen2.attention.head_count")
    with pytest.raises(BaseProblem, match=r"has no 'qwen2.attention\."):
        shape_of(header)


def test_no_language_model_at_all() -> None:
    with pytest.raises(BaseProblem, match=r"general\.architecture"):
        shape_of(Header(metadata={}, tensors=(), file_bytes=100))


@pytest.mark.parametrize("value", ["many", float("nan"), -1])
def test_nonsense_is_not_taken_for_a_number(value: Value) -> None:
    with pytest.raises(BaseProblem, match="block_count"):
        shape_of(header_with(shapes.LLAMA_8B, block_count=value))


def test_experts_count_by_use_when_tokens_are_made() -> None:
    shape = shape_of(shapes.QWEN3_30B_A3B.header("Q4_K_M"))
    assert shape.experts
    assert 1.5e9 < shape.active_bytes < 2.2e9
    assert shape.weights.file > 18e9


def test_a_projector_inside_the_file_is_told_apart() -> None:
    header = shapes.GEMMA3_12B.header("Q4_K_M")
    image = shapes.tensor("v.blk.0.attn_q.weight", (1152, 1152), "F16")
    shape = shape_of(replace(header, tensors=(*header.tensors, image)))
    assert shape.weights.projector >= image.bytes
    assert shape.weights.device == shape_of(header).weights.device
