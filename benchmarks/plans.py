"""What a thousand plans cost, over `modelforge --version`: 50 profiles for 20 devices, six candidates each.

    .venv/bin/python benchmarks/plans.py [--runs 7]

Writes a project whose six candidates are the quants of an 8B model with a vocabulary of 128,256 tokens (the weights
are a hole), and times `modelforge resolve --all --all-hardware` as a whole process, in turn with start-up. The
profiles differ in context, KV cache and requests; headers are kept from the first run on. Exits 1 above the limit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess  # noqa: TID251 (a benchmark times whole processes)
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests import shapes
from tests.ggufs import FILE_TYPES, Typed, write_gguf

ROOT = Path(__file__).parent.parent
RUNS = 7
LIMIT_SECONDS = 1.0
AT_REST = 2.5
"""Seconds: nothing is kept of a file that was written just now."""
QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "IQ4_XS")
TOKENS, MERGES = 128_256, 280_147
PROFILES = 50
DEVICES = (
    "gtx-1650", "rtx-2060", "rtx-3070", "rtx-3060-12gb", "rtx-4060-ti-16gb", "rtx-4090", "rtx-5090",
    "rtx-a6000", "t4", "l4", "a100-80gb", "rx-7900-xtx", "arc-b580", "m2-8gb", "m3-pro-18gb",
    "m4-max-64gb", "cpu-16gb", "cpu-64gb", "desk", "mixed",
)  # fmt: skip
CONTEXTS = (4096, 8192, 16384, 32768, 65536)
TWO_CARDS = """\
backend = "cuda"
system_memory = "64GiB"
[[device]]
like = "rtx-3090"
count = 2
"""
MIXED = TWO_CARDS.replace("count = 2", '[[device]]\nlike = "rtx-3060-12gb"')


def write_model(path: Path, quant: str) -> None:
    """A file as a current 8B model has it, without weights."""
    header = shapes.LLAMA_8B.header(quant)
    kept = {key: value for key, value in header.metadata.items() if not key.startswith("tokenizer.")}
    metadata: dict[str, object] = {
        **kept,
        "general.size_label": "8B",
        "general.file_type": FILE_TYPES[quant],
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": Typed("str", tuple(f"tok{n:06d}" for n in range(TOKENS))),
        "tokenizer.ggml.token_type": Typed("i32", (1,) * TOKENS),
        "tokenizer.ggml.merges": Typed("str", tuple(f"a{n % 997} b{n % 991}" for n in range(MERGES))),
    }
    write_gguf(path, metadata, [(one.name, one.dims, one.type) for one in header.tensors])


def write_project(root: Path) -> None:
    """Six files, 50 profiles for 20 devices; two of these are files of the project."""
    for folder in ("models", "profiles", "hardware"):
        (root / folder).mkdir()
    for quant in QUANTS:
        write_model(root / "models" / f"llama-8b-{quant}.gguf", quant)
    (root / "modelforge.toml").write_text('runtime = "embedded"\n', encoding="utf-8")
    (root / "hardware" / "desk.toml").write_text(TWO_CARDS, encoding="utf-8")
    (root / "hardware" / "mixed.toml").write_text(MIXED, encoding="utf-8")
    targets = ", ".join(f'"{name}"' for name in DEVICES)
    base = f'[base]\nmodel = "./models/llama-8b-*.gguf"\n[hardware]\ntargets = [{targets}]\n'
    (root / "profiles" / "_base.toml").write_text(base, encoding="utf-8")
    for number in range(PROFILES):
        cache = ("f16", "q8_0")[number // len(CONTEXTS) % 2]
        text = (
            f'extends = "_base"\nsystem = "You are number {number}."\n'
            f"[parameters]\nnum_ctx = {CONTEXTS[number % len(CONTEXTS)]}\n"
            f'[resolve]\nkv_cache = "{cache}"\nparallel = {1 + number // 10 % 4}\n'
        )
        (root / "profiles" / f"p{number:02d}.toml").write_text(text, encoding="utf-8")


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of one run; 4 means that something does not fit, which some of these do not."""
    start = time.perf_counter()
    code = subprocess.run(
        command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd=ROOT
    ).returncode
    taken = time.perf_counter() - start
    assert code in {0, 4}, code
    return taken


def main() -> int:
    """Writes the project, then times both in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    forge = [sys.executable, "-m", "modelforge"]
    with tempfile.TemporaryDirectory() as folder:
        write_project(Path(folder))
        time.sleep(AT_REST)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"MODELFORGE_STATE": f"{folder}/state", "MODELFORGE_CACHE": f"{folder}/cache"}
        resolve = ["-C", folder, "resolve", "--all", "--all-hardware"]
        seconds([*forge, *resolve], environment), seconds([*forge, "--version"], environment)
        pairs = [
            (seconds([*forge, *resolve], environment), seconds([*forge, "--version"], environment))
            for _ in range(arguments.runs)
        ]
    over = statistics.median(first - second for first, second in pairs)
    count = PROFILES * len(DEVICES)
    print(f"{count} plans  {statistics.median(first for first, _ in pairs):.2f} s")
    print(f"start-up    {statistics.median(second for _, second in pairs):.2f} s")
    print(f"over        {over:.2f} s (limit {LIMIT_SECONDS:.1f}), {over / count * 1e6:.0f} µs a plan")
    return 0 if over <= LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
