"""What a base is made of comes to this machine: files of the Hub, parts that become one, an encoder."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelforge.bases import Candidate, HubFile, LocalFile, SplitModel
from modelforge.bases.quantized import file_digest, weights_digest
from modelforge.download import Fetch
from modelforge.errors import BaseProblem
from modelforge.filehash import Hashes
from modelforge.gather import gather, to_fetch, whole_file
from tests.fakes import Heard, some_candidate
from tests.ggufs import tiny_llama
from tests.projectors import projector_file
from tests.splits import split_gguf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Bench:
    """A folder of downloads, and a Hub with what is put on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.given = 0
        self.heard = Heard()
        self.hashes = Hashes(folder / "hashes")
        self.fetch = Fetch(open=self.open, folder=folder / "downloads")

    @contextmanager
    def open(self, digest: str, start: int) -> Iterator[Iterator[bytes]]:
        data = self.files[digest][start:]
        self.given += len(data)
        yield iter([data])

    def put(self, path: Path) -> HubFile:
        data, said = path.read_bytes(), digest(path)
        self.files[said] = data
        return HubFile(
            name="hf.co/org/repo:Q8_0",
            repository="org/repo",
            commit="0" * 40,
            path=path.name,
            digest=said,
            bytes=len(data),
            here=self.fetch.folder / f"{said[7:23]}-{path.name}",
        )

    def gather(self, base: Candidate) -> Candidate:
        return gather(base, self.fetch, self.hashes, self.heard)

    def left(self) -> list[str]:
        return sorted(path.name.partition("-")[2] for path in self.fetch.folder.glob("*.gguf"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "whole.gguf")


def digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_file_of_the_hub_and_its_encoder(bench: Bench, whole: Path, tmp_path: Path) -> None:
    encoder = projector_file(tmp_path / "mmproj.gguf")
    base = some_candidate(source=bench.put(whole), projector=bench.put(encoder))
    assert not base.gathered
    assert to_fetch(base, bench.fetch.folder, bench.hashes) == whole.stat().st_size + encoder.stat().st_size
    made = bench.gather(base)
    assert made.gathered
    assert isinstance(made.source, LocalFile)
    assert made.source.path.read_bytes() == whole.read_bytes()
    assert isinstance(made.projector, LocalFile)
    assert made.projector.path.read_bytes() == encoder.read_bytes()
    assert weights_digest(made, bench.hashes) == weights_digest(replace(base, digest=None), bench.hashes)
    assert to_fetch(base, bench.fetch.folder, bench.hashes) == 0


def test_a_file_that_is_no_encoder_is_named(bench: Bench, whole: Path) -> None:
    base = some_candidate(source=bench.put(whole), projector=bench.put(whole))
    with pytest.raises(
        BaseProblem, match="no encoder of images or sound: its architecture is llama"
    ) as caught:
        bench.gather(base)
    assert caught.value.problems[0].file == "whole.gguf of hf.co/org/repo"


def test_parts_of_the_hub_become_one_file_and_go(bench: Bench, whole: Path, tmp_path: Path) -> None:
    files = split_gguf(whole, tmp_path / "parts" / "whole", [2, 5])
    source = SplitModel(parts=tuple(bench.put(file) for file in files))
    base = some_candidate(source=source)
    assert to_fetch(base, bench.fetch.folder, bench.hashes) == sum(file.stat().st_size for file in files)
    assert file_digest(source, bench.hashes) is None
    made = bench.gather(base)
    assert isinstance(made.source, SplitModel)
    assert made.source.whole is not None
    assert made.source.whole.path.read_bytes() == whole.read_bytes()
    assert made.source.whole.path == whole_file(source, bench.fetch.folder, bench.hashes)
    assert bench.left() == ["whole.gguf"]
    assert file_digest(source, bench.hashes) == digest(whole)
    assert weights_digest(made, bench.hashes) == weights_digest(base, bench.hashes)
    given = bench.given
    assert to_fetch(base, bench.fetch.folder, bench.hashes) == 0
    assert bench.gather(base) == made
    assert bench.given == given


def test_parts_of_the_project_stay(bench: Bench, whole: Path, tmp_path: Path) -> None:
    files = split_gguf(whole, tmp_path / "parts" / "whole", [2, 5])
    parts = tuple(LocalFile(path=file, bytes=file.stat().st_size) for file in files)
    made = bench.gather(some_candidate(source=SplitModel(parts=parts)))
    assert isinstance(made.source, SplitModel)
    assert made.source.whole is not None
    assert digest(made.source.whole.path) == digest(whole)
    assert all(file.exists() for file in files)
    assert any("3 parts of" in text and "become one file" in text for text in bench.heard.texts)


def test_a_part_that_changed_becomes_another_file(bench: Bench, whole: Path, tmp_path: Path) -> None:
    files = split_gguf(whole, tmp_path / "parts" / "whole", [2])
    parts = tuple(LocalFile(path=file, bytes=file.stat().st_size) for file in files)
    base = some_candidate(source=SplitModel(parts=parts))
    first = bench.gather(base)
    data = bytearray(files[1].read_bytes())
    data[-1] ^= 1
    files[1].write_bytes(data)
    second = bench.gather(base)
    assert isinstance(first.source, SplitModel)
    assert isinstance(second.source, SplitModel)
    assert first.source.whole != second.source.whole
    assert weights_digest(first, bench.hashes) == weights_digest(
        second, bench.hashes
    )  # both are asked for now
    assert len(bench.left()) == 2
