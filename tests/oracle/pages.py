"""The words of docs/accuracy.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENGINES = {"b10488": "0.32", "b11549": "0.33"}
"""The Ollama whose rules are held to each build of llama.cpp. No Ollama is known to have b11549; xllamacpp has."""

TOOLS = [
    "| tool | median error | 90 % below | largest | too low by over 2 % |",
    "|---|---:|---:|---:|---:|",
    "| Ollama `PredictServerVRAM` | 5.2 % | 27 % | 96 % | 8 of 28 |",
    "| Ollama `GraphSize` (before 0.30), as in xllamacpp's `memory.py` | 13.8 % | 84 % | 175 % | 2 of 28 |",
    "| llmfit | 13.9 % | 46 % | 109 % | 2 of 28 |",
    "| oobabooga's regression | 18.5 % | 87 % | 146 % | 0 of 28 |",
    "| whichllm | 20.8 % | 60 % | 132 % | 3 of 28 |",
    "| gollama | 30.9 % | 168 % | 222 % | 1 of 28 |",
]


def span(values: Sequence[float]) -> str:
    """The least and the most, signed, with one decimal."""
    return (
        f"{min(values):+.1f} … {max(values):+.1f}".replace("-", "−").replace("+0.0", "0").replace("−0.0", "0")
    )


def page(
    *,
    models: int,
    cells: Mapping[str, Sequence[str]],
    decisions: Sequence[str],
    rules: Sequence[str],
    tools: Sequence[str],
) -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD.format(models=models)]
    for build, table in cells.items():
        parts += [_CELLS[build], "\n".join(table)]
    parts += [_DECISIONS, "\n".join(decisions), _RULES, "\n".join(rules), _TOOLS, "\n".join(tools)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


_HEAD = """
# How accurate the plan is

`make accuracy` measures all that is said here again, and writes this page; an ordinary test run takes a sample. How a
plan is made is told in [How fit is decided](explanation/fit.md).

The truth is llama.cpp's own planner, the function by which Ollama's server decides how much of a model goes on the
GPUs. It loads {models} public models without their weights (a GGUF file with the header and a hole) and lays out their
graphs, on the CPU and on GPUs that do not exist but say how much memory they have, and align and pad as CUDA's do. It
is not what a driver's monitor shows: CUDA's own context (some 330 MiB) is in neither figure; the headroom is for that.

A cell is one model with one context (2048 to the model's own limit), batch (256 to 2048), KV cache type (f16, q8_0,
q4_0), flash attention on or off, one request or four, on CUDA, on another GPU, or on the CPU. Weights and KV cache are
the largest difference in bytes; compute and footprint (all three together) the least and the most, in percent of
llama.cpp's. Where rows are not padded (Metal) weights may be planned up to 64 KiB too high; those cells are left out of
that column. `~`: over-estimated, and the plan says so.
"""
_CELLS = {
    "b10488": "## llama.cpp b10488, which Ollama 0.32 starts",
    "b11549": "## llama.cpp b11549\n\nIn the embedded runtime's xllamacpp 2026.10.11549.",
}
_DECISIONS = """
## Decisions

Whether a model fits whole on the cards, layers in parts included, by llama.cpp b10488's `common_fit_params` with its
margin of 1 GiB on each card, and by us with the same headroom. Where 64 MiB more or less on each card would change our
answer, nothing is compared. With b11549 no "fits" of ours may be false either; a no may be, on several cards: what a
mixture of experts needs there while it is placed, and what recurrent layers add to a pipeline, is an upper bound.
"""
_RULES = """
## Rules of thumb on the same truth

The cells of b10488 above on CUDA with flash attention and an f16 cache, encoders left out. Ollama's preflight is what
its scheduler forecasts to choose a GPU (`PredictServerVRAM` in llm/llama_server.go, 0.32): the file's size, and two ×
layers × fewest KV heads × embedding / heads × context × two bytes. The other is the rule that goes round in articles
and calculators: parameters × bits of a weight / 8 × 1.2, with the bits that the quant's name says.
"""
_TOOLS = """
## Other tools

As of September 2026, not measured again by `make accuracy`. Each tool's published formula was written down anew and put
on the same kind of truth: 14 models at contexts of 4096 and 32768, batch 512, flash attention, f16 cache, llama.cpp
b11549, one GPU. Most of these add something for the driver, which the truth has not; with 400 MiB added to the truth
the medians are 3.3, 9.7, 5.4, 12.9, 15.9 and 21.0 %.
"""
