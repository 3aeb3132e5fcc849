"""Headers that are kept: the same as those read, never those of a file that changed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from modelforge.bases import headercache
from modelforge.bases.headercache import kept_header
from modelforge.errors import BaseProblem
from modelforge.gguf import Header, read_header
from tests.ggufs import Typed, tiny_llama

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = {"tokenizer.ggml.tokens": Typed("str", tuple(f"t{n}" for n in range(2000)))}
SHORT = {"x.short": Typed("i32", (1, 2, 3)), "x.real": 0.1, "x.flag": True, "x.text": "日本\n"}


@pytest.fixture
def at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock at which every file has been at rest for long."""
    later = time.time_ns() + 10**12
    monkeypatch.setattr(time, "time_ns", lambda: later)


def read_count(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on."""
    reads: list[str] = []

    def read(path: Path, name: str) -> Header:
        reads.append(path.name)
        return read_header(path, name)

    monkeypatch.setattr(headercache, "read_header", read)
    return reads


@pytest.mark.usefixtures("at_rest")
def test_a_header_is_read_once_and_kept_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tiny_llama(tmp_path / "a.gguf", metadata=TOKENS | SHORT)
    reads = read_count(monkeypatch)
    first, second = (kept_header(file, "a", tmp_path / "kept") for _ in range(2))
    assert first == second == read_header(file)
    assert [type(value) for value in first.metadata.values()] == [
        type(value) for value in second.metadata.values()
    ]
    assert reads == ["a.gguf"]


@pytest.mark.usefixtures("at_rest")
def test_a_file_that_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tiny_llama(tmp_path / "a.gguf", layers=2)
    kept_header(file, "a", tmp_path / "kept")
    before = file.stat()
    tiny_llama(file, layers=3)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    reads = read_count(monkeypatch)
    assert kept_header(file, "a", tmp_path / "kept").metadata["llama.block_count"] == 3
    assert reads == ["a.gguf"]


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    file = tiny_llama(tmp_path / "a.gguf")
    kept_header(file, "a", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.usefixtures("at_rest")
@pytest.mark.parametrize(
    "damage", ["", "[]", "{", '{"header": 7}', '{"header": {"format": 1, "metadata": [], "tensors": 3}}']
)
def test_what_is_damaged_is_read_anew(tmp_path: Path, damage: str) -> None:
    file = tiny_llama(tmp_path / "a.gguf")
    expected = kept_header(file, "a", tmp_path / "kept")
    (entry,) = (tmp_path / "kept").iterdir()
    text = entry.read_text(encoding="ascii")
    head, _, _ = text.partition('"header"')
    entry.write_text(head + damage[1:] if damage.startswith('{"header"') else damage, encoding="ascii")
    assert kept_header(file, "a", tmp_path / "kept") == expected


@pytest.mark.usefixtures("at_rest")
def test_a_very_long_text_and_a_folder_that_cannot_be_written_only_cost_time(tmp_path: Path) -> None:
    file = tiny_llama(tmp_path / "a.gguf", metadata={"tokenizer.chat_template": "x" * (1 << 20 | 1)})
    kept_header(file, "a", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    small = tiny_llama(tmp_path / "b.gguf")
    assert kept_header(small, "b", small / "no") == read_header(small)


def test_errors_are_those_of_reading(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    for name in ("missing", "loop", "bad.gguf"):
        with pytest.raises(BaseProblem):
            kept_header(tmp_path / name, name, tmp_path / "kept")
