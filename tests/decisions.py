"""The decisions for public models on named devices, as text that a person can judge: `python -m tests.decisions`.

Writes tests/golden/decisions.txt; `test_decisions.py` compares. A change of it belongs into the review of what
changed it.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.hardware import Hardware, table
from modelforge.resolve import Plan, resolve
from modelforge.units import GIB
from modelforge.views.plans import speed_text
from tests import shapes
from tests.plans import candidate, profile

if TYPE_CHECKING:
    from modelforge.bases import Candidate
    from tests.shapes import Model

GOLDEN = Path(__file__).parent / "golden" / "decisions.txt"
NUM_CTX = 8192
QUANTS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M")
MODELS: dict[str, list[tuple[Model, str, tuple[str, ...]]]] = {
    "llama3.2 1b, 3b": [(shapes.LLAMA_3B, "3b", QUANTS), (shapes.LLAMA_1B, "1b", QUANTS)],
    "llama3.1 8b": [(shapes.LLAMA_8B, "8b", QUANTS)],
    "llama3.1 8b, 70b": [(shapes.LLAMA_70B, "70b", QUANTS), (shapes.LLAMA_8B, "8b", QUANTS)],
    "qwen2.5 3b, 7b, 14b": [
        (shapes.QWEN25_14B, "14b", QUANTS),
        (shapes.QWEN25_7B, "7b", QUANTS),
        (shapes.QWEN25_3B, "3b", QUANTS),
    ],
    "gemma2 9b": [(shapes.GEMMA2_9B, "9b", QUANTS)],
    "gemma3 12b": [(shapes.GEMMA3_12B, "12b", QUANTS)],
    "qwen3 30b-a3b": [(shapes.QWEN3_30B_A3B, "30b", QUANTS)],
    "gpt-oss 20b": [(shapes.GPT_OSS_20B, "20b", ("F16", "Q8_0", "MXFP4"))],
    "deepseek-v2 16b": [(shapes.DEEPSEEK2_LITE, "16b", QUANTS)],
    "qwen3-next 80b": [(shapes.QWEN3_NEXT_80B, "80b", QUANTS)],
    "lfm2 1.2b": [(shapes.LFM2_1B, "1.2b", QUANTS)],
    "mamba2 2.7b": [(shapes.MAMBA2_3B, "2.7b", QUANTS)],
}
DEVICES = (
    "gtx-1650",
    "rtx-2060",
    "rtx-3070",
    "rtx-3060-12gb",
    "rtx-4060-ti-16gb",
    "rtx-4090",
    "rtx-5090",
    "rtx-a6000",
    "t4",
    "l4",
    "a100-80gb",
    "rx-7900-xtx",
    "arc-b580",
    "m2-8gb",
    "m3-pro-18gb",
    "m4-max-64gb",
    "cpu-16gb",
    "cpu-64gb",
    "2 x rtx-3090",
    "rtx-4090 + rtx-3060-12gb",
)


@cache
def candidates(model: str) -> tuple[Candidate, ...]:
    return tuple(candidate(shape, size, quant) for shape, size, quants in MODELS[model] for quant in quants)


def hardware(name: str) -> Hardware:
    """A line of the named table, or several of them in one machine with 64 GiB."""
    if name.startswith("2 x "):
        name = " + ".join([name[4:]] * 2)
    parts = [found for part in name.split(" + ") for found in [table.named(part)] if found]
    assert len(parts) == name.count(" + ") + 1, name
    if len(parts) == 1:
        return parts[0]
    devices = tuple(device for part in parts for device in part.devices)
    return Hardware(name=name, backend=parts[0].backend, devices=devices, system_memory=64 * GIB)


def plan(model: str, device: str) -> Plan:
    wanted = profile(parameters={"num_ctx": NUM_CTX})
    return resolve(wanted, hardware(device), candidates(model), variant="v")


def line(found: Plan) -> str:
    """`8b Q6_K   1.5 GiB left   40–79 tok/s`, or what is lacking."""
    picked = found.picked
    if picked is None:
        lacks = found.next_better.lacks / GIB if found.next_better else 0.0
        return f"{'–':<12}  {-lacks:6.1f}  {'–':>9}"
    told = speed_text(picked.tokens_per_second)
    name = f"{picked.candidate.size} {picked.candidate.quant}"
    spread = f"  on {len(picked.devices)}" if len(picked.devices) > 1 else ""
    return f"{name:<12}  {picked.slack / GIB:+6.1f}  {told:>9}{spread}"


def text() -> str:
    lines = [
        f"Picks at num_ctx {NUM_CTX}, kv f16, with the default policy. slack: GiB of the budget that are left,",
        "below 0 what the smallest candidate lacks. Written by: python -m tests.decisions",
    ]
    for model in MODELS:
        lines += ["", f"{model:<28}{'pick':<12}  {'slack':>6}  {'tok/s':>9}"]
        lines += [f"  {device:<26}{line(plan(model, device))}".rstrip() for device in DEVICES]
    return "\n".join(lines) + "\n"


def main() -> int:
    GOLDEN.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
