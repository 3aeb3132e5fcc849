"""How fast modelforge reads a usual model's header, against gguf-py's reader, in one run.

    .venv/bin/python benchmarks/gguf_header.py [--rounds 5] [--reference-rounds 1]

Writes a header with the vocabulary of a current model (151,936 tokens, 151,387 merges, 400 tensors; the
weights are a hole), reads it with both in turn, prints the medians and the memory, and exits with 1 where
the promise is broken: at least 150 times as fast as gguf.GGUFReader, and at most 100 ms.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))

from modelforge.gguf import read_header
from tests.ggufs import Typed, write_gguf

if TYPE_CHECKING:
    from collections.abc import Callable

TOKENS = 151_936
MERGES = 151_387
TENSORS = 400
LEAST_RATIO = 150.0
MOST_MILLISECONDS = 100.0


def write_usual(path: Path) -> None:
    """A header as large as that of a current 7B model."""
    metadata: dict[str, object] = {
        "general.architecture": "qwen2",
        "general.file_type": 15,
        "qwen2.context_length": 32768,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": Typed("str", tuple(f"tok{n:05d}" for n in range(TOKENS))),
        "tokenizer.ggml.token_type": Typed("i32", (1,) * TOKENS),
        "tokenizer.ggml.merges": Typed("str", tuple(f"a{n % 997} b{n % 991}" for n in range(MERGES))),
        "tokenizer.chat_template": "{{ messages }}" * 200,
    }
    write_gguf(path, metadata, [(f"blk.{n}.weight", (256, 256), "Q4_K") for n in range(TENSORS)])


def median_seconds(call: Callable[[], object], rounds: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def python_peak(call: Callable[[], object]) -> int:
    """Most bytes that Python held while the call ran, above what it held before."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def peak_memory() -> float:
    """The process's own peak so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / (1 << 20)


def agree(path: Path) -> bool:
    """Whether both readers see the same keys and tensors."""
    from gguf import GGUFReader  # noqa: PLC0415 (numpy would count towards our memory)

    theirs, ours = GGUFReader(path), read_header(path)
    keys = {key for key in theirs.fields if not key.startswith("GGUF.")}
    tensors = [(t.name, tuple(int(dim) for dim in t.shape), int(t.n_bytes)) for t in theirs.tensors]
    return keys == set(ours.metadata) and tensors == [(t.name, t.dims, t.bytes) for t in ours.tensors]


def main() -> int:
    """Measures, prints, judges."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="reads by modelforge, per read by gguf-py")
    parser.add_argument("--reference-rounds", type=int, default=1, help="reads by gguf-py")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "usual.gguf"
        write_usual(path)
        heap = python_peak(lambda: read_header(path))
        before = peak_memory()
        read_header(path)
        growth = peak_memory() - before
        from gguf import GGUFReader  # noqa: PLC0415 (see above)

        ours, theirs = [], []
        for _ in range(options.reference_rounds):
            ours.append(median_seconds(lambda: read_header(path), options.rounds))
            theirs.append(median_seconds(lambda: GGUFReader(path), 1))
        same = agree(path) if options.reference_rounds else True
    ms, reference = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
    print(f"modelforge     {ms:10.1f} ms   heap {heap / (1 << 20):.1f} MiB, process +{growth:.1f} MiB")
    print(f"gguf.GGUFReader{reference:10.1f} ms   process at {peak_memory():.0f} MiB")
    print(
        f"ratio          {reference / ms:10.0f}      (at least {LEAST_RATIO:.0f}, at most {MOST_MILLISECONDS:.0f} ms)"
    )
    print(f"same keys and tensors: {'yes' if same else 'NO'}")
    return 0 if same and ms <= MOST_MILLISECONDS and reference / ms >= LEAST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
