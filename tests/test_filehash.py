from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelforge.errors import BaseProblem
from modelforge.filehash import Hashes

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE = 60_000_000_000


def later(nanoseconds: int = MINUTE) -> Callable[[], int]:
    return lambda: time.time_ns() + nanoseconds


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def test_the_digest_is_the_content_s(tmp_path: Path, model: Path) -> None:
    assert Hashes(tmp_path / "cache").sha256(model) == digest(b"weights")


def test_a_file_at_rest_is_read_once(tmp_path: Path, model: Path) -> None:
    hashes = Hashes(tmp_path / "cache", later())
    reads: list[int] = []
    assert hashes.known(model) is None
    first = hashes.sha256(model, reads.append)
    assert Hashes(tmp_path / "cache").known(model) == first
    assert Hashes(tmp_path / "cache").sha256(model, reads.append) == first
    assert reads == [7]


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path, model: Path) -> None:
    for age in (0, 1_000_000_000):
        hashes = Hashes(tmp_path / "cache", lambda age=age: model.stat().st_ctime_ns + age)  # type: ignore[misc]
        hashes.sha256(model)
        assert hashes.known(model) is None


def test_a_change_is_seen_even_with_size_and_mtime_put_back(tmp_path: Path, model: Path) -> None:
    hashes = Hashes(tmp_path / "cache", later())
    before = model.stat()
    hashes.sha256(model)
    time.sleep(0.02)
    model.write_bytes(b"WEIGHTS")
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hashes.known(model) is None
    assert hashes.sha256(model) == digest(b"WEIGHTS")


def test_another_file_moved_over_is_seen(tmp_path: Path, model: Path) -> None:
    hashes = Hashes(tmp_path / "cache", later())
    hashes.sha256(model)
    other = tmp_path / "other"
    other.write_bytes(b"WEIGHTS")
    other.replace(model)
    assert hashes.known(model) is None


def test_a_link_shares_its_target_s_entry(tmp_path: Path, model: Path) -> None:
    hashes = Hashes(tmp_path / "cache", later())
    hashes.sha256(model)
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    assert hashes.known(link) == digest(b"weights")


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"file": 1}', b"\xff", b"[" * 100_000])
def test_a_broken_entry_is_hashed_again(tmp_path: Path, model: Path, broken: bytes) -> None:
    hashes = Hashes(tmp_path / "cache", later())
    hashes.sha256(model)
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_bytes(broken)
    assert hashes.known(model) is None
    assert hashes.sha256(model) == digest(b"weights")
    assert hashes.known(model) == digest(b"weights")


def test_an_entry_with_no_digest_is_not_believed(tmp_path: Path, model: Path) -> None:
    hashes = Hashes(tmp_path / "cache", later())
    hashes.sha256(model)
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "digest": "sha256:../../x"}))
    assert hashes.known(model) is None


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.touch()
    os.truncate(path, 9 << 20)
    told: list[int] = []
    Hashes(tmp_path / "cache").sha256(path, told.append)
    assert told == [4 << 20, 8 << 20, 9 << 20]


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, model: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    hashes = Hashes(tmp_path / "cache", later())
    assert hashes.sha256(model) == digest(b"weights")
    assert hashes.known(model) is None


def test_nothing_half_written_stays(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert Hashes(tmp_path / "cache", later()).sha256(model) == digest(b"weights")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, model: Path) -> None:
    def grow(_: int) -> None:
        model.write_bytes(b"longer than before")

    with pytest.raises(BaseProblem, match="changed while it was read"):
        Hashes(tmp_path / "cache", later()).sha256(model, grow)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.gguf"
    with pytest.raises(BaseProblem, match="cannot be read: No such file") as caught:
        Hashes(tmp_path / "cache").sha256(path)
    assert caught.value.problems[0].file == str(path)
    assert Hashes(tmp_path / "cache").known(path) is None
