"""A model from a registry in a store: what a pull would have left, and what is left of one that was cut."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.bases import ServedModel
from modelforge.errors import BuildFailed
from modelforge.runtimes.store import Store
from modelforge.runtimes.store_bring import DOWNLOADS, bring, has
from tests.fakes import Heard
from tests.ggufs import tiny_llama
from tests.manifests import NAME, Shelf, sha256, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.bases import RegistryModel


class Lock:
    """A lock that tells how often it was held, and what had come by then."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self.given = shelf, list[int]()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.given.append(self.shelf.given)
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def model(shelf: Shelf, tmp_path: Path) -> RegistryModel:
    weights = tiny_llama(tmp_path / "tiny.gguf").read_bytes()
    return shelf.put(("model", weights), ("system", b"Be kind."), ("license", b"MIT"), ("license", b"MIT"))


def brought(store: Store, shelf: Shelf, model: RegistryModel, heard: Heard | None = None) -> ServedModel:
    fetch = shelf.fetch(store.root / "elsewhere")
    return bring(store, model, fetch, heard or Heard(), lock=Lock(shelf))


def left(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / DOWNLOADS).iterdir() if path.name != ".lock")


def test_what_comes_is_just_what_a_pull_leaves(store: Store, shelf: Shelf, model: RegistryModel) -> None:
    lock, heard = Lock(shelf), Heard()
    served = bring(store, model, shelf.fetch(store.root / "elsewhere"), heard, lock=lock)
    assert served == ServedModel(name=NAME, digest=model.digest)
    path = store.root / "manifests" / "localhost:5000" / "team" / "coder" / "v1"
    assert path.read_bytes() == model.manifest
    for blob in model.blobs:
        file = store.blobs.path(blob.digest)
        assert sha256(file.read_bytes()) == blob.digest
        assert file.stat().st_mode & 0o777 == 0o644
        assert file.stat().st_nlink == 1
    assert sorted(path.name for path in (store.root / "blobs").iterdir()) == sorted(
        {store.blobs.path(blob.digest).name for blob in model.blobs}
    )
    assert left(store) == []
    assert not (store.root / "elsewhere").exists()
    assert lock.given == [whole(model)] == [shelf.given]
    last: Any = heard.events[-1]
    assert (last.stage, last.text, last.done, last.total) == ("pull", NAME, whole(model), whole(model))
    (entry,) = store.entries()
    assert (entry.name, entry.digest) == (NAME, model.digest)


def test_what_is_there_is_not_fetched(store: Store, shelf: Shelf, model: RegistryModel) -> None:
    brought(store, shelf, model)
    assert has(store, model)
    shelf.given = 0
    brought(store, shelf, model)
    other = shelf.put(
        *[("model", shelf.blobs[model.blobs[0].digest]), ("system", b"Be rude.")], name="other:x"
    )
    brought(store, shelf, other)
    assert shelf.given == len(b"Be rude.")


@pytest.mark.parametrize("how", ["gone", "cut", "manifest"])
def test_what_is_broken_there_is_mended(how: str, store: Store, shelf: Shelf, model: RegistryModel) -> None:
    brought(store, shelf, model)
    file = store.blobs.path(model.blobs[0].digest)
    if how == "gone":
        file.unlink()
    elif how == "cut":
        file.write_bytes(b"half")
    else:
        (store.root / "manifests" / "localhost:5000" / "team" / "coder" / "v1").write_bytes(b"")
    assert not has(store, model)
    shelf.given = 0
    brought(store, shelf, model)
    assert has(store, model)
    assert shelf.given == (0 if how == "manifest" else model.blobs[0].bytes)


def test_a_newer_model_of_the_name_takes_its_place(store: Store, shelf: Shelf, model: RegistryModel) -> None:
    old = shelf.put(("model", b"older weights"), name=NAME.upper().replace("LOCALHOST", "localhost"))
    brought(store, shelf, old)
    brought(store, shelf, model)
    assert not has(store, replace(old, name=NAME))
    assert has(store, model)
    assert len(store.entries()) == 1
    assert store.blobs.size(old.blobs[0].digest) is None


def test_an_interrupt_in_the_middle_leaves_no_half_model_and_loses_nothing(
    store: Store, shelf: Shelf, model: RegistryModel
) -> None:
    shelf.cut = 1000
    with pytest.raises(KeyboardInterrupt):
        brought(store, shelf, model)
    assert store.entries() == ()
    assert not (store.root / "blobs").exists()
    assert left(store) == [model.blobs[0].digest.replace(":", "-") + ".part"]
    brought(store, shelf, model)
    assert shelf.starts[:2] == [0, 1000]
    assert shelf.given == whole(model)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_failed_write_leaves_no_blobs_and_keeps_the_download(
    error: BaseException, store: Store, shelf: Shelf, model: RegistryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr("modelforge.runtimes.store.write_synced", fail)
    with pytest.raises((BuildFailed, KeyboardInterrupt)):
        brought(store, shelf, model)
    assert store.entries() == ()
    assert list((store.root / "blobs").iterdir()) == []
    monkeypatch.undo()
    brought(store, shelf, model)
    assert has(store, model)
    assert shelf.given == whole(model)


def test_from_another_disk_it_is_copied(
    store: Store, shelf: Shelf, model: RegistryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr("modelforge.runtimes.blobs._link_or_move", refuse)
    brought(store, shelf, model)
    assert has(store, model)
    assert left(store) == []


def test_where_no_links_can_be_made_it_is_moved(
    store: Store, shelf: Shelf, model: RegistryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    brought(store, shelf, model)
    assert has(store, model)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"manifest": b"no JSON"}, id="no manifest"),
        pytest.param({"digest": sha256(b"x")}, id="another digest"),
        pytest.param({"blobs": ()}, id="other blobs"),
    ],
)
def test_a_manifest_that_is_not_the_planned_one_is_refused(
    changes: dict[str, Any], store: Store, shelf: Shelf, model: RegistryModel
) -> None:
    with pytest.raises(BuildFailed, match="manifest of localhost:5000/team/coder:v1"):
        brought(store, shelf, replace(model, **changes))
    assert shelf.starts == []
