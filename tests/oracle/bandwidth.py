"""How fast this machine reads memory, and how much of it other programs take meanwhile.

Read, not copied: a model's weights are only read. libc's `memchr` looks for a byte that is not there, a part of the
memory in each thread; it is written for the processor's widest registers and does next to nothing with what it
reads, so a loop that a compiler made of a sum over 64-bit numbers is no faster.
"""

from __future__ import annotations

import ctypes
import mmap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from modelforge.units import GIB

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = GIB
"""Bytes that are read: far more than processors have as cache."""
THERE, ABSENT = 1, 2


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The same figure, taken several times: the best of them, and the part of the processor that others took then."""

    best: float
    others: float


def bandwidth(threads: int, rounds: int = 5) -> Reading:
    """Bytes a second that so many threads read together, the best of the rounds."""
    search = ctypes.CDLL(None).memchr
    search.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    search.restype = ctypes.c_void_p
    each = SIZE // threads
    memory = ctypes.c_char.from_buffer(mmap.mmap(-1, SIZE))  # which goes with it
    start = ctypes.addressof(memory)
    ctypes.memset(start, THERE, SIZE)
    with ThreadPoolExecutor(threads) as pool:

        def read() -> float:
            began = time.perf_counter()
            found = list(pool.map(lambda part: search(start + part * each, ABSENT, each), range(threads)))
            assert not any(found)
            return each * threads / (time.perf_counter() - began)

        return best_of(read, rounds)


def best_of(figure: Callable[[], float], rounds: int) -> Reading:
    """Takes a figure so many times. Only a disturbance makes it lower, so the highest is nearest to the truth."""
    return max((_watched(figure) for _ in range(rounds)), key=lambda reading: reading.best)


def _watched(figure: Callable[[], float]) -> Reading:
    began, all_before, own_before = time.perf_counter(), _all_programs(), _own_programs()
    best = figure()
    seconds = (time.perf_counter() - began) * (psutil.cpu_count() or 1)
    taken = (_all_programs() - all_before) - (_own_programs() - own_before)
    return Reading(best=best, others=max(0.0, taken / seconds))


def _all_programs() -> float:
    """Seconds that all processors worked so far; those that the host gave to other machines count."""
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def _own_programs() -> float:
    """Seconds of this process and of all that it started and that still run."""
    this = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (this, *this.children(recursive=True)))
