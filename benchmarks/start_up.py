"""How much `modelforge --help` costs over importing click, which it cannot do without.

Paired runs in turn, so that a machine that gets slower slows both. Prints the medians and their ratio;
exits 1 above the limit.
"""

from __future__ import annotations

import statistics
import subprocess  # noqa: TID251 (a benchmark times whole processes)
import sys
import time
from pathlib import Path

RUNS = 21
LIMIT = 1.5
FORGE = str(Path(sys.executable).with_name("modelforge"))
HELP = [FORGE, "--help"]
CLICK = [sys.executable, "-c", "import click"]


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Times both, `RUNS` times in turn."""
    seconds(HELP), seconds(CLICK)  # warm the file cache
    pairs = [(seconds(HELP), seconds(CLICK)) for _ in range(RUNS)]
    help_median = statistics.median(first for first, _ in pairs)
    click_median = statistics.median(second for _, second in pairs)
    ratio = statistics.median(first / second for first, second in pairs)
    print(f"modelforge --help {help_median * 1000:.0f} ms, import click {click_median * 1000:.0f} ms")
    print(f"ratio {ratio:.2f} (limit {LIMIT})")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
