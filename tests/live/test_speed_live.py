"""What tests/oracle/speed.py measures with: a model without weights that generates, in each runtime.

How fast is not asserted: that is a matter of the machine, and docs/accuracy.md has it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests import shapes
from tests.oracle.speed import SHORT, TOKENS, embedded, served, write_speaking

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.servers import Server

SMALL = replace(shapes.LLAMA_1B, layers=2, vocabulary=1024)


@pytest.fixture(params=[False, True], ids=["hole", "filled"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_speaking(tmp_path / "small.gguf", SMALL.header("Q4_K_M"), filled=request.param)


def test_a_model_of_nothing_speaks_in_ollama(server: Server, file: Path) -> None:
    with served(server, file, SHORT) as ask:
        tokens, speed = ask("aaaa")
    assert tokens == TOKENS
    assert speed > 0


def test_a_model_of_nothing_speaks_in_the_embedded_runtime(file: Path) -> None:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    with embedded(file, SHORT) as ask:
        tokens, speed = ask("aaaa")
    assert tokens == TOKENS
    assert speed > 0
