"""What planners of other projects are known to have got wrong, each by its own test.

Each is a report from the public issue trackers of programs that guess a model's memory or choose a quant; the
tests say what went wrong there, and that it does not here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.architecture import Layer
from modelforge.bases.headers import quant_of
from modelforge.buffers import cache_bytes
from modelforge.checks.limits import where_loaded
from modelforge.errors import BaseProblem, ExitCode
from modelforge.hardware import Device, Hardware, amd_sysfs, apple, table
from modelforge.hardware.cpu import Memory
from modelforge.longest import resolve_longest
from modelforge.memory import footprint
from modelforge.pipeline import does_not_fit
from modelforge.report import plan_dict
from modelforge.resolve import Plan, resolve
from modelforge.runtimes import Placement
from modelforge.same import Same
from modelforge.shape import ModelShape, shape_of
from modelforge.speed import tokens_per_second
from modelforge.units import GIB, MIB, parse_size
from modelforge.variables import parameters_of
from modelforge.views.plans import resolve_lines
from tests import shapes
from tests.plans import candidate, cpu, gpu, gpus, profile, settings, shape_at

if TYPE_CHECKING:
    from modelforge.bases import Candidate
    from modelforge.memory import Share

BIG = gpu(2000)


def shape(model: shapes.Model, quant: str = "Q4_K_M") -> ModelShape:
    return shape_at(Same(model), quant)


def share(model: shapes.Model, quant: str = "Q4_K_M", hardware: Hardware = BIG, **run: Any) -> Share:
    """What a model needs of the first device."""
    return footprint(shape(model, quant), settings(**run), hardware).shares[0]


def eight(*quants: str) -> list[Candidate]:
    return [candidate(shapes.LLAMA_8B, "8b", quant) for quant in quants or ("Q8_0", "Q6_K", "Q4_K_M")]


def plan(
    hardware: Hardware, among: list[Candidate] | None = None, num_ctx: int | None = 8192, **tables: Any
) -> Plan:
    parameters = {**({} if num_ctx is None else {"num_ctx": num_ctx}), **tables.pop("parameters", {})}
    return resolve(profile(parameters=parameters, **tables), hardware, among or eight(), variant="v")


GEMMA3_27B = replace(
    shapes.GEMMA3_12B, layers=62, embedding=5376, heads=32, kv_heads=16, head=128, feed_forward=21504
)
HYBRID_9B = shapes.Model(
    architecture="qwen35",
    layers=32,
    embedding=4096,
    heads=16,
    kv_heads=4,
    head=256,
    feed_forward=12288,
    vocabulary=248320,
    context=262144,
    keys={
        "full_attention_interval": 4,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 4096,
        "ssm.state_size": 128,
        "ssm.group_count": 16,
        "ssm.time_step_rank": 32,
    },
)
DEEPSEEK_V3 = replace(
    shapes.DEEPSEEK2_LITE,
    layers=61,
    embedding=7168,
    heads=128,
    experts=256,
    expert_width=2048,
    dense_layers=3,
    per_block=lambda _block: None,
    keys={**shapes.DEEPSEEK2_LITE.keys, "expert_used_count": 8, "leading_dense_block_count": 3},
)
QWEN3_SMALL = shapes.Model(
    architecture="qwen3",
    layers=28,
    embedding=1024,
    heads=16,
    kv_heads=8,
    head=128,
    feed_forward=3072,
    vocabulary=151936,
    context=40960,
    tied=True,
)
RERANKER = replace(
    shapes.NOMIC_EMBED,
    architecture="bert",
    layers=24,
    embedding=1024,
    heads=16,
    kv_heads=16,
    feed_forward=4096,
    vocabulary=250002,
    context=8192,
)


def test_01_a_heads_length_was_taken_as_embedding_over_heads_and_compute_left_out() -> None:
    found = share(shapes.QWEN3_30B_A3B)  # 2048 / 32 would be 64, and half the cache
    assert found.kv == 48 * 8192 * 2 * 4 * 128 * 2
    assert found.compute > 64 * MIB


def test_02_a_model_half_on_the_cpu_was_called_wholly_on_the_gpu() -> None:
    assert where_loaded(Placement(bytes=10 * GIB, vram=6 * GIB)) == "60 % gpu"
    assert where_loaded(Placement(bytes=10 * GIB, vram=10 * GIB)) == "gpu"


def test_03_a_number_of_layers_that_was_set_switched_the_fitting_off_in_silence() -> None:
    told = "num_gpu is set: the server then loads without checking that the model fits"
    assert told in plan(gpu(24), parameters={"num_gpu": 99}).warnings
    found = plan(gpu(24))
    assert "num_gpu" not in parameters_of(profile(parameters={"num_ctx": 8192}), found)


def test_04_a_context_chosen_by_the_server_pushed_layers_off_the_gpu() -> None:
    absent = profile()
    found = resolve(absent, gpu(12), eight(), variant="v")
    assert parameters_of(absent, found)["num_ctx"] == 4096
    longest = resolve_longest(absent, gpu(12), eight(), variant="v")
    assert longest.decision == "fits"
    assert longest.picked is not None
    assert longest.picked.slack >= 64 * MIB


def test_05_an_image_encoder_was_not_counted_and_the_first_image_ran_out_of_memory() -> None:
    header = shapes.GEMMA3_12B.header("Q4_K_M")
    image = shapes.tensor("v.blk.0.attn_q.weight", (1152, 1152 * 300), "F16")
    inside = footprint(shape_of(replace(header, tensors=(*header.tensors, image))), settings(), BIG)
    own = footprint(shape(shapes.GEMMA3_12B), settings(), BIG, projector=image.bytes)
    plain = footprint(shape(shapes.GEMMA3_12B), settings(), BIG)
    assert inside.needs == own.needs > plain.needs + image.bytes


def test_06_the_graph_for_a_large_image_needed_memory_that_nobody_had_kept() -> None:
    seeing = footprint(shape(shapes.GEMMA3_12B), settings(), BIG, projector=800 * MIB)
    assert seeing.shares[0].projector - 800 * MIB >= 800 * MIB  # as much again for its graph, and it is said
    assert "the memory for reading images is estimated" in seeing.because


def test_07_the_servers_own_padding_for_images_moved_layers_to_the_cpu() -> None:
    size = 1200 * MIB
    needs = [footprint(shape(shapes.GEMMA3_12B), settings(), BIG, projector=one).needs for one in (0, size)]
    assert needs[1] - needs[0] == 2 * size


def test_08_a_gpu_that_shares_the_machines_memory_was_said_to_have_all_of_it_free() -> None:
    device = apple.probe(Memory(total=18 * GIB, available=5 * GIB), lambda _name: None)
    assert device.free == 5 * GIB
    carved = "card0\t0x164e\t536870912\t31457280\t33285996544\t\t\t0xd8\n"
    assert amd_sysfs.devices(carved) == ()


def test_09_a_larger_batch_ran_out_of_memory_on_several_gpus_at_the_first_prompt() -> None:
    two = gpus(24_000, 24_000)
    small, large = (
        footprint(shape(shapes.LLAMA_70B, "Q4_K_M"), settings(num_batch=batch), two).shares
        for batch in (512, 2048)
    )
    for one, other in zip(small, large, strict=True):
        assert other.compute > 2 * one.compute


def test_10_what_one_build_of_the_engine_reserves_was_counted_for_all() -> None:
    old, new = (share(shapes.LLAMA_8B, engine=engine, num_batch=2048).compute for engine in ("0.29", "0.32"))
    assert old - new > 4 * 2048 * 128256 // 2


def test_11_a_quantized_cache_was_counted_as_a_full_one() -> None:
    f16, q8, q4 = (share(shapes.LLAMA_8B, kv_cache=kind).kv for kind in ("f16", "q8_0", "q4_0"))
    assert (q8 * 64, q4 * 64) == (f16 * 34, f16 * 18)


def test_12_the_scores_of_a_model_without_flash_attention_were_taken_for_all() -> None:
    off, on, auto = (
        share(shapes.LLAMA_8B, num_ctx=32768, flash_attention=flash) for flash in ("off", "on", "auto")
    )
    assert off.needs > on.needs + GIB
    assert auto == on  # as the server runs it on this card


def test_13_sizes_were_over_estimated_and_gb_taken_for_gib() -> None:
    assert (parse_size("8GiB"), parse_size("8GB")) == (8 << 30, 8 * 10**9)
    lines = resolve_lines([plan(gpu(12))])
    assert lines[2] == "test   budget 11.0 GiB (12.0 − 1.0)"
    assert lines[3].split() == ["GiB", "weights", "kv", "compute", "total", "slack", "tok/s"]
    assert "+2.3" in lines[4]


def test_14_a_small_card_got_no_layers_though_the_model_fitted() -> None:
    small = candidate(shapes.LLAMA_1B, "1b", "Q4_K_M")
    needs = plan(BIG, [small], 4096).candidates[0].bytes.total

    def on(budget: int) -> str:
        device = replace(gpu(1).devices[0], memory=budget + GIB)
        assert device.memory < 3.2 * GIB
        return plan(replace(gpu(1), devices=(device,)), [small], 4096).candidates[0].verdict

    about = needs * 32 // 31
    least = next(one for one in range(about - 9, about + 9) if one - needs >= min(one // 32, 64 * MIB))
    assert [on(least), on(least - 1), on(needs), on(needs - 1)] == ["picked", "tight", "tight", "too-big"]


def test_15_a_model_that_fitted_all_cards_together_ran_out_of_memory_on_one() -> None:
    uneven = gpus(4300, 4300, 1200)
    found = plan(uneven, eight("Q4_K_M"))
    need = found.candidates[0]
    assert sum(device.budget for device in need.devices) > need.bytes.total
    assert (found.picked, need.verdict) == (None, "too-big")


def test_16_a_reranker_was_said_to_need_fifteen_times_what_it_takes() -> None:
    found = share(RERANKER, "F16")
    assert found.kv == 0
    assert found.needs < 2 * GIB


def test_17_an_embedding_models_compute_was_counted_as_if_attention_were_flash_everywhere() -> None:
    long = replace(shapes.NOMIC_EMBED, context=8192, vocabulary=1000)
    on, off = (share(long, "F16", flash_attention=flash).compute for flash in ("on", "off"))
    assert off > 2048 * 2048 * 12 * 4  # the scores: batch × batch × heads, F32
    assert off > 1.5 * on
    short = share(long, "F16", num_ctx=1024, flash_attention="off").compute
    assert off > 2 * short


def test_18_a_sliding_window_was_counted_as_the_whole_context() -> None:
    found = share(GEMMA3_27B, num_ctx=131072, num_batch=2048)
    row = 2 * 16 * 128 * 2
    assert found.kv == row * (10 * 131072 + 52 * (1024 + 2048))
    assert found.needs < 30 * GIB  # 139 were said


def test_19_recurrent_layers_were_counted_as_attention() -> None:
    found = share(HYBRID_9B, num_ctx=110_000)
    attention = 8 * 110_080 * 2 * 4 * 256 * 2
    assert attention < found.kv < attention + 128 * MIB
    assert found.kv < 4 * GIB  # 14 if every layer had attention


def test_20_memory_that_other_programs_hold_was_not_seen() -> None:
    device = Device(name="RTX 4090", memory=24 * GIB, free=4 * GIB)
    busy = Hardware(name="this", backend="cuda", devices=(device,), origin="probed")
    found = plan(busy)
    assert any("has only 4.0 GiB free now" in told for told in found.warnings)
    wanted = profile(parameters={"num_ctx": 8192})
    assert resolve(wanted, busy, eight(), variant="v", use_free=True).picked is None


def test_21_a_model_22_gb_too_large_was_loaded_without_a_word() -> None:
    found = plan(gpu(24), [candidate(shapes.LLAMA_70B, "70b", "Q4_K_M")])
    assert found.decision == "too-big"
    error = does_not_fit(found)
    assert error.exit_code is ExitCode.DOES_NOT_FIT
    assert "lacks" in (error.problems[0].hint or "")


def test_22_a_model_was_judged_at_the_longest_context_it_can_have() -> None:
    found = plan(gpu(12), [candidate(HYBRID_9B, "9b", "Q4_K_M")], num_ctx=None)
    assert found.settings.num_ctx == 4096
    assert found.picked is not None


def test_23_experts_were_counted_by_use_where_all_lie_in_memory() -> None:
    moe = shape(shapes.QWEN3_30B_A3B)
    assert share(shapes.QWEN3_30B_A3B).weights > 17 * GIB
    assert moe.active_bytes < 2.2e9
    dense = shape(shapes.QWEN25_14B)
    speeds = [tokens_per_second(one, settings(), gpu(24)) for one in (moe, dense)]
    assert speeds[0] is not None
    assert speeds[1] is not None
    assert speeds[0][1] > speeds[1][1]


def test_24_the_memory_of_several_cards_was_added_up() -> None:
    one, two = plan(gpus(13_000), eight("F16")), plan(gpus(6500, 6500), eight("F16"))
    assert (one.picked, two.picked) == (None, None)
    assert plan(gpus(10_500, 10_500), eight("F16")).picked is not None
    assert plan(gpus(20_000, 1000), eight("F16")).picked is None  # 21,000 together


def test_25_total_and_available_memory_were_compared_with_each_other() -> None:
    for hardware in (gpu(24), gpus(12_000, 8000), cpu(16)):
        found = plan(hardware)
        for one in found.candidates:
            for need in one.devices:
                total = {device.name: device.usable for device in hardware.devices}
                assert need.budget == total.get(need.name, hardware.system_memory or 0) - GIB
            assert one.slack == min(need.budget - need.needs for need in one.devices)


def test_26_all_memory_of_an_apple_chip_was_taken_for_gpu_memory() -> None:
    found = table.named("m3-pro-18gb")
    assert found is not None
    assert (found.devices[0].usable, found.system_memory) == (12 * GIB, 18 * GIB)
    assert plan(found).candidates[0].devices[0].budget == 11 * GIB


def test_27_a_header_without_a_key_gave_nan() -> None:
    header = shapes.GEMMA2_9B.header("Q4_K_M")
    for key in ("attention.head_count", "embedding_length", "block_count"):
        metadata = {name: value for name, value in header.metadata.items() if name != f"gemma2.{key}"}
        with pytest.raises(BaseProblem, match=f"gemma2.{key}"):
            shape_of(replace(header, metadata=metadata))


@pytest.mark.parametrize(("kind", "size"), [("q8_0", 34), ("q5_1", 24), ("q4_1", 20), ("q4_0", 18)])
def test_28_bytes_of_a_block_were_taken_for_bytes_of_an_element(kind: str, size: int) -> None:
    assert cache_bytes(32, kind) == size
    assert cache_bytes(32 * 100, kind) == 100 * size


@pytest.mark.parametrize(
    ("model", "kv"),
    [
        (GEMMA3_27B, 2 * 16 * 128 * 2 * (10 * 8192 + 52 * 1536)),
        (HYBRID_9B, 8 * 8192 * 2 * 4 * 256 * 2 + 24 * 4 * (3 * (4096 + 2 * 16 * 128) + 128 * 4096)),
        (DEEPSEEK_V3, 61 * 8192 * 576 * 2),
        (shapes.GPT_OSS_20B, 2 * 8 * 64 * 2 * (12 * 8192 + 12 * 768)),
        (shapes.QWEN25_7B, 28 * 8192 * 2 * 4 * 128 * 2),
        (shapes.LLAMA_8B, 32 * 8192 * 2 * 8 * 128 * 2),
    ],
    ids=["sliding", "hybrid", "latent", "alternating", "grouped", "plain"],
)
def test_29_one_formula_for_the_cache_was_used_for_every_architecture(model: shapes.Model, kv: int) -> None:
    assert share(model).kv == kv


def test_30_a_tied_embedding_was_counted_as_two_matrices_on_the_gpu() -> None:
    weights = shape(QWEN3_SMALL, "Q8_0").weights
    assert weights.device == pytest.approx(639e6 - 6e6, rel=0.01)  # its file, less the vocabulary
    assert weights.device == weights.file


def test_31_the_cache_was_guessed_from_the_number_of_parameters() -> None:
    grouped, plain = shape(shapes.QWEN25_7B), shape(shapes.LLAMA_8B)
    assert grouped.parameters == pytest.approx(plain.parameters, rel=0.06)
    caches = [share(model).kv for model in (shapes.QWEN25_7B, shapes.LLAMA_8B)]
    assert caches[0] * 16 == caches[1] * 7


def test_32_what_one_view_said_another_did_not() -> None:
    found = plan(gpu(12))
    document = plan_dict(found)
    (row,) = [line for line in resolve_lines([found], verbose=1) if line.startswith(" ▸")]
    assert document["picked"]["bytes"]["total"] == int(row.split()[6])
    assert document["picked"]["devices"][0]["needs"] == document["picked"]["bytes"]["total"]
    assert document["picked"] in document["candidates"]


def test_33_a_large_card_was_read_as_small_and_ram_taken_for_its_memory() -> None:
    carved = f"card0\t0x1586\t{96 * GIB}\t0\t{16 * GIB}\t\t\t0xc1\n"
    (device,) = amd_sysfs.devices(carved)
    assert device.memory == 96 * GIB
    rich = replace(gpu(24), system_memory=512 * GIB)
    assert plan(rich, [candidate(shapes.LLAMA_70B, "70b", "Q4_K_M")]).picked is None


def test_34_a_quant_was_read_from_a_files_name() -> None:
    said: dict[str, Any] = {"general.name": "llama-8b-Q3_K_P", "general.file_type": 12}
    header = shapes.LLAMA_8B.header("Q3_K_M", **said)
    assert quant_of(header) == "Q3_K_M"
    unnamed = shapes.LLAMA_8B.header("Q8_0")
    assert quant_of(unnamed) == "Q8_0"  # from its tensors


def test_35_a_second_process_of_the_server_held_memory_on_every_gpu() -> None:
    found = plan(gpus(24_000, 24_000), [candidate(shapes.LLAMA_70B, "70b", "Q4_K_M")])
    assert found.picked is not None
    for need in found.picked.devices:
        assert 24_000 * MIB - need.needs > 700 * MIB
    assert [24_000 * MIB - need.budget for need in found.picked.devices] == [GIB, GIB]


def test_there_is_one_for_each() -> None:
    numbers = [int(name[5:7]) for name in globals() if name.startswith("test_") and name[5:7].isdigit()]
    assert numbers == list(range(1, 36))
    assert Layer() == Layer(key=0, value=0, window=None, state=0)
