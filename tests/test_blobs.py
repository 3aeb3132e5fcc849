"""Blobs: content-addressed files that appear whole or not at all, and refusals that say what to do."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess  # noqa: TID251 (a process number that is surely dead)
import sys
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import pytest

from modelforge.errors import BuildFailed
from modelforge.runtimes import blobs as module
from modelforge.runtimes.blobs import Blobs, make_folder, sweep, temporary

DATA = b"weights " * 1000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def nobody(_done: int, _whole: int) -> None:
    """Hears nothing."""


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "store" / "blobs")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(DATA)
    os.utime(file, (1000, 1000))
    file.chmod(0o600)
    return file


def refuse(number: int) -> Any:
    def raising(*_args: object, **_kwargs: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return raising


def test_a_file_becomes_a_readable_blob_of_now(blobs: Blobs, source: Path) -> None:
    heard: list[tuple[int, int]] = []
    added = blobs.add_file(source, digest=None, link=False, told=lambda *told: heard.append(told))
    path = blobs.path(added.digest)
    assert (added.digest, added.size) == (DIGEST, len(DATA))
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.stat().st_mtime > 1e9
    assert heard == [(len(DATA), len(DATA))]
    assert [file.name for file in blobs.folder.iterdir()] == [path.name]
    assert (source.stat().st_mtime, stat.S_IMODE(source.stat().st_mode)) == (1000, 0o600)


def test_folders_are_open_to_the_server_whatever_the_umask(blobs: Blobs) -> None:
    before = os.umask(0o077)
    try:
        make_folder(blobs.folder)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (blobs.folder, blobs.folder.parent)} == {0o755}


def test_a_blob_that_is_there_is_not_read_again_but_touched(blobs: Blobs, source: Path) -> None:
    blobs.add_bytes(DATA)
    os.utime(blobs.path(DIGEST), (1000, 1000))
    added = blobs.add_file(source, digest=DIGEST, link=False, told=lambda *_: pytest.fail("it was read"))
    assert added.how == "there"
    assert blobs.path(DIGEST).stat().st_mtime > 1e9


@pytest.mark.parametrize("wrong", [b"", DATA[:-1], DATA + b"x"])
def test_a_blob_of_the_wrong_size_is_written_anew(blobs: Blobs, source: Path, wrong: bytes) -> None:
    make_folder(blobs.folder)
    blobs.path(DIGEST).write_bytes(wrong)
    blobs.add_file(source, digest=DIGEST, link=False, told=nobody)
    assert blobs.path(DIGEST).read_bytes() == DATA


def test_a_small_blob_with_wrong_bytes_is_written_anew(blobs: Blobs) -> None:
    make_folder(blobs.folder)
    blobs.path(DIGEST).write_bytes(DATA[::-1])
    assert blobs.add_bytes(DATA).digest == DIGEST
    assert blobs.path(DIGEST).read_bytes() == DATA


def test_a_link_is_the_very_file_and_leaves_its_times_and_mode(blobs: Blobs, source: Path) -> None:
    added = blobs.add_file(source, digest=DIGEST, link=True, told=nobody)
    assert added.how == "link"
    assert blobs.path(DIGEST).samefile(source)
    assert (source.stat().st_mtime, stat.S_IMODE(source.stat().st_mode)) == (1000, 0o600)


def test_where_no_link_can_be_made_it_is_copied(
    blobs: Blobs, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "hardlink_to", refuse(errno.EXDEV))
    assert blobs.add_file(source, digest=DIGEST, link=True, told=nobody).how != "link"
    assert not blobs.path(DIGEST).samefile(source)


def test_where_blocks_can_be_shared_nothing_is_copied(
    blobs: Blobs, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def share(origin: BinaryIO, target: BinaryIO) -> bool:
        os.pwrite(target.fileno(), os.pread(origin.fileno(), len(DATA), 0), 0)
        return True

    monkeypatch.setattr(module, "_share_blocks", share)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: pytest.fail("it needs no room"))
    added = blobs.add_file(source, digest=None, link=False, told=nobody)
    assert (added.how, added.digest) == ("reflink", DIGEST)
    assert blobs.path(DIGEST).stat().st_mtime > 1e9


def test_a_file_that_is_not_what_it_was_is_refused(blobs: Blobs, source: Path) -> None:
    source.write_bytes(DATA[::-1])
    with pytest.raises(BuildFailed, match=r"model\.gguf changed while it was read"):
        blobs.add_file(source, digest=DIGEST, link=False, told=nobody)
    assert list(blobs.folder.iterdir()) == []


def test_too_little_room_is_seen_before_a_byte_is_copied(
    blobs: Blobs, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_share_blocks", lambda *_: False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 6, 4))
    with pytest.raises(BuildFailed, match=r"full: 7\.8 KiB needed, 4 B free") as caught:
        blobs.add_file(source, digest=DIGEST, link=False, told=lambda *_: pytest.fail("it was read"))
    assert "another disk" in str(caught.value.problems[0].hint)
    assert list(blobs.folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_leaves_nothing_behind(
    blobs: Blobs, source: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(module, "_share_blocks", lambda *_: False)
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.raises(BuildFailed, match="is full") as caught:
        blobs.add_file(source, digest=DIGEST, link=False, told=nobody)
    assert caught.value.exit_code == 7
    assert list(blobs.folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_store_of_somebody_else_is_named_with_its_owner(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Path, "owner", lambda _path: "ollama")
    monkeypatch.setattr(Path, "mkdir", refuse(number))
    with pytest.raises(BuildFailed, match=r"cannot be written: .* belongs to ollama") as caught:
        blobs.add_bytes(b"x")
    assert "--runtime ollama" in str(caught.value.problems[0].hint)


def test_a_read_only_disk_is_called_that(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", refuse(errno.EROFS))
    with pytest.raises(BuildFailed, match=r"store cannot be written: its file system is read-only"):
        blobs.add_bytes(b"x")


def test_a_store_that_may_not_be_looked_into_is_said(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "stat", refuse(errno.EACCES))
    with pytest.raises(BuildFailed, match=r"cannot be read \(Permission denied\)"):
        blobs.size(DIGEST)


def test_any_other_refusal_says_what_the_system_said(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(BuildFailed, match=r"could not be written \(Input/output error\)"):
        blobs.add_bytes(b"x")


@pytest.mark.parametrize(
    "digest", ["", "sha256:12", "../../etc/passwd", "sha256:" + "A" * 64, "sha512:" + "a" * 64]
)
def test_only_a_digest_names_a_blob(blobs: Blobs, digest: str) -> None:
    with pytest.raises(ValueError, match="no sha256 digest"):
        blobs.path(digest)


@pytest.mark.processes
def test_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    mine = temporary(tmp_path, "sha256-modelforge-")
    dead = tmp_path / mine.name.replace(str(os.getpid()), str(int(done.stdout)))
    elsewhere = tmp_path / "sha256-modelforge-00000000-1-aa"
    for path in (mine, dead, elsewhere):
        path.touch()
    sweep(tmp_path, "sha256-modelforge-")
    assert sorted(tmp_path.iterdir()) == sorted([mine, elsewhere])
