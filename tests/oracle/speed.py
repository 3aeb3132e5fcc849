"""Tokens a second as they are on this machine's processor, held to the estimate; writes that part of docs/accuracy.md.

python -m tests.oracle.speed

Models have the shapes of public ones and no weights: the file is a hole, which the system reads into pages of zeros,
as many as there would be of weights. One of them is filled with numbers besides, to see that it makes no difference.
The vocabulary is made up. All tokens are equally likely, so that the same one is taken again and again.
"""

from __future__ import annotations

import json
import os
import platform
import random
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from modelforge.gguf import LongArray
from modelforge.hardware import Hardware
from modelforge.runtimes.llama import Llama, Loading
from modelforge.shape import shape_of
from modelforge.speed import tokens_per_second
from modelforge.units import MIB
from tests import ggufs
from tests.live.servers import NEW, OLD, PARTS, Server, binary_of
from tests.oracle.bandwidth import Reading, bandwidth, best_of
from tests.oracle.models import MODELS
from tests.oracle.report import PAGE
from tests.oracle.speed_page import Row, replaced, section
from tests.plans import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from modelforge.gguf import Header

    Opened: TypeAlias = AbstractContextManager[Callable[[str], tuple[int, float]]]

TOKENS = 24
"""Made for each answer: Ollama ends one after thirty times the same token."""
ROUNDS = 4
SHORT = 256
"""Context where nothing else is said: little enough that the cache counts for nothing."""
BYTE_TOKENS = 256
FILLING = bytes(byte & 0x2F for byte in range(256))
"""No byte above 0x2f: whatever a block of any type reads as a 16-bit number is small and no NaN."""
WITH_LIBRARIES = PARTS / f"ollama-{OLD}" / "cpu" / "bin" / "ollama"
"""The old server as its releases are on x86, beside a library for this kind of processor; Go compiles for any."""


class NoRuntime(Exception):
    """There is no such runtime here; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured: a model with so many tokens of context, nearly all of them in use if it is `full`."""

    model: str
    quant: str
    context: int = SHORT
    full: bool = False
    filled: bool = False

    @property
    def header(self) -> Header:
        return MODELS[self.model][0].header(self.quant)

    @property
    def prompt(self) -> str:
        """A letter is a token."""
        return "a" * (self.context - 4 * TOKENS if self.full else 4)


CASES = (
    Case(model="Llama 3.2 1B", quant="F16"),
    Case(model="Llama 3.2 1B", quant="F16", filled=True),
    Case(model="Llama 3.2 1B", quant="Q8_0"),
    Case(model="Llama 3.2 1B", quant="Q4_K_M"),
    Case(model="Llama 3.2 1B", quant="IQ4_XS"),
    Case(model="Llama 3.2 1B", quant="Q2_K"),
    Case(model="StableLM 2 1.6B", quant="F16"),
    Case(model="StableLM 2 1.6B", quant="Q4_K_M"),
    Case(model="StableLM 2 1.6B", quant="Q4_K_M", context=1024, full=True),
    Case(model="StarCoder2 3B", quant="Q8_0"),
    Case(model="StarCoder2 3B", quant="Q3_K_M"),
    Case(model="Phi-3 mini", quant="Q4_K_M"),
    Case(model="Phi-3 mini", quant="Q6_K"),
    Case(model="Llama 3.1 8B", quant="Q4_K_M"),
    Case(model="OLMoE 7B", quant="Q4_K_M"),
)


def write_speaking(path: Path, header: Header, *, filled: bool = False) -> Path:
    """A GGUF that can generate: no weights, but a vocabulary of bytes and as many made-up words as the shape has."""
    size = next(value.length for value in header.metadata.values() if isinstance(value, LongArray))
    words = ["<a>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(BYTE_TOKENS))]
    words += [f"<{number}>" for number in range(len(words), size)]
    kinds = (1, 3, 3, *(6,) * BYTE_TOKENS)  # normal, control, control, bytes
    metadata: dict[str, object] = {
        **{key: value for key, value in header.metadata.items() if not isinstance(value, LongArray)},
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tuple(words),
        "tokenizer.ggml.scores": ggufs.Typed("f32", (0.0,) * size),
        "tokenizer.ggml.token_type": ggufs.Typed("i32", kinds + (1,) * (size - len(kinds))),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    table = [(tensor.name, tensor.dims, tensor.type) for tensor in header.tensors]
    ggufs.write_gguf(path, metadata, table)
    if filled:
        _fill(path, len(ggufs.header_bytes(metadata, table)))
    return path


def _fill(path: Path, start: int) -> None:
    """Writes numbers over all that comes after the header; it is padded with less than a block of them."""
    start, end = start + 63 & ~63, path.stat().st_size
    with path.open("r+b") as file:
        file.seek(start)
        for at in range(start, end, MIB):
            file.write(random.Random(at).randbytes(min(MIB, end - at)).translate(FILLING))


@contextmanager
def embedded(file: Path, context: int) -> Iterator[Callable[[str], tuple[int, float]]]:
    """The embedded runtime's llama.cpp with that model. Gives a function: prompt to tokens and tokens a second."""
    with tempfile.TemporaryDirectory() as scratch:
        llama = Llama(python=sys.executable, environment={"PATH": os.environ["PATH"]}, scratch=Path(scratch))
        try:
            llama.load(Loading(model=str(file), adapters=(), num_ctx=context))

            def ask(prompt: str) -> tuple[int, float]:
                turn = {"role": "user", "content": prompt}
                request = {"messages": [turn], "temperature": 0.0, "n_predict": TOKENS}
                reply = llama.chat(request, lambda _text: None, load_seconds=0)
                return reply.output_tokens, reply.tokens_per_second or 0.0

            yield ask
        finally:
            llama.close()


@contextmanager
def served(server: Server, file: Path, context: int) -> Iterator[Callable[[str], tuple[int, float]]]:
    """The same of an Ollama."""
    server.put("speed", file)
    options = {"num_ctx": context, "num_predict": TOKENS, "temperature": 0.0}

    def ask(prompt: str) -> tuple[int, float]:
        body = {"model": "speed", "prompt": prompt, "raw": True, "stream": False, "options": options}
        status, text = server.call("POST", "/api/generate", body)
        assert status == 200, text
        reply = json.loads(text)
        return reply["eval_count"], reply["eval_count"] / reply["eval_duration"] * 1e9

    try:
        yield ask
    finally:
        server.clear()


@contextmanager
def runtimes(folder: Path) -> Iterator[dict[str, Callable[[Path, int], Opened]]]:
    """What is measured, by name.

    Raises:
        NoRuntime: .ci/parts has not built it.
    """
    with ExitStack() as stack:
        found: dict[str, Callable[[Path, int], Opened]] = {"embedded": embedded}
        for version in (OLD, NEW):
            binary = (
                WITH_LIBRARIES if version == OLD and platform.machine() == "x86_64" else binary_of(version)
            )
            if binary is None or not binary.exists():
                raise NoRuntime(f"no Ollama {version} with its libraries in {PARTS}; .ci/parts builds it")
            server = Server(binary=binary, folder=folder / version, settings={"OLLAMA_NUM_PARALLEL": "1"})
            stack.callback(server.stop)
            server.start()
            server.clear()
            found[version] = partial(served, server)
        yield found


def speed_of(opened: Opened, prompt: str) -> Reading:
    """Tokens a second, the best of the rounds; the first answer, with which all is read into memory, does not count."""
    with opened as ask:

        def once() -> float:
            tokens, speed = ask(prompt)
            assert tokens == TOKENS, "it stopped early"
            return speed

        once()
        return best_of(once, ROUNDS)


def measure(folder: Path, threads: int) -> tuple[list[Row], list[float], float]:
    """A row for each case, the bandwidths that were found, and the most that others took in a run that counts."""
    bandwidths, measured, others = [bandwidth(threads).best], [], []
    with runtimes(folder) as found:
        for case in CASES:
            file = write_speaking(folder / "model.gguf", case.header, filled=case.filled)
            speeds = {
                name: speed_of(runtime(file, case.context), case.prompt) for name, runtime in found.items()
            }
            file.unlink()
            bandwidths.append(bandwidth(threads).best)
            others += [one.others for one in speeds.values()]
            told = ", ".join(f"{name} {one.best:.2f} ({one.others:.0%})" for name, one in speeds.items())
            sys.stderr.write(f"{case}: {told}; {bandwidths[-1] / 1e9:.1f} GB/s\n")
            measured.append((case, {name: one.best for name, one in speeds.items()}))
    return [row(case, speeds, max(bandwidths)) for case, speeds in measured], bandwidths, max(others)


def row(case: Case, speeds: dict[str, float], reached: float) -> Row:
    """A case with its estimate."""
    shape = shape_of(case.header)
    machine = Hardware(name="this", backend="cpu", system_bandwidth=round(reached))
    estimate = tokens_per_second(shape, settings(case.context), machine)
    assert estimate
    return Row(
        model=case.model,
        quant=case.quant,
        context=case.context if case.full else 0,
        filled=case.filled,
        read=shape.active_bytes,
        estimate=estimate,
        speeds=speeds,
    )


def main() -> None:
    """Measures, and writes what was found into the page."""
    threads = psutil.cpu_count(logical=False) or 1
    with tempfile.TemporaryDirectory() as folder:
        rows, bandwidths, others = measure(Path(folder), threads)
    text = section(rows=rows, cores=threads, bandwidths=bandwidths, others=others)
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
