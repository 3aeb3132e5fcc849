"""Our figures against llama.cpp's own planner, the one inside Ollama 0.32: the same weights, cache and graph.

The models are GGUF files without weights, planned for on the CPU. Their vocabulary is small: the tool
reserves logits for the whole batch, which a server does not.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from modelforge import process
from modelforge.gguf import LongArray
from modelforge.memory import footprint
from modelforge.shape import shape_of
from modelforge.units import MIB
from tests import ggufs, shapes
from tests.live.servers import NEW, PARTS
from tests.oracle.models import dense, mixtures, qwen, recurrent
from tests.plans import cpu, settings

if TYPE_CHECKING:
    from pathlib import Path

PLANNER = PARTS / f"ollama-{NEW}" / "lib" / "ollama" / "llama-fit-params"
MODEL = re.compile(r"- (?:Host|CPU_REPACK|AMX) +\| +\d+ = +(\d+) \+ +(\d+) \+")
COMPUTE = re.compile(r"CPU compute buffer size = +([\d.]+) MiB")


@pytest.fixture(scope="module")
def planner() -> Path:
    if not PLANNER.exists():
        pytest.skip(f"no {PLANNER}; .ci/parts builds it")
    return PLANNER


@pytest.mark.parametrize(
    "more",
    [
        {"num_ctx": 4096},
        {"num_ctx": 32768, "num_batch": 1024},
        {"num_ctx": 8192, "kv_cache": "q8_0"},
        {"num_ctx": 4096, "parallel": 4},
        {"num_ctx": 8192, "flash_attention": "off"},
    ],
)
@pytest.mark.parametrize(
    ("model", "quant"),
    [
        (shapes.LLAMA_8B, "Q4_K_M"),
        (shapes.QWEN25_7B, "Q6_K"),
        (shapes.GEMMA3_12B, "Q4_K_M"),
        (shapes.QWEN3_30B_A3B, "Q4_K_M"),
        (shapes.DEEPSEEK2_LITE, "Q4_K_M"),
        (shapes.LFM2_1B, "Q8_0"),
        (shapes.MAMBA2_3B, "Q8_0"),
        (qwen.QWEN3_8B, "Q4_K_M"),
        (dense.PHI4_14B, "Q4_K_M"),
        (mixtures.MIXTRAL_8X7B, "Q4_K_M"),
        (mixtures.OLMOE_7B, "Q4_K_M"),
        (dense.STARCODER2_3B, "Q8_0"),
        (dense.NEMOTRON_MINI_4B, "Q8_0"),
        (dense.GLM4_9B, "Q4_K_M"),
        (dense.EXAONE4_32B, "Q4_K_M"),
        (recurrent.GRANITE4_TINY, "Q4_K_M"),
        (recurrent.JAMBA_MINI, "Q4_K_M"),
        (recurrent.NEMOTRON_NANO_9B, "Q4_K_M"),
    ],
)
def test_the_planner_of_ollama_agrees(
    planner: Path, tmp_path: Path, model: shapes.Model, quant: str, more: dict[str, Any]
) -> None:
    header = replace(model, vocabulary=1024, tied=False).header(quant)
    metadata = {key: value for key, value in header.metadata.items() if not isinstance(value, LongArray)}
    file = tmp_path / "model.gguf"
    table = [(tensor.name, tensor.dims, tensor.type) for tensor in header.tensors]
    ggufs.write_gguf(file, {**metadata, "tokenizer.ggml.model": "none"}, table)
    run = settings(**more)
    share = footprint(shape_of(header), run, cpu(64)).shares[0]

    flash = "off" if run.flash_attention == "off" else "on"
    command = [
        str(planner),
        "-m",
        str(file),
        "-lv",
        "5",
        "-c",
        str(min(run.num_ctx, model.context) * run.parallel),
    ]
    command += ["-np", str(run.parallel), "-b", str(run.num_batch), "-ub", str(run.num_batch), "-fa", flash]
    command += ["-ctk", run.kv_cache, "-ctv", run.kv_cache]
    done = process.run(command, seconds=60)
    told = done.stdout + done.stderr
    parts = MODEL.findall(told)
    compute = COMPUTE.search(told)
    assert parts, told[-2000:]
    assert compute, told[-2000:]
    assert abs(share.weights / MIB - sum(int(weights) for weights, _ in parts)) <= 3
    assert abs(share.kv / MIB - sum(int(kv) for _, kv in parts)) <= 1
    planned = float(compute[1])
    over = share.compute / MIB - planned
    assert -max(0.02 * planned, 1) <= over <= max(0.2 * planned, 64)
