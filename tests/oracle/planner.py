"""llama.cpp's own planner, in processes of its own, for machines that are not here.

`PLANNERS` has the builds; `Planner.ask` gives one answer a question. Needs a C compiler, for the devices that do
not exist (fakegpu.c); what it compiles lies beside the parts that .ci/parts builds.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge import process
from modelforge.gguf import LongArray
from tests import ggufs
from tests.live.servers import NEW, PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from modelforge.gguf import Header

HERE = Path(__file__).parent
WHEEL = "2026.10.11549"
"""The xllamacpp whose parameters child.py knows; pyproject.toml pins it. The last number is llama.cpp's build."""
Question = dict[str, Any]


class NoPlanner(Exception):
    """There is no such planner here; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Planner:
    """llama.cpp of one build. `api` is the version of its backend interface."""

    build: int
    api: int
    libraries: tuple[Path, ...]

    def ask(self, questions: Sequence[Question], folder: Path) -> list[Any]:
        """An answer for each; None where llama.cpp ended the process instead of answering."""
        answers: list[Any] = []
        while len(answers) < len(questions):
            more, why = self._ask(questions[len(answers) :], folder)
            answers += more
            if len(answers) < len(questions):
                if why:
                    raise AssertionError(why)
                answers.append(None)
        return answers

    def _ask(self, questions: Sequence[Question], folder: Path) -> tuple[list[Any], str]:
        asked = folder / f"questions-{os.getpid()}.json"
        asked.write_text(json.dumps(questions), encoding="utf-8")
        command = [
            sys.executable,
            str(HERE / "child.py"),
            str(self.build),
            str(fake_devices(self.api)),
            str(asked),
        ]
        done = process.run(
            [*command, *map(str, self.libraries)],
            environment={**os.environ, "GGML_NO_BACKTRACE": "1"},
            seconds=600,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.endswith(("]", "}"))]
        return lines, done.stderr if done.code == 1 else ""


def wheel() -> Planner:
    """The build in the xllamacpp wheel.

    Raises:
        NoPlanner: it is not installed, or another version is.
    """
    try:
        found = version("xllamacpp")
    except PackageNotFoundError:
        raise NoPlanner("xllamacpp is not installed") from None
    if found != WHEEL:
        raise NoPlanner(f"xllamacpp is {found}; the layout of its parameters is known for {WHEEL}")
    spec = importlib.util.find_spec("xllamacpp")
    assert spec
    assert spec.origin
    return Planner(
        build=int(WHEEL.rpartition(".")[2]),
        api=3,
        libraries=tuple(Path(spec.origin).parent.glob("xllamacpp*.so")),
    )


def ollama() -> Planner:
    """The build that Ollama 0.32 starts.

    Raises:
        NoPlanner: .ci/parts has not built it.
    """
    folder = PARTS / f"ollama-{NEW}" / "lib" / "ollama"
    names = ("ggml-base", "ggml-cpu", "ggml", "llama", "llama-common")
    libraries = tuple(folder / f"lib{name}.so" for name in names)
    if not all(library.exists() for library in libraries):
        raise NoPlanner(f"no {libraries[-1]}; .ci/parts builds it")
    return Planner(build=10488, api=2, libraries=libraries)


PLANNERS = {"b11549": wheel, "b10488": ollama}


def fake_devices(api: int) -> Path:
    """The library of devices that do not exist, compiled when it is first needed.

    Raises:
        NoPlanner: there is no C compiler.
    """
    source = HERE / "fakegpu.c"
    name = f"modelforge-fakegpu-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}-{api}.so"
    made = PARTS / "oracle" / name
    if made.exists():
        return made
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoPlanner("no C compiler (cc) for the devices that do not exist")
    made.parent.mkdir(parents=True, exist_ok=True)
    part = made.with_suffix(f".{os.getpid()}.part")
    options = ["-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-DFAKE_API={api}"]
    done = process.run([compiler, *options, "-o", str(part), str(source)], seconds=60)
    assert done.code == 0, done.stderr
    part.replace(made)
    return made


def write_sparse(path: Path, header: Header) -> Path:
    """A GGUF of full size with no weights and no vocabulary, which takes a few KiB of disk."""
    metadata: Mapping[str, object] = {
        **{key: value for key, value in header.metadata.items() if not isinstance(value, LongArray)},
        "tokenizer.ggml.model": "none",
        "tokenizer.ggml.token_type_count": 2,
    }
    table = [(tensor.name, tensor.dims, tensor.type) for tensor in header.tensors]
    ggufs.write_gguf(path, metadata, table)
    return path


def question(
    file: Path,
    *,
    memory: Iterable[int] = (),
    context: int,
    batch: int = 512,
    parallel: int = 1,
    kv: str = "f16",
    flash: bool = True,
    embeddings: bool = False,
    cuda: bool = True,
    decide: bool = False,
) -> Question:
    """What child.py asks; memory in bytes a device, none for the CPU alone; context for all requests together."""
    return {
        "file": str(file),
        "memory": list(memory),
        "context": context,
        "batch": batch,
        "parallel": parallel,
        "kv": kv,
        "flash": flash,
        "embeddings": embeddings,
        "cuda": cuda,
        "decide": decide,
    }
