"""Downloads that are cut, resumed, wrong or too large, with every byte counted that was asked for."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess  # noqa: TID251 (a process to be killed)
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelforge import download as downloads
from modelforge.bases import Blob, HubFile, LocalFile
from modelforge.download import (
    ENOUGH,
    STALE,
    DownloadCut,
    DownloadFailed,
    Fetch,
    Patience,
    Wanted,
    download,
    download_all,
    download_file,
    download_folder,
)
from modelforge.errors import ExitCode
from modelforge.http import CutOff
from tests.fakes import Heard

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = bytes(range(256)) * 40
PIECE = 1000
BIG = bytes(range(256)) * 8192
ROOT = Path(__file__).parents[1]


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def blob(data: bytes) -> Blob:
    return Blob(media_type="application/vnd.ollama.image.model", digest=digest(data), bytes=len(data))


@dataclass
class Registry:
    """Gives blobs in pieces. `cuts` are the bytes that each stream gives before it breaks off; None: all of them."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int | None] = field(default_factory=list)
    error: BaseException | None = field(
        default_factory=lambda: CutOff("http://r", "the connection broke off")
    )
    starts: list[int] = field(default_factory=list)
    given: int = 0
    wrong: bytes | None = None

    def put(self, data: bytes) -> Blob:
        self.blobs[digest(data)] = data
        return blob(data)

    @contextmanager
    def open(self, name: str, start: int) -> Iterator[Iterator[bytes]]:
        self.starts.append(start)
        data = self.blobs[name] if self.wrong is None else self.wrong
        yield self._pieces(data[start:], self.cuts.pop(0) if self.cuts else None)

    def _pieces(self, data: bytes, cut: int | None) -> Iterator[bytes]:
        whole = data if cut is None else data[:cut]
        for at in range(0, len(whole), PIECE):
            self.given += len(whole[at : at + PIECE])
            yield whole[at : at + PIECE]
        if cut is not None and self.error is not None:
            raise self.error


@dataclass
class Sleeper:
    slept: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def bring(
    registry: Registry, folder: Path, data: bytes = DATA, *, heard: Heard | None = None, pauses: int = 5
) -> Path:
    """One file, by `download_all` in a folder that is held."""
    emit = heard or Heard()
    patience = Patience(pauses=downloads.PAUSES[:pauses], sleep=Sleeper())
    fetch = Fetch(open=registry.open, folder=folder)
    with download_folder(folder, emit) as held:
        one = registry.put(data)
        return download_all(fetch, [one], held, name="coder:7b", emit=emit, patience=patience)[one.digest]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_file_arrives_whole_under_its_digest(tmp_path: Path) -> None:
    registry, heard = Registry(), Heard()
    file = bring(registry, tmp_path / "new" / "folder", heard=heard)
    assert file.read_bytes() == DATA
    assert file.name == digest(DATA).replace(":", "-")
    assert names(file.parent) == [file.name]
    assert (registry.starts, registry.given) == ([0], len(DATA))
    last: Any = heard.events[-1]
    assert (last.stage, last.text, last.done, last.total, last.unit) == (
        "pull",
        "coder:7b",
        len(DATA),
        len(DATA),
        "B",
    )


def test_what_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    bring(Registry(), tmp_path)
    registry = Registry()
    bring(registry, tmp_path)
    assert (registry.starts, registry.given) == ([], 0)


def test_a_cut_connection_goes_on_where_it_was(tmp_path: Path) -> None:
    registry, heard = Registry(cuts=[3000, 2500, None]), Heard()
    assert bring(registry, tmp_path, heard=heard).read_bytes() == DATA
    assert registry.starts == [0, 3000, 5500]
    assert registry.given == len(DATA)
    assert (
        "coder:7b: no answer from http://r: the connection broke off; trying again from 2.9 KiB on"
        in heard.texts
    )


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(None, id="ended early"),
        pytest.param(ConnectionResetError("reset"), id="reset"),
        pytest.param(TimeoutError(), id="timeout"),
    ],
)
def test_any_end_that_comes_too_early_is_a_cut(error: BaseException | None, tmp_path: Path) -> None:
    registry = Registry(cuts=[10, None], error=error)
    assert bring(registry, tmp_path).read_bytes() == DATA
    assert registry.starts == [0, 10]


def test_who_never_gives_anything_is_given_up_and_what_came_is_kept(tmp_path: Path) -> None:
    registry = Registry(cuts=[4000, *[0] * 9])
    with pytest.raises(
        DownloadCut, match=r"coder:7b .*the connection broke off \(3.9 KiB of 10.0 KiB"
    ) as caught:
        bring(registry, tmp_path, pauses=3)
    assert caught.value.exit_code == ExitCode.UNREACHABLE
    assert "goes on from there" in (caught.value.problems[0].hint or "")
    assert registry.starts == [0, 4000, 4000, 4000]
    assert names(tmp_path) == [digest(DATA).replace(":", "-") + ".part"]
    later = Registry()
    assert bring(later, tmp_path).read_bytes() == DATA
    assert (later.starts, later.given) == ([4000], len(DATA) - 4000)


def test_tries_that_bring_something_are_not_counted(tmp_path: Path) -> None:
    data = bytes(ENOUGH * 4)
    registry = Registry(cuts=[ENOUGH, ENOUGH, ENOUGH, None])
    assert bring(registry, tmp_path, data, pauses=1).read_bytes() == data
    assert registry.given == len(data)


def test_the_pauses_grow(tmp_path: Path) -> None:
    sleeper, registry = Sleeper(), Registry(cuts=[0, 0, 0, None])
    one = registry.put(DATA)
    with download_folder(tmp_path, Heard()):
        download(
            lambda start: registry.open(one.digest, start),
            Wanted(digest=one.digest, bytes=one.bytes, name="x"),
            tmp_path / "x",
            told=lambda _done: None,
            emit=Heard(),
            patience=Patience(sleep=sleeper),
        )
    assert sleeper.slept == [1.0, 2.0, 4.0]


def test_an_interrupt_keeps_what_came(tmp_path: Path) -> None:
    registry = Registry(cuts=[5000], error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bring(registry, tmp_path)
    later = Registry()
    assert bring(later, tmp_path).read_bytes() == DATA
    assert later.given == len(DATA) - 5000


KILLED = """
import sys, time
from pathlib import Path
from tests.test_download import BIG, Registry, bring

class Stuck(Registry):
    def _pieces(self, data, cut):
        for at in range(0, len(data) // 2, 1 << 16):
            yield data[at : at + (1 << 16)]
        print("half", flush=True)
        time.sleep(60)

bring(Stuck(), Path(sys.argv[1]), BIG)
"""


@pytest.mark.processes
def test_a_killed_process_costs_nothing_that_came(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.kill()
    (part,) = names(tmp_path)
    assert part.endswith(".part")
    registry = Registry()
    assert bring(registry, tmp_path, BIG).read_bytes() == BIG
    assert registry.starts == [len(BIG) // 2]
    assert registry.given == len(BIG) // 2


@pytest.mark.parametrize("given", [DATA[:-1] + b"!", DATA[::-1]], ids=["one byte", "all"])
def test_wrong_bytes_are_thrown_away_and_said(given: bytes, tmp_path: Path) -> None:
    registry = Registry(wrong=given)
    with pytest.raises(
        DownloadFailed, match=r"coder:7b is not what it should be: wanted sha256:.*got sha256:"
    ) as caught:
        bring(registry, tmp_path)
    assert caught.value.exit_code == ExitCode.BUILD_FAILED
    assert names(tmp_path) == []
    assert registry.starts == [0]


def test_a_stream_that_gives_too_much_is_not_read_to_its_end(tmp_path: Path) -> None:
    registry = Registry(wrong=DATA * 3)
    assert bring(registry, tmp_path).read_bytes() == DATA
    assert registry.given < len(DATA) + PIECE


@pytest.mark.parametrize(
    "left", [b"x" * 4000, DATA + b"more", b"x" * len(DATA)], ids=["part", "too long", "full"]
)
def test_a_damaged_rest_is_fetched_anew(left: bytes, tmp_path: Path) -> None:
    (tmp_path / (digest(DATA).replace(":", "-") + ".part")).write_bytes(left)
    heard = Heard()
    registry = Registry()
    assert bring(registry, tmp_path, heard=heard).read_bytes() == DATA
    assert registry.starts[-1] == 0
    assert ("is damaged: from its beginning" in " ".join(heard.texts)) is (len(left) <= len(DATA))


def test_a_file_that_is_not_yet_verified_is_never_in_its_place(tmp_path: Path) -> None:
    (tmp_path / digest(DATA).replace(":", "-")).write_bytes(DATA[:500])
    assert bring(Registry(), tmp_path).read_bytes() == DATA


def hub_file(folder: Path, registry: Registry) -> HubFile:
    wanted = registry.put(DATA)
    return HubFile(
        name="hf.co/org/repo:Q8_0",
        repository="org/repo",
        commit="c" * 40,
        path="Q8_0/tiny-Q8_0.gguf",
        digest=wanted.digest,
        bytes=wanted.bytes,
        here=folder / "0123-tiny-Q8_0.gguf",
    )


def test_a_file_of_the_hub_is_brought_to_its_place_once(tmp_path: Path) -> None:
    registry, heard = Registry(cuts=[2500]), Heard()
    file = hub_file(tmp_path / "d", registry)
    fetch = Fetch(open=registry.open, folder=tmp_path / "d")
    patience = Patience(sleep=Sleeper())
    file.here.parent.mkdir()
    assert download_file(fetch, file, heard, patience=patience) == LocalFile(path=file.here, bytes=len(DATA))
    assert (file.here.read_bytes(), registry.starts) == (DATA, [0, 2500])
    assert "tiny-Q8_0.gguf from hf.co/org/repo, 10.0 KiB" in heard.texts[0]
    download_file(fetch, file, heard, patience=patience)
    assert registry.starts == [0, 2500]


def test_a_file_of_the_hub_that_was_altered_here_is_brought_again(tmp_path: Path) -> None:
    registry, heard = Registry(), Heard()
    file = hub_file(tmp_path, registry)
    file.here.write_bytes(DATA[:-1] + b"x")
    download_file(Fetch(open=registry.open, folder=tmp_path), file, heard)
    assert (file.here.read_bytes(), registry.starts) == (DATA, [0])


def test_an_empty_blob_needs_no_stream(tmp_path: Path) -> None:
    registry = Registry()
    assert bring(registry, tmp_path, b"").read_bytes() == b""
    assert registry.starts == []


def test_several_blobs_are_one_progress_and_equal_ones_come_once(tmp_path: Path) -> None:
    registry, heard = Registry(), Heard()
    blobs = [registry.put(DATA), registry.put(b"template"), registry.put(DATA)]
    with download_folder(tmp_path, heard):
        files = download_all(
            Fetch(open=registry.open, folder=tmp_path), blobs, tmp_path, name="m", emit=heard
        )
    assert {path.read_bytes() for path in files.values()} == {DATA, b"template"}
    assert registry.given == len(DATA) + 8
    last: Any = heard.events[-1]
    assert (last.done, last.total) == (len(DATA) + 8,) * 2


def test_too_small_a_disk_is_seen_before_a_byte_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / (digest(DATA).replace(":", "-") + ".part")).write_bytes(DATA[:4000])
    usage = type("Usage", (), {"free": len(DATA) - 4001})
    monkeypatch.setattr("modelforge.download.shutil.disk_usage", lambda _folder: usage)
    registry = Registry()
    with pytest.raises(DownloadFailed, match=r"6.1 KiB more are needed, 6.1 KiB are free"):
        bring(registry, tmp_path)
    assert registry.starts == []
    usage = type("Usage", (), {"free": len(DATA) - 4000})
    monkeypatch.setattr("modelforge.download.shutil.disk_usage", lambda _folder: usage)
    assert bring(registry, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "it is full"), (errno.EACCES, "cannot be written")],
    ids=["full", "forbidden"],
)
def test_a_disk_that_refuses_is_said(
    number: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("modelforge.download.os.fsync", refuse)
    with pytest.raises(DownloadFailed, match=said):
        bring(Registry(), tmp_path)
    monkeypatch.undo()
    later = Registry()
    assert bring(later, tmp_path).read_bytes() == DATA
    assert later.given == 0


def test_what_was_left_long_ago_is_swept_away(tmp_path: Path) -> None:
    old, young = tmp_path / "sha256-1.part", tmp_path / "sha256-2.part"
    for path, age in ((old, STALE + 60), (young, STALE - 60)):
        path.touch()
        then = path.stat().st_mtime - age
        os.utime(path, (then, then))
    with download_folder(tmp_path, Heard()):
        assert names(tmp_path) == ["sha256-2.part"]


def test_two_at_once_fetch_it_once(tmp_path: Path) -> None:
    registry, heard, inside, go_on = Registry(), Heard(), threading.Event(), threading.Event()

    def first() -> None:
        with download_folder(tmp_path, Heard()) as folder:
            inside.set()
            go_on.wait(10)
            one = registry.put(DATA)
            download_all(Fetch(open=registry.open, folder=folder), [one], folder, name="m", emit=Heard())

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)

    def emit(event: Any) -> None:
        heard(event)
        if event.stage == "wait":
            go_on.set()

    with download_folder(tmp_path, emit) as folder:
        one = registry.put(DATA)
        download_all(Fetch(open=registry.open, folder=folder), [one], folder, name="m", emit=emit)
    thread.join()
    assert heard.texts[0] == "for another download to end"
    assert registry.starts == [0]
