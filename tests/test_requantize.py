"""The types that a server gives a quant that it makes, against real files, published sizes and models of shapes.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelforge.gguf import Header, read_header
from modelforge.requantize import TARGETS, canonical, data_bytes, older_differs, requantized, why_no_source
from tests import shapes

if TYPE_CHECKING:
    from tests.shapes import Model

MODELS = Path(__file__).parents[1] / "examples" / "quickstart" / "models"
PLAIN = [
    pytest.param(getattr(shapes, name), id=name)
    for name in ("LLAMA_1B", "LLAMA_8B", "QWEN25_7B", "QWEN25_14B", "GEMMA2_9B", "GEMMA3_12B", "FORGE_TINY")
]
MIXTURES = [pytest.param(getattr(shapes, name), id=name) for name in ("QWEN3_30B_A3B", "MAMBA2_3B")]


def types(header: Header) -> dict[str, tuple[str, int]]:
    return {tensor.name: (tensor.type, tensor.bytes) for tensor in header.tensors}


def source(model: Model, **more: int) -> Header:
    return model.header("F16", **{"general.file_type": 1, **more})


def test_a_real_file_has_the_types_and_the_size_that_are_planned() -> None:
    planned = requantized(read_header(MODELS / "forge-tiny-F16.gguf"), "Q8_0")
    real = read_header(MODELS / "forge-tiny-Q8_0.gguf")
    assert types(planned) == types(real)
    assert planned.metadata["general.file_type"] == real.metadata["general.file_type"]
    assert abs(planned.file_bytes - real.file_bytes) <= 64


@pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M", "Q4_K_S"])
@pytest.mark.parametrize("model", [*PLAIN, *MIXTURES])
def test_every_tensor_is_as_the_mix_of_public_files_has_it(model: Model, quant: str) -> None:
    assert types(requantized(source(model), quant)) == types(model.header(quant))


@pytest.mark.parametrize("model", [*PLAIN, *MIXTURES])
@pytest.mark.parametrize("quant", TARGETS)
def test_small_tensors_stay_and_nothing_grows(model: Model, quant: str) -> None:
    before = source(model)
    after = requantized(before, quant)
    assert [tensor.name for tensor in after.tensors] == [tensor.name for tensor in before.tensors]
    for old, new in zip(before.tensors, after.tensors, strict=True):
        assert new.bytes <= old.bytes
        assert new == old or len(old.dims) > 1
    assert after.file_bytes - before.file_bytes == data_bytes(after.tensors) - data_bytes(before.tensors)


@pytest.mark.parametrize(
    ("model", "quant", "gigabytes"),
    [
        pytest.param(shapes.LLAMA_8B, "Q8_0", 8.54, id="llama 8b q8"),
        pytest.param(shapes.LLAMA_8B, "Q4_K_M", 4.92, id="llama 8b q4 m"),
        pytest.param(shapes.LLAMA_8B, "Q4_K_S", 4.69, id="llama 8b q4 s"),
        pytest.param(shapes.LLAMA_70B, "Q4_K_M", 42.52, id="llama 70b q4 m"),
        pytest.param(shapes.LLAMA_70B, "Q4_K_S", 40.35, id="llama 70b q4 s"),
        pytest.param(shapes.GEMMA2_9B, "Q4_K_M", 5.76, id="gemma 2 9b q4 m"),
        pytest.param(shapes.QWEN25_14B, "Q4_K_M", 8.99, id="qwen 2.5 14b q4 m"),
        pytest.param(shapes.QWEN3_30B_A3B, "Q4_K_M", 18.56, id="qwen 3 30b a3b q4 m"),
    ],
)
def test_sizes_are_those_of_published_files(model: Model, quant: str, gigabytes: float) -> None:
    """As the model cards of llama.cpp's quantizations tell them, in GB with two digits."""
    assert requantized(source(model), quant).file_bytes / 1e9 == pytest.approx(gigabytes, rel=0.003)


def test_rows_that_do_not_fit_a_block_get_another_type() -> None:
    made = types(requantized(source(shapes.GPT_OSS_20B), "Q4_K_M"))
    assert made["token_embd.weight"][0] == "Q5_0"
    assert made["output.weight"][0] == "Q8_0"
    assert made["blk.0.attn_output.weight"][0] == "Q4_K"
    narrow = replace(shapes.FORGE_TINY, embedding=40, head=10, feed_forward=40)
    assert {kind for kind, _ in types(requantized(source(narrow), "Q4_K_M")).values()} == {"F16", "F32"}


def test_eight_experts_get_more_bits_for_attention() -> None:
    mixtral = replace(shapes.LLAMA_8B, experts=8, expert_width=14336)
    made = types(requantized(source(mixtral), "Q4_K_M"))
    kinds = [made[f"blk.9.{name}.weight"][0] for name in ("attn_q", "attn_k", "attn_v", "attn_output")]
    assert kinds == ["Q4_K", "Q8_0", "Q8_0", "Q5_K"]
    assert made["blk.9.ffn_gate_inp.weight"][0] == "F32"


def test_what_ollama_asks_for_by_name_and_what_it_puts_back() -> None:
    made = types(requantized(source(shapes.DEEPSEEK2_LITE), "Q4_K_M"))
    assert made["blk.3.attn_kv_a_mqa.weight"][0] == "Q8_0"
    assert types(requantized(source(shapes.DEEPSEEK2_LITE), "Q8_0"))["blk.3.attn_q.weight"][0] == "Q8_0"
    header = source(shapes.GEMMA3_12B)
    image = shapes.tensor("v.blk.0.attn_q.weight", (1152, 1152), "F16")
    with_image = replace(header, tensors=(*header.tensors, image))
    assert requantized(with_image, "Q4_K_M").tensors[-1] == image


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("q4_K_M", "Q4_K_M"),
        ("q4_k", "Q4_K_M"),
        ("Q8_0", "Q8_0"),
        ("fp16", "F16"),
        ("f32", None),
        ("Q5_K_M", None),
        ("int8", None),
    ],
)
def test_targets_are_known_in_any_case(written: str, meant: str | None) -> None:
    assert canonical(written) == meant


@pytest.mark.parametrize(
    ("file_type", "words"),
    [
        (1, None),
        (32, None),
        (0, "F32"),
        (15, "Q4_K_M already"),
        (999, "type 999"),
        (None, "general.file_type"),
    ],
)
def test_only_full_precision_is_a_source(file_type: int | None, words: str | None) -> None:
    metadata = {} if file_type is None else {"general.file_type": file_type}
    reason = why_no_source(Header(metadata=metadata, tensors=(), file_bytes=0))
    assert (reason is None) == (words is None)
    assert words is None or words in (reason or "")


def test_where_an_older_ollama_mixes_by_other_rules() -> None:
    assert not any(older_differs(source(shapes.LLAMA_8B), quant) for quant in ("Q8_0", "Q4_K_M", "Q4_K_S"))
    assert not older_differs(source(shapes.GEMMA3_12B), "Q4_K_M")
    assert older_differs(source(shapes.LLAMA_8B), "F16")
    assert older_differs(source(shapes.LLAMA_70B), "Q4_K_M")
    assert older_differs(source(shapes.QWEN3_30B_A3B), "Q4_K_M")
    assert not older_differs(source(shapes.QWEN3_30B_A3B), "Q8_0")
