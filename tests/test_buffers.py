"""Compute buffers, one rule a line. The figures are llama.cpp's own (tests/oracle), MiB for a batch of 512."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelforge.memory import footprint
from modelforge.shape import shape_of
from modelforge.units import MIB
from tests import shapes
from tests.oracle.models import MODELS, dense, encoders, gemma, mixtures, qwen, recurrent
from tests.plans import cpu, gpu, gpus, settings

OFF: dict[str, Any] = {"flash_attention": "off"}
Q8: dict[str, Any] = {"kv_cache": "q8_0"}


@pytest.mark.parametrize(
    ("model", "more", "cache", "before", "since"),
    [
        # model, settings; KV cache, compute in b10488 (Ollama 0.32) and in b11549
        (shapes.LLAMA_8B, {}, 1024.0, 116.01, 124.01),
        (shapes.LLAMA_8B, OFF, 1024.0, 564.01, 572.01),  # scores of all heads, queries, keys and values
        (mixtures.MIXTRAL_8X7B, {}, 1024.0, 200.01, 208.01),  # both experts' gates, ups and products
        (mixtures.OLMOE_7B, {"num_ctx": 4096}, 512.0, 64.01, 68.01),  # the experts' results take their place
        (shapes.QWEN3_30B_A3B, {}, 768.0, 92.01, 92.01),  # they are wider, and lie behind
        (dense.STARCODER2_3B, {}, 240.0, 50.01, 56.01),  # no gate: one matrix, changed in place
        (dense.STARCODER2_3B, Q8, 127.52, 50.09, 56.09),
        (dense.STABLELM_2B, {"num_ctx": 4096}, 768.0, 49.01, 53.01),  # attention first, not side by side
        (dense.COMMAND_R7B, Q8, 365.5, 168.67, 176.68),  # side by side: the unpacked cache stays
        (recurrent.GRANITE4_TINY, {}, 119.37, 53.01, 56.01),
        (recurrent.NEMOTRON_NANO_9B, {}, 266.8, 143.04, 160.40),  # a Mamba part is the widest
        (shapes.MAMBA2_3B, {}, 163.94, 64.28, 74.22),
        (recurrent.JAMBA_MINI, {}, 144.62, 192.07, 208.01),
        (gemma.GEMMA3N_E4B, {}, 96.0, 158.52, 158.52),
        (gemma.GEMMA4_12B, {}, 608.0, 130.52, 129.52),
        (
            gemma.GEMMA4_31B,
            OFF,
            2160.0,
            648.01,
            669.02,
        ),  # transposed values are as wide as the widest layer's
        (qwen.QWEN35_35B_A3B, {}, 222.81, 76.02, 80.02),
        (qwen.QWEN35_27B, Q8, 421.62, 130.28, 150.29),  # queries with gates; no cache for the draft layer
        (qwen.QWEN35_27B, OFF, 661.62, 460.01, 480.02),
        (mixtures.ERNIE45_21B_A3B, OFF, 448.0, 383.38, 363.01),  # the experts' results lie beside attention
        (dense.MINISTRAL3_3B, OFF, 832.0, 560.01, 572.01),  # queries wider than the embedding
        (shapes.DEEPSEEK2_LITE, {**OFF, "parallel": 1}, 243.0, 326.27, 328.01),
        (mixtures.DEEPSEEK_V3, {}, 549.0, 386.01, 400.01),
        (mixtures.GLM45_AIR, {}, 1504.0, 156.01, 170.01),
        (encoders.BGE_LARGE, OFF, 0.0, 27.00, 27.00),
        (encoders.BGE_M3, {}, 0.0, 56.01, 56.01),  # an encoder's batch is 2048
    ],
)
def test_compute_is_what_llama_cpp_plans(
    model: shapes.Model, more: dict[str, Any], cache: float, before: float, since: float
) -> None:
    shape = shape_of(model.header("Q4_K_M"))
    for engine, planned in (("0.32", before), ("0.33", since)):
        share = footprint(shape, settings(**more, engine=engine), gpu(400)).shares[0]
        over = share.compute / MIB - planned
        assert -max(0.01 * planned, 1) <= over <= max(0.05 * planned, 2 * 4 * 512 * shape.embedding / MIB)
    old = footprint(shape, settings(**more), gpu(400)).shares[0]
    assert old.kv / MIB == pytest.approx(cache, abs=0.01)


def test_draft_layers_are_not_loaded_unless_the_profile_asks_for_drafts() -> None:
    shape = shape_of(mixtures.GLM45_AIR.header("Q4_K_M"))
    plain, drafting = (footprint(shape, settings(drafts=drafts), gpu(400)) for drafts in (0, 4))
    assert plain.shares[0].weights / MIB == pytest.approx(103200.33, abs=0.01)
    assert plain.because == ()
    assert shape.weights.drafts > 2000 * MIB
    assert drafting.needs - plain.needs > shape.weights.drafts + 100 * MIB
    assert drafting.because == ("the memory for draft layers (MTP) is over-estimated",)


def test_later_builds_have_no_cache_for_draft_layers() -> None:
    shape = shape_of(mixtures.GLM45_AIR.header("Q4_K_M"))
    old, new = (footprint(shape, settings(engine=e), gpu(400)).shares[0].kv for e in ("0.32", "0.33"))
    assert (old // MIB, new // MIB) == (1504, 1472)


def test_only_the_larger_exaone4_has_windows_whatever_its_header_says() -> None:
    windows = {"attention.sliding_window": 4096}
    small = shape_of(replace(dense.EXAONE4_1B, keys=windows).header("Q8_0"))
    large = shape_of(replace(dense.EXAONE4_32B, keys={}).header("Q4_K_M"))
    assert {layer.window for layer in small.layers} == {None}
    assert [layer.window for layer in large.layers[:4]] == [4096, 4096, 4096, None]


def test_gemma3n_has_its_embedding_twice_in_system_memory() -> None:
    shape = shape_of(gemma.GEMMA3N_E4B.header("Q4_K_M"))
    own = footprint(shape, settings(), cpu(64)).shares[0]
    assert own.weights - shape.weights.device - shape.weights.input < MIB


@pytest.mark.parametrize(
    ("model", "more", "before", "since"),
    [
        (gemma.GEMMA4_E2B, {}, 122.52, 128.02),
        (gemma.GEMMA4_E4B, {}, 110.02, 136.02),
        (gemma.GEMMA4_E4B, OFF, 206.51, 221.02),
        (qwen.QWEN3_VL_8B, {}, 128.02, 152.02),  # an image's parts for the first layers
        (qwen.QWEN3_VL_30B_A3B, OFF, 570.01, 606.02),
    ],
)
def test_what_comes_along_with_the_embedding_is_over_estimated_and_said_to_be(
    model: shapes.Model, more: dict[str, Any], before: float, since: float
) -> None:
    shape = shape_of(model.header("Q4_K_M"))
    for engine, planned in (("0.32", before), ("0.33", since)):
        placed = footprint(shape, settings(**more, engine=engine), gpu(400))
        assert 64 <= placed.shares[0].compute / MIB - planned <= 64 + planned
        assert "over-estimated" in placed.because[0]


def test_gemma4s_copy_of_its_embedding_has_no_padded_rows_in_system_memory() -> None:
    shape = shape_of(gemma.GEMMA4_12B.header("Q4_K_M"))
    assert footprint(shape, settings(), cpu(64)).shares[0].weights == 8183203328


def test_an_encoder_answers_one_request_at_a_time() -> None:
    shape = shape_of(encoders.BGE_M3.header("F16"))
    one, four = (footprint(shape, settings(parallel=number), cpu(16)).needs for number in (1, 4))
    assert one == four


@pytest.mark.parametrize(("engine", "compute"), [("0.32", (172, 204)), ("0.33", (244, 204))])
def test_a_pipeline_keeps_its_inputs_four_times(engine: str, compute: tuple[int, int]) -> None:
    shape = shape_of(shapes.LLAMA_8B.header("Q4_K_M"))
    shares = footprint(shape, settings(engine=engine), gpus(4000, 4000)).shares
    for share, planned in zip(shares, compute, strict=True):
        assert 0 <= share.compute / MIB - planned <= 1


def test_devices_are_filled_from_the_last_one_and_its_pipeline_goes_into_the_headroom() -> None:
    """llama.cpp puts 4, 7 and 6 of these 17 layers there."""
    shape = shape_of(shapes.LLAMA_1B.header("Q4_K_M"))
    placed = footprint(shape, settings(32768, num_batch=1024), gpus(1990, 1990, 1990))
    assert placed.slack >= 0
    assert placed.shares[1].budget > placed.shares[0].budget


@pytest.mark.parametrize(("engine", "first", "further"), [("0.32", 96, 128), ("0.33", 160, 120)])
def test_attention_beside_the_mamba_part_adds_no_scans_to_a_pipeline(
    engine: str, first: int, further: int
) -> None:
    """Falcon-H1: what its pipeline needs on top of three more masks."""
    shape = shape_of(MODELS["Falcon-H1 1.5B"][0].header("Q8_0"))
    run = settings(32768, num_batch=1024, engine=engine)
    alone = footprint(shape, run, gpus(8000)).shares[0].compute
    shares = footprint(shape, run, gpus(2600, 2600)).shares
    assert [share.compute // MIB - alone // MIB - 3 * 64 for share in shares] == [first, further]


def test_what_is_nearly_exact_is_a_little_over_estimated_on_accelerators() -> None:
    """llama.cpp plans 158 to 161 MiB for Falcon-H1 at this context."""
    shape = shape_of(MODELS["Falcon-H1 1.5B"][0].header("Q8_0"))
    share = footprint(shape, settings(32768, num_batch=1024), gpus(8000)).shares[0]
    assert 161 < share.compute / MIB < 161 + 20
