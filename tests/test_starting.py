"""What `init` lets a new project build on: only what fits this machine, can answer, and is fast enough."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from modelforge import starting
from modelforge.errors import Unreachable
from modelforge.hardware import Device
from modelforge.runtimes import WEIGHTS
from modelforge.runtimes.choose import OllamaAccess, access_of
from modelforge.scaffold import Found
from modelforge.starting import starting_point
from modelforge.units import GIB
from tests.ggufs import tiny_llama
from tests.projects import GAMER, LAPTOP, FakeAccess, place
from tests.shapes import LLAMA_1B, LLAMA_8B, LLAMA_70B, NOMIC_EMBED

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.site import Site
    from tests.projects import Place

SLOW = replace(LAPTOP, system_memory=64 * GIB, system_bandwidth=20 * 10**9)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A machine with an RTX 4090 and a server that has nothing yet."""
    made = place(tmp_path)
    made.machine = replace(GAMER, devices=(replace(GAMER.devices[0], bandwidth=1008 * 10**9),))

    def access(site: Site) -> FakeAccess:
        return FakeAccess(place=made, real=access_of(site))

    monkeypatch.setattr(starting, "access_of", access)
    return made


def served(name: str, **more: Any) -> Found:
    return Found(model=f"{name}:latest", training_context=LLAMA_8B.context, **more)


def has(here: Place, **models: Any) -> None:
    for name, shape in models.items():
        here.runtime.stand(f"{name}:latest")
        here.runtime.headers[f"{name}:latest"] = shape.header("Q8_0")


def found_in(here: Place, root: Path, **more: Any) -> Found:
    return starting_point(here.site(**more), root)


def test_the_largest_that_fits_is_taken(here: Place, tmp_path: Path) -> None:
    has(here, small=LLAMA_1B, middle=LLAMA_8B, large=LLAMA_70B)
    assert found_in(here, tmp_path / "new") == served("middle")
    here.machine = replace(here.machine, devices=(Device(name="x", memory=6 * GIB, bandwidth=10**12),))
    assert found_in(here, tmp_path / "new") == served("small")
    assert not (tmp_path / "new").exists()


def test_what_cannot_answer_is_passed_over(here: Place, tmp_path: Path) -> None:
    has(here, embedder=NOMIC_EMBED, assistant=LLAMA_8B)  # the latter is what the new profile would make
    here.runtime.stand("elsewhere:latest")  # 1000 bytes: no weights
    here.runtime.stand(f"{WEIGHTS}:0123")
    here.runtime.headers[f"{WEIGHTS}:0123"] = LLAMA_8B.header("Q8_0")
    here.runtime.stand("gpt-oss:20b-cloud")
    here.runtime.headers["gpt-oss:20b-cloud"] = LLAMA_8B.header("Q8_0")
    assert found_in(here, tmp_path / "new").demo is not None
    has(here, small=LLAMA_1B)
    assert found_in(here, tmp_path / "new") == served("small")


def test_a_smaller_one_is_better_than_a_slow_one(here: Place, tmp_path: Path) -> None:
    here.machine = SLOW
    has(here, small=LLAMA_1B, middle=LLAMA_8B)
    assert found_in(here, tmp_path / "new") == served("small")
    del here.runtime.models["small:latest"]
    assert found_in(here, tmp_path / "new") == served("middle")


def test_files_of_the_folder_come_first(here: Place, tmp_path: Path) -> None:
    has(here, small=LLAMA_1B)
    root = tmp_path / "new"
    (root / "models").mkdir(parents=True)
    tiny_llama(root / "models" / "own-Q8_0.gguf", context=512)
    assert found_in(here, root) == Found(model="./models/own-Q8_0.gguf", training_context=512)


def test_a_server_that_was_named_is_written_down(here: Place, tmp_path: Path) -> None:
    has(here, small=LLAMA_1B)
    host = "127.0.0.1:9999"
    found = starting_point(here.site({"host": host}, host_given=True), tmp_path / "new")
    assert found == served("small", host=f"http://{host}")


def test_a_server_whose_machine_nobody_knows_is_not_planned_for(
    here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(here, small=LLAMA_1B)
    monkeypatch.setattr(OllamaAccess, "machine", lambda _self: None)
    assert found_in(here, tmp_path / "new").demo is not None


def test_no_server_at_all(here: Place, tmp_path: Path) -> None:
    def nobody() -> NoReturn:
        raise Unreachable("nobody")

    here.runtime.list = nobody  # type: ignore[method-assign]
    assert found_in(here, tmp_path / "new").demo is not None
