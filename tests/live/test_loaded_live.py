"""What a real Ollama 0.32.15 takes when it loads the shapes of public models on this CPU, by its own log.

The models are files with real headers and holes for weights: a name in the store leads to each. Loading reads the
holes as zeros, so that memory is really taken.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelforge.memory import footprint
from modelforge.shape import shape_of
from modelforge.units import MIB
from tests import shapes
from tests.live.servers import NEW, Server
from tests.oracle.models import dense, mixtures, qwen
from tests.oracle.planner import write_sparse
from tests.plans import cpu, settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = re.compile(r"load_tensors: +\S+ model buffer size = +([\d.]+) MiB")
CACHE = re.compile(r"llama_kv_cache\w*: +\S+ KV buffer size = +([\d.]+) MiB")
STATE = re.compile(r"llama_memory_recurrent: +\S+ RS buffer size = +([\d.]+) MiB")
COMPUTE = re.compile(r"CPU compute buffer size = +([\d.]+) MiB")
OUTPUT = re.compile(r"CPU +output buffer size = +([\d.]+) MiB")
CONTEXT = 4096
BATCH = 512
NAME = "shape"


def told(pattern: re.Pattern[str], log: str) -> float:
    """The sum of a kind of buffer, in MiB."""
    return sum(float(size) for size in pattern.findall(log))


@pytest.fixture
def server(servers: Callable[[str], Server]) -> Server:
    found = servers(NEW)
    found.start()
    found.clear()
    return found


@pytest.mark.parametrize(
    ("model", "quant"),
    [
        pytest.param(shapes.LLAMA_3B, "Q4_K_M", id="llama 3b"),
        pytest.param(shapes.QWEN25_3B, "Q8_0", id="qwen2 3b"),
        pytest.param(qwen.QWEN3_8B, "Q4_K_M", id="qwen3 8b"),
        pytest.param(dense.STARCODER2_3B, "Q8_0", id="starcoder2 3b"),
        pytest.param(dense.NEMOTRON_MINI_4B, "Q4_K_M", id="nemotron 4b"),
        pytest.param(shapes.LFM2_1B, "Q8_0", id="lfm2 1b"),
        pytest.param(mixtures.OLMOE_7B, "Q4_K_M", id="olmoe 7b"),
        pytest.param(shapes.MAMBA2_3B, "Q8_0", id="mamba2 3b"),
    ],
)
def test_a_load_takes_what_was_planned(
    server: Server, tmp_path: Path, model: shapes.Model, quant: str
) -> None:
    header = replace(model, context=max(model.context, CONTEXT)).header(quant)
    server.put(NAME, write_sparse(tmp_path / f"{model.architecture}.gguf", header))
    before = len(server.log())
    options = {"num_ctx": CONTEXT, "num_batch": BATCH}
    server.call("POST", "/api/generate", {"model": NAME, "prompt": "", "options": options, "stream": False})
    log = server.log()[before:]
    server.clear()
    share = footprint(shape_of(header), settings(CONTEXT, num_batch=BATCH), cpu(64)).shares[0]
    weights, compute = told(WEIGHTS, log), told(COMPUTE, log) + told(OUTPUT, log)
    cache = told(CACHE, log) + told(STATE, log)
    assert weights, log[-3000:]
    assert compute, log[-3000:]
    assert abs(share.weights / MIB - weights) <= 0.5, (share.weights / MIB, weights)
    assert abs(share.kv / MIB - cache) <= 0.5, (share.kv / MIB, cache)
    planned, loaded = share.needs / MIB, weights + cache + compute
    assert planned - loaded >= -64
    assert abs(planned / loaded - 1) <= 0.015, (planned, loaded)
