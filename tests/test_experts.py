"""Mixtures of experts over several devices: the layouts of llama.cpp's planner, b10488, on GPUs that do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.memory import footprint
from modelforge.settings import automatic_batch
from modelforge.shape import shape_of
from modelforge.units import MIB
from tests.oracle.models import MODELS
from tests.plans import gpus, settings

if TYPE_CHECKING:
    from modelforge.memory import Footprint


def placed(name: str, quant: str, context: int, memory: tuple[int, ...]) -> Footprint:
    shape = shape_of(MODELS[name][0].header(quant))
    return footprint(shape, settings(context, num_batch=automatic_batch(context)), gpus(*memory))


@pytest.mark.parametrize(
    ("name", "quant", "context", "memory", "weights", "compute"),
    [
        # the rest of a layer's feed-forward on the next device, and the output moved ahead of the last one
        ("OLMoE 7B", "Q4_K_M", 4096, (2033, 4067, 2033, 2033), (673, 2584, 705, 0), (64, 72, 72, 0)),
        # a part of the last layer alone on the third device
        ("gpt-oss 20B", "MXFP4", 4096, (3300, 9000, 2300, 2300), (1957, 7678, 405, 1105), (92, 100, 84, 1)),
        ("gpt-oss 20B", "MXFP4", 32768, (10360, 5180), (8380, 2764), (240, 235)),
        (
            "Qwen3 30B-A3B",
            "Q4_K_M",
            4096,
            (4768, 9537, 4768, 4768),
            (3375, 8165, 3550, 2434),
            (88, 84, 88, 88),
        ),
        # no layer in parts, so all is a pipeline, which goes into the headroom
        ("Mixtral 8x7B", "Q3_K_M", 32768, (10140,) * 3, (7232, 7232, 6678), (704, 768, 768)),
        ("Mixtral 8x7B", "Q3_K_M", 32768, (19597, 9798), (15122, 6020), (704, 768)),
    ],
)
def test_layers_and_parts_lie_where_llama_cpp_puts_them(
    name: str,
    quant: str,
    context: int,
    memory: tuple[int, ...],
    weights: tuple[int, ...],
    compute: tuple[int, ...],
) -> None:
    found = placed(name, quant, context, memory)
    assert found.slack >= 0
    assert tuple(round(share.weights / MIB) for share in found.shares) == weights
    for share, planned in zip(found.shares, compute, strict=True):
        assert -1 <= share.compute / MIB - planned <= 64


def test_parts_are_in_no_byte_more_than_the_whole() -> None:
    shape = shape_of(MODELS["OLMoE 7B"][0].header("Q4_K_M"))
    found = placed("OLMoE 7B", "Q4_K_M", 4096, (2033, 4067, 2033, 2033))
    assert sum(share.weights for share in found.shares) == shape.device_weights


@pytest.mark.parametrize(
    ("name", "quant", "context", "memory"),
    [
        # the output could lie ahead of two devices: llama.cpp then counts below zero, and gives up with an error
        ("gpt-oss 20B", "MXFP4", 4096, (2200, 12000, 2300, 2300)),
        # the last device has not the room for the output
        ("gpt-oss 20B", "MXFP4", 4096, (2200, 9000, 1800, 1500)),
        # draft layers, for which llama.cpp leaves as many of the first layers in system memory
        ("GLM-4.5 Air", "Q4_K_M", 16384, (33342, 16671, 25006, 50013)),
        # experts are left over
        ("gpt-oss 20B", "MXFP4", 4096, (2200, 9000, 2300, 2300)),
    ],
)
def test_where_llama_cpp_leaves_something_in_system_memory_it_does_not_fit(
    name: str, quant: str, context: int, memory: tuple[int, ...]
) -> None:
    assert placed(name, quant, context, memory).slack < 0


def test_without_a_table_of_tensors_nothing_is_known_of_parts() -> None:
    header = MODELS["Mixtral 8x7B"][0].header("Q3_K_M")
    bare = shape_of(type(header)(metadata=header.metadata, tensors=(), file_bytes=header.file_bytes))
    run = settings(32768, num_batch=automatic_batch(32768))
    assert footprint(bare, run, gpus(19597, 9798)).slack < 0
