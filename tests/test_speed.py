from __future__ import annotations

from dataclasses import replace

import pytest

from modelforge.memory import footprint, offloaded
from modelforge.shape import shape_of
from modelforge.speed import tokens_per_second
from tests import shapes
from tests.plans import cpu, gpu, gpus, settings

LLAMA_8B = {quant: shape_of(shapes.LLAMA_8B.header(quant)) for quant in ("F16", "Q8_0", "Q4_K_M", "Q2_K")}


def middle(pair: tuple[float, float] | None) -> float:
    assert pair is not None
    return float((pair[0] * pair[1]) ** 0.5)


@pytest.mark.parametrize(("quant", "measured"), [("Q4_K_M", 128), ("F16", 53)])
def test_an_8b_on_a_4090_is_about_as_fast_as_people_measure(quant: str, measured: float) -> None:
    pair = tokens_per_second(LLAMA_8B[quant], settings(), gpu(24))
    assert pair is not None
    assert pair[0] < measured < pair[1]


def test_fewer_bytes_are_faster_but_not_below_four_bits_by_as_much() -> None:
    f16, q8, q4, q2 = (middle(tokens_per_second(LLAMA_8B[q], settings(), gpu(24))) for q in LLAMA_8B)
    assert f16 < q8 < q4
    assert q2 / q4 < LLAMA_8B["Q4_K_M"].active_bytes / LLAMA_8B["Q2_K"].active_bytes


def test_the_range_is_wider_for_experts() -> None:
    dense = tokens_per_second(LLAMA_8B["Q4_K_M"], settings(), gpu(24))
    experts = tokens_per_second(shape_of(shapes.QWEN3_30B_A3B.header("Q4_K_M")), settings(), gpu(24))
    assert dense is not None
    assert experts is not None
    assert dense[1] / dense[0] == pytest.approx(1.96)
    assert experts[1] / experts[0] == pytest.approx(4)


@pytest.mark.parametrize("model", [shapes.LLAMA_8B, shapes.QWEN3_30B_A3B], ids=["dense", "experts"])
def test_a_processor_is_between_a_quarter_of_its_bandwidth_and_all_of_it(model: shapes.Model) -> None:
    shape, machine = shape_of(model.header("Q4_K_M")), cpu(64)
    pair = tokens_per_second(shape, settings(256), machine)
    assert pair is not None
    assert machine.system_bandwidth is not None
    all_of_it = machine.system_bandwidth / shape.active_bytes
    assert all_of_it / 4 == pytest.approx(pair[0], rel=0.05)
    assert all_of_it == pytest.approx(pair[1], rel=0.05)
    assert pair[1] < all_of_it


def test_unknown_bandwidth_is_no_estimate() -> None:
    assert tokens_per_second(LLAMA_8B["Q8_0"], settings(), gpu(24, bandwidth=None)) is None
    assert tokens_per_second(LLAMA_8B["Q8_0"], settings(), replace(cpu(16), system_bandwidth=None)) is None


def test_an_encoder_makes_no_tokens() -> None:
    assert tokens_per_second(shape_of(shapes.NOMIC_EMBED.header("F16")), settings(), gpu(24)) is None


def test_a_cpu_and_layers_on_it_are_slower() -> None:
    shape = LLAMA_8B["Q4_K_M"]
    whole = middle(tokens_per_second(shape, settings(), gpu(24)))
    part = middle(tokens_per_second(shape, settings(), gpu(5), placed=offloaded(shape, settings(), gpu(5))))
    alone = middle(tokens_per_second(shape, settings(), cpu(32)))
    assert whole > part > alone


def test_a_model_on_one_of_two_cards_has_that_cards_speed() -> None:
    shape, two = LLAMA_8B["Q8_0"], gpus(24000, 12000)
    fast, slow = two.devices
    mixed = replace(two, devices=(fast, replace(slow, bandwidth=fast.bandwidth and fast.bandwidth // 4)))
    pair = tokens_per_second(shape, settings(), mixed, placed=footprint(shape, settings(), mixed))
    assert middle(pair) == pytest.approx(middle(tokens_per_second(shape, settings(), gpu(24))), rel=0.01)


def test_two_cards_in_turn_are_as_fast_as_one() -> None:
    shape = LLAMA_8B["F16"]
    two = gpus(12000, 12000)
    pair = tokens_per_second(shape, settings(), two, placed=footprint(shape, settings(), two))
    assert middle(pair) == pytest.approx(middle(tokens_per_second(shape, settings(), gpu(24))), rel=0.01)
