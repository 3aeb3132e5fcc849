"""The words of "Speed" in docs/accuracy.md."""

from __future__ import annotations

import platform
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge.units import GIB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TITLE = "## Speed\n"
HEADING = "\n## "
WIDTH = 120


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model with what it reads for a token (bytes), and tokens a second: the estimate's ends, and each runtime's.

    `context`: tokens in its cache, 0 where there are next to none. `filled`: the file has weights.
    """

    model: str
    quant: str
    context: int
    filled: bool
    read: int
    estimate: tuple[float, float]
    speeds: Mapping[str, float]

    @property
    def within(self) -> int:
        low, high = self.estimate
        return sum(low <= speed <= high for speed in self.speeds.values())


def section(*, rows: Sequence[Row], cores: int, bandwidths: Sequence[float], others: float) -> str:
    """That part of the page, in Markdown.

    `bandwidths`: bytes a second, taken before, between and after; `others`: the part of the processor.
    """
    text = _TEXT.format(
        cores=cores,
        machine=platform.machine(),
        bandwidth=max(bandwidths) / 1e9,
        least=min(bandwidths) / 1e9,
        others=100 * others,
        within=sum(row.within for row in rows),
        whole=sum(len(row.speeds) for row in rows),
    )
    parts = [
        textwrap.fill(" ".join(part.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
        for part in text.strip().split("\n\n")
    ]
    return "\n\n".join((TITLE.strip(), *parts, "\n".join(_table(rows, max(bandwidths))))) + "\n"


def found(page: str) -> str:
    """That part of a page, "" where there is none."""
    head, title, rest = page.partition(TITLE)
    del head
    return title and (title + rest.partition(HEADING)[0]).rstrip() + "\n"


def replaced(page: str, text: str) -> str:
    """The page with another such part, or with its first, at the end."""
    old = found(page)
    return page.replace(old, text) if old else page.rstrip() + "\n\n" + text if text else page


def _table(rows: Sequence[Row], bandwidth: float) -> list[str]:
    names = [name if name.isalpha() else f"Ollama {name}" for name in rows[0].speeds]
    lines = [
        f"| model | GiB a token | estimate | {' | '.join(names)} | in the range | of the bandwidth |",
        f"|---|---:|---|{'---:|' * len(names)}---:|---|",
    ]
    for row in rows:
        more = [f"{row.context} tokens of context"] * (row.context > 0) + ["weights filled in"] * row.filled
        name = f"{row.model} {row.quant}" + (f", {', '.join(more)}" if more else "")
        reached = [100 * speed * row.read / bandwidth for speed in row.speeds.values()]
        cells = (
            name,
            f"{row.read / GIB:.2f}",
            f"{row.estimate[0]:.1f} … {row.estimate[1]:.1f}",
            *(f"{speed:.1f}" for speed in row.speeds.values()),
            f"{row.within} of {len(row.speeds)}",
            f"{min(reached):.0f} … {max(reached):.0f} %",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


_TEXT = """
Tokens a second without an accelerator: what the estimate says for the bandwidth that a machine reaches, and what the
three runtimes do on it. `make accuracy` measures this, too. No test does: how fast a machine is, is no fault of ours.

The machine: {cores} {machine} cores, which read {bandwidth:.0f} GB/s together (libc's `memchr` over 1 GiB, a part for
each core). That is the best of all rounds, and what the estimate is made with; taken again after each model it was
between {least:.0f} and that. The models have the shapes of public ones and a hole for weights, which the system reads
into as many pages of zeros; one is measured again with the hole filled. One request makes 24 tokens, with next to
nothing in the context where it is not said; the figure is the runtime's own (Ollama's `eval_count` / `eval_duration`),
the best of four. Other programs had at most {others:.0f} % of the processor meanwhile. All three runtimes take all
cores, and AVX2 on x86. Ollama 0.24.0 has the library for that beside it, as in its releases: what Go alone compiles has
no such kernels and is several times slower, which no estimate covers.

{within} of {whole} figures are in the range. It goes from a quarter to all of the bandwidth, as processors do in public
benchmarks ([speed.py](../modelforge/speed.py) names them). Nearly all of it is reached where there are many cores for
each memory channel. With few cores, making tokens waits for arithmetic: the fewer bits a weight has, the less of the
bandwidth is used. Which it will be cannot be told from the bandwidth alone, so the range is wide.
"""
