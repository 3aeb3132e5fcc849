"""The footprint against llama.cpp's own figures, and what may never happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelforge.buffers import buffers_of, cache_bytes
from modelforge.errors import UsageProblem
from modelforge.hardware import Device, Hardware
from modelforge.memory import footprint, offloaded
from modelforge.shape import shape_of
from modelforge.units import GIB, MIB
from tests import shapes
from tests.plans import cpu, gpu, gpus, settings

LLAMA_1B = shape_of(shapes.LLAMA_1B.header("Q4_K_M"))
LLAMA_3B = shape_of(shapes.LLAMA_3B.header("Q4_K_M"))
LLAMA_8B = shape_of(shapes.LLAMA_8B.header("Q4_K_M"))
GEMMA2 = shape_of(shapes.GEMMA2_9B.header("Q4_K_M"))
GEMMA3 = shape_of(shapes.GEMMA3_12B.header("Q4_K_M"))
DEEPSEEK = shape_of(shapes.DEEPSEEK2_LITE.header("Q4_K_M"))
MOE = shape_of(shapes.QWEN3_30B_A3B.header("Q4_K_M"))
GPT_OSS = shape_of(shapes.GPT_OSS_20B.header("MXFP4"))
ENCODER = shape_of(shapes.NOMIC_EMBED.header("F16"))
LFM2 = shape_of(shapes.LFM2_1B.header("Q8_0"))
MAMBA2 = shape_of(shapes.MAMBA2_3B.header("Q8_0"))
QWEN_NEXT = shape_of(shapes.QWEN3_NEXT_80B.header("Q4_K_M"))
TINY = shape_of(shapes.FORGE_TINY.header("Q8_0"))


@pytest.mark.parametrize(
    ("kind", "bytes_"),
    [
        ("f16", 2048),
        ("bf16", 2048),
        ("q8_0", 1088),
        ("q5_1", 768),
        ("q5_0", 704),
        ("q4_1", 640),
        ("q4_0", 576),
    ],
)
def test_cache_types_count_whole_blocks(kind: str, bytes_: int) -> None:
    assert cache_bytes(1024, kind) == bytes_


@pytest.mark.parametrize(
    ("more", "kv", "compute"),
    [
        ({"num_ctx": 8192}, 896, 86.02),
        ({"num_ctx": 8192, "kv_cache": "q8_0"}, 476, 86.10),
        ({"num_ctx": 8192, "kv_cache": "q4_0"}, 252, 86.10),
        ({"num_ctx": 8192, "num_batch": 1024}, 896, 172.04),
        ({"num_ctx": 2048, "parallel": 4}, 896, 80.02),
        ({"num_ctx": 4096}, 448, 82.02),
        ({"num_ctx": 32768}, 3584, 110.02),
        ({"num_ctx": 131072}, 14336, 206.02),
        ({"num_ctx": 131072, "kv_cache": "q8_0"}, 7616, 206.10),
    ],
)
def test_llama_3b_on_a_cpu_is_what_llama_cpp_reports(more: dict[str, Any], kv: int, compute: float) -> None:
    run = settings(engine="0.33", **more)
    share = footprint(LLAMA_3B, run, cpu(64)).shares[0]
    assert share.weights / MIB == pytest.approx(1918.35, abs=0.01)
    assert share.kv == kv * MIB
    logits = 4 * 128256 * run.parallel
    assert (share.compute - logits) / MIB == pytest.approx(compute, abs=0.11)


@pytest.mark.parametrize(
    ("shape", "more", "weights", "kv", "compute"),
    [
        # llama-server of Ollama 0.32.15 on a GPU that does not exist: model and KV in whole MiB, compute buffer
        (LLAMA_1B, {}, 762, 256, 68 - 4),
        (LLAMA_8B, {}, 4403, 1024, 116.0),
        (LLAMA_8B, {"num_batch": 2048}, 4403, 1024, 464.0),
        (LLAMA_8B, {"parallel": 4}, 4403, 4096, 116.0),
        (LLAMA_8B, {"flash_attention": "off"}, 4403, 1024, 564.0),
        (GEMMA2, {}, 5488, 2100, 118.5),
        (GEMMA2, {"num_batch": 2048}, 5488, 2352, 480.1),
        (GEMMA3, {}, 6956, 992, 122.5),
        (GEMMA3, {"kv_cache": "q8_0"}, 6956, 527, 123.0),
        (GEMMA3, {"num_batch": 2048, "flash_attention": "off"}, 6956, 1472, 1300.0),
        (MOE, {}, 17524, 768, 92.0),
        (MOE, {"kv_cache": "q8_0"}, 17524, 408, 92.1),
        (GPT_OSS, {}, 11144, 210, 95.5),
        (GPT_OSS, {"num_batch": 2048}, 11144, 246, 388.1),
        (DEEPSEEK, {}, 15040, 243, 84.1),
        (DEEPSEEK, {"parallel": 4, "flash_attention": "off"}, 15040, 972, 358.3),
    ],
)
def test_on_a_gpu_it_is_what_llama_cpp_plans(
    shape: Any, more: dict[str, Any], weights: int, kv: int, compute: float
) -> None:
    share = footprint(shape, settings(**more), gpu(200)).shares[0]
    assert share.weights // MIB == weights
    assert share.kv // MIB == kv
    assert -max(0.02 * compute, 1) <= share.compute / MIB - compute <= max(0.2 * compute, 64)


@pytest.mark.parametrize(
    ("shape", "weights", "kv", "compute"),
    [(LFM2, 1186, 96, 64.0), (MAMBA2, 2744, 163, 64.3), (QWEN_NEXT, 45995, 267, 90.0)],
)
def test_recurrent_models_have_exact_weights_and_state_and_enough_compute(
    shape: Any, weights: int, kv: int, compute: float
) -> None:
    share = footprint(shape, settings(), gpu(200)).shares[0]
    assert (share.weights // MIB, share.kv // MIB) == (weights, kv)
    assert compute <= share.compute / MIB <= compute * 1.6 + 64


def test_contexts_are_padded_as_llama_cpp_pads_them() -> None:
    run = buffers_of(LLAMA_8B, settings(num_ctx=1666, parallel=3), gpu(24))
    assert (run.cells, run.streams) == (1792, 3)
    assert buffers_of(LLAMA_8B, settings(num_ctx=5000), gpu(24)).cells == 5120


def test_a_context_above_the_models_own_is_cut() -> None:
    assert buffers_of(GEMMA2, settings(num_ctx=100_000), gpu(24)).cells == 8192


def test_recurrent_state_does_not_grow_with_the_context() -> None:
    short, long = (footprint(QWEN_NEXT, settings(num_ctx=n), gpu(80)).shares[0].kv for n in (4096, 8192))
    assert long - short == 12 * 4096 * 1024 * 2
    assert short - 12 * 4096 * 1024 * 2 == QWEN_NEXT.state


def test_an_encoder_has_no_cache_and_needs_little() -> None:
    share = footprint(ENCODER, settings(), gpu(8)).shares[0]
    assert share.kv == 0
    assert share.needs < GIB


def test_quantized_caches_are_unpacked_on_cuda_only() -> None:
    run = settings(num_ctx=131072, kv_cache="q8_0")
    assert footprint(LLAMA_8B, run, gpu(24)).shares[0].compute / MIB == pytest.approx(680, abs=14)
    assert footprint(LLAMA_8B, run, gpu(24, "metal")).shares[0].compute / MIB == pytest.approx(244, abs=12)


def test_old_gpus_run_without_flash_attention() -> None:
    old = Hardware(
        name="m40", backend="cuda", devices=(Device(name="M40", memory=24 * GIB, compute_capability="5.2"),)
    )
    assert footprint(LLAMA_8B, settings(), old) == replace(
        footprint(LLAMA_8B, settings(flash_attention="off"), old), because=()
    )


def test_an_older_engine_is_over_estimated_and_it_is_said() -> None:
    old, new = (footprint(LLAMA_8B, settings(engine=engine), gpu(24)) for engine in ("0.24", "0.30"))
    assert old.needs > new.needs + 457 * MIB
    assert new.because == ()
    assert "0.24" in old.because[0]


def test_a_projector_counts_itself_and_what_is_kept_free_for_it() -> None:
    plain, seeing = (footprint(LLAMA_8B, settings(), gpu(24), projector=size) for size in (0, 800 * MIB))
    assert seeing.needs - plain.needs == 1600 * MIB
    assert seeing.because == ("the memory for reading images is estimated",)


def test_the_budget_is_memory_less_what_the_driver_keeps_and_the_headroom() -> None:
    card = Hardware(
        name="t4", backend="cuda", devices=(Device(name="T4", memory=16 * GIB, reserved=GIB // 2),)
    )
    assert footprint(LLAMA_8B, settings(headroom=GIB), card).shares[0].budget == 14 * GIB + GIB // 2


def test_a_cpu_keeps_the_headroom_of_its_memory_free() -> None:
    share = footprint(LLAMA_8B, settings(), cpu(16)).shares[0]
    assert (share.name, share.budget) == ("RAM", 15 * GIB)


def test_hardware_that_says_nothing_is_an_error() -> None:
    with pytest.raises(UsageProblem, match="neither which devices it has nor how much system memory"):
        footprint(LLAMA_8B, settings(), Hardware(name="x", backend="cpu"))


def test_several_devices_hold_every_layer_once() -> None:
    placed = footprint(LLAMA_8B, settings(), gpus(4100, 4100))
    assert sum(share.weights for share in placed.shares) == LLAMA_8B.device_weights
    assert sum(share.kv for share in placed.shares) == 1024 * MIB
    assert placed.slack > 0


@pytest.mark.parametrize(
    ("shape", "memory", "weights", "kv", "compute"),
    [
        # llama-server of Ollama 0.32.15 on GPUs that do not exist, MiB of each
        (LLAMA_8B, (4000, 4000), (2113, 2290), (544, 480), (172, 204)),
        (GEMMA3, (6000, 6000), (3204, 3751), (508, 484), (181, 211)),
        (MOE, (12000, 8000, 8000), (7585, 4891, 5048), (336, 224, 208), (132, 148, 148)),
    ],
)
def test_layers_are_spread_as_llama_cpp_spreads_them(
    shape: Any,
    memory: tuple[int, ...],
    weights: tuple[int, ...],
    kv: tuple[int, ...],
    compute: tuple[int, ...],
) -> None:
    shares = footprint(shape, settings(), gpus(*memory)).shares
    assert tuple(share.weights // MIB for share in shares) == weights
    assert tuple(share.kv // MIB for share in shares) == kv
    for share, planned in zip(shares, compute, strict=True):
        assert -1 <= share.compute / MIB - planned <= 12


def test_each_device_of_several_must_fit_not_their_sum() -> None:
    placed = footprint(LLAMA_8B, settings(), gpus(6600, 1100))
    assert sum(share.budget for share in placed.shares) > 5600 * MIB
    assert placed.slack < 0


def test_a_small_second_device_is_filled_only_as_far_as_it_goes() -> None:
    placed = footprint(LLAMA_8B, settings(), gpus(6500, 2500))
    assert placed.slack >= 0
    assert len(placed.shares) == 2


def test_a_model_that_fits_one_of_two_devices_stays_there() -> None:
    placed = footprint(LLAMA_8B, settings(), gpus(6000, 24000))
    assert [share.name for share in placed.shares] == ["GPU1"]


def test_layers_on_the_cpu_are_as_few_as_can_be() -> None:
    found = offloaded(LLAMA_8B, settings(), gpu(5))
    assert found is not None
    one_more = footprint(LLAMA_8B, settings(), gpu(5), cpu_layers=found.layers - found.on_device - 1)
    assert found.slack >= 0 > one_more.slack
    assert 0 < found.on_device < found.layers


def test_nothing_is_offloaded_without_a_device_or_room_in_ram() -> None:
    assert offloaded(LLAMA_8B, settings(), cpu(16)) is None
    assert offloaded(LLAMA_8B, settings(), replace(gpu(5), system_memory=GIB)) is None


def test_the_quickstart_model_needs_a_few_mib() -> None:
    share = footprint(TINY, settings(num_ctx=1024, headroom=0), gpu(1)).shares[0]
    assert 2 * MIB < share.weights < 3 * MIB
    assert share.kv == 2 * MIB
    assert share.needs < 12 * MIB


SHAPES = [LLAMA_1B, LLAMA_8B, GEMMA3, DEEPSEEK, MOE, QWEN_NEXT, ENCODER, TINY]
CACHES = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16"]


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    context=st.integers(4, 140_000),
    more=st.integers(0, 100_000),
    kind=st.sampled_from(CACHES),
    parallel=st.integers(1, 8),
    batch=st.sampled_from([128, 512, 2048]),
    flash=st.sampled_from(["auto", "on"]),
    hardware=st.sampled_from([gpu(24), gpus(8000, 8000, 12000), cpu(32), gpu(24, "metal")]),
)
def test_more_context_or_wider_caches_never_need_less(
    shape: Any, context: int, more: int, kind: str, parallel: int, batch: int, flash: str, hardware: Hardware
) -> None:
    run = settings(num_ctx=context, kv_cache=kind, parallel=parallel, num_batch=batch, flash_attention=flash)
    needs = footprint(shape, run, hardware).needs
    one = replace(hardware, devices=hardware.devices[:1])
    assert needs > 0
    assert (
        footprint(shape, replace(run, num_ctx=context + more), one).needs >= footprint(shape, run, one).needs
    )
    wider = CACHES[min(CACHES.index(kind) + 1, 5)]
    kv = [sum(s.kv for s in footprint(shape, replace(run, kv_cache=k), one).shares) for k in (kind, wider)]
    assert kv[0] <= kv[1]
