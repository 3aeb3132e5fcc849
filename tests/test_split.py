"""Parts of a model become the file that they were."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelforge.errors import BaseProblem, BuildFailed
from modelforge.gguf import read_header
from modelforge.split import join, joined_header, parts_of, stem, why_part
from tests.ggufs import Typed, tensor_bytes, tiny_llama, write_gguf
from tests.splits import split_gguf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = ("F32", "F16", "Q8_0", "Q4_0", "Q4_K")


def unheard(_done: int, _whole: int) -> None:
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("split")


@st.composite
def models(draw: st.DrawFn) -> tuple[dict[str, object], list[tuple[str, tuple[int, ...], str]], list[int]]:
    """Metadata, tensors, and before which of them to cut; the first part may be without any."""
    metadata: dict[str, object] = {
        "general.architecture": "llama",
        "a.text": draw(st.text(max_size=20)),
        "a.list": tuple(draw(st.lists(st.integers(0, 9), min_size=1, max_size=5))),
        "a.float": Typed("f64", 0.1),
    }
    if draw(st.booleans()):
        metadata["general.alignment"] = draw(st.sampled_from((8, 32, 64, 256)))
    rows = st.tuples(st.integers(1, 3), st.integers(1, 5), st.sampled_from(KINDS))
    drawn = draw(st.lists(rows, min_size=1, max_size=8))
    tensors: list[tuple[str, tuple[int, ...], str]] = [
        (f"t{index}", (256 * width, rows), kind) for index, (width, rows, kind) in enumerate(drawn)
    ]
    cuts = draw(st.sets(st.integers(0, len(tensors)), min_size=1, max_size=4))
    return metadata, tensors, sorted(cuts)


@given(models())
def test_what_was_split_is_whole_again_byte_by_byte(
    folder: Path, model: tuple[dict[str, object], list[tuple[str, tuple[int, ...], str]], list[int]]
) -> None:
    metadata, tensors, cuts = model
    whole, again = folder / "whole.gguf", folder / "again.gguf"
    data = {name: os.urandom(tensor_bytes(dims, kind)) for name, dims, kind in tensors}
    write_gguf(whole, metadata, tensors, data=data)
    parts = split_gguf(whole, folder / "part", cuts)
    header = joined_header([read_header(part) for part in parts], [part.name for part in parts])
    assert (dict(header.metadata), header.tensors) == (
        dict(read_header(whole).metadata),
        read_header(whole).tensors,
    )
    digest = join(parts, again, unheard)
    assert again.read_bytes() == whole.read_bytes()
    assert digest == f"sha256:{hashlib.sha256(whole.read_bytes()).hexdigest()}"


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    parts = split_gguf(tiny_llama(tmp_path / "whole.gguf"), tmp_path / "part", [2, 5])
    heard: list[tuple[int, int]] = []
    join(parts, tmp_path / "again.gguf", lambda done, whole: heard.append((done, whole)))
    size = (tmp_path / "whole.gguf").stat().st_size
    assert heard[-1] == (size, size)
    assert heard == sorted(heard)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.gguf", ("a.gguf",)),
        ("m/a-00002-of-00003.gguf", tuple(f"m/a-0000{n}-of-00003.gguf" for n in (1, 2, 3))),
        ("A-00001-of-00002.GGUF", ("A-00001-of-00002.GGUF", "A-00002-of-00002.GGUF")),
        ("a-00001-of-00001.gguf", ("a-00001-of-00001.gguf",)),
        ("a-1-of-2.gguf", ("a-1-of-2.gguf",)),
    ],
)
def test_names_of_parts(name: str, parts: tuple[str, ...]) -> None:
    assert parts_of(name) == parts
    assert {stem(part) for part in parts} == {stem(name)}


def test_a_header_that_is_a_part_says_so(tmp_path: Path) -> None:
    parts = split_gguf(tiny_llama(tmp_path / "whole.gguf"), tmp_path / "part", [2])
    assert "split in 2" in (why_part(read_header(parts[0])) or "")
    assert why_part(read_header(tmp_path / "whole.gguf")) is None


def test_parts_that_are_none_are_not_joined(tmp_path: Path) -> None:
    parts = split_gguf(tiny_llama(tmp_path / "whole.gguf"), tmp_path / "part", [2, 5])
    with pytest.raises(BaseProblem, match=r"is no part 1 of 3: its split\.no is 1"):
        join([parts[1], parts[0], parts[2]], tmp_path / "again.gguf", unheard)
    with pytest.raises(BaseProblem, match=r"is no part 1 of 2: its split\.count is 3"):
        join(parts[:2], tmp_path / "again.gguf", unheard)
    assert sorted(tmp_path.glob("again*")) == []


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("what", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    parts = split_gguf(tiny_llama(tmp_path / "whole.gguf"), tmp_path / "part", [2])
    monkeypatch.setattr(what, full)
    with pytest.raises(
        BuildFailed, match=r"the parts of again\.gguf cannot be joined in .*: No space left"
    ) as caught:
        join(parts, tmp_path / "again.gguf", unheard)
    assert "make room there" in (caught.value.problems[0].hint or "")
    monkeypatch.undo()
    assert sorted(tmp_path.glob("again*")) == []


def test_too_small_a_disk_is_seen_before_a_byte_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = split_gguf(tiny_llama(tmp_path / "whole.gguf"), tmp_path / "part", [2])
    usage: Callable[[object], Any] = lambda _path: type("Usage", (), {"free": 10})  # noqa: E731
    monkeypatch.setattr("shutil.disk_usage", usage)
    with pytest.raises(BuildFailed, match=r"are needed, 10 B are free"):
        join(parts, tmp_path / "again.gguf", unheard)


def test_an_interrupted_join_leaves_nothing(tmp_path: Path) -> None:
    parts = split_gguf(tiny_llama(tmp_path / "whole.gguf"), tmp_path / "part", [2])

    def stop(_done: int, _whole: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        join(parts, tmp_path / "again.gguf", stop)
    assert sorted(tmp_path.glob("again*")) == []
