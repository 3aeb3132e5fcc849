"""Ollama's store on disk: names, manifests, what a delete takes along."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from modelforge.errors import BuildFailed, UsageProblem
from modelforge.runtimes import BrokenModel, gojson
from modelforge.runtimes.store import Layer, Store, config_layer, manifest_bytes

CONFIG = b'{"model_format":"gguf"}\n'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def put(store: Store, name: str, **texts: str) -> tuple[Layer, ...]:
    """A model with these layers."""
    added = [(kind, store.blobs.add_bytes(text.encode())) for kind, text in texts.items()]
    layers = tuple(Layer(kind=kind, digest=blob.digest, size=blob.size) for kind, blob in added)
    config = store.blobs.add_bytes(CONFIG)
    store.write(name, config_layer(config.digest, config.size), layers)
    return layers


def manifest_path(store: Store, name: str = "registry.ollama.ai/library/coder/latest") -> Path:
    return store.root / "manifests" / name


def blob_texts(store: Store) -> set[str]:
    return {path.read_text() for path in store.blobs.folder.iterdir()}


def test_the_bytes_of_a_manifest_are_those_that_a_server_writes() -> None:
    config = config_layer("sha256:" + "a" * 64, 7)
    layer = Layer(kind="model", digest="sha256:" + "b" * 64, size=9)
    assert manifest_bytes(config, (layer,)).decode() == (
        '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        '"config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"sha256:'
        + "a"
        * 64
        + '",'
        '"size":7},"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:'
        + "b"
        * 64
        + '",'
        '"size":9}]}\n'
    )


def test_a_model_of_the_registry_is_rebuilt_bit_for_bit() -> None:
    """all-minilm:22m, by the rules of before 0.32.7 and without the last newline; `ollama list` shows its digest."""
    weights = (
        ("model", "797b70c4edf85907fe0a49eb85811256f65fa0f7bf52166b147fd16be2be4662", 45949216),
        ("license", "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4", 11357),
        ("params", hashlib.sha256(gojson.document({"num_ctx": 256})).hexdigest(), 16),
    )
    layers = tuple(Layer(kind=kind, digest=f"sha256:{digest}", size=size) for kind, digest, size in weights)
    config = gojson.document(
        {
            "model_format": "gguf",
            "model_family": "bert",
            "model_families": ["bert"],
            "model_type": "23M",
            "file_type": "F16",
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )
    made = manifest_bytes(config_layer("sha256:" + hashlib.sha256(config).hexdigest(), len(config)), layers)
    assert hashlib.sha256(made.removesuffix(b"\n")).hexdigest().startswith("1b226e2802db")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("coder", "registry.ollama.ai/library/coder/latest"),
        ("me/coder:x", "registry.ollama.ai/me/coder/x"),
        ("hf.co/org/repo:Q4_K_M", "hf.co/org/repo/Q4_K_M"),
        ("127.0.0.1:5000/team/coder:7b", "127.0.0.1:5000/team/coder/7b"),
    ],
)
def test_a_name_is_a_path(store: Store, name: str, path: str) -> None:
    put(store, name, model="weights")
    file = manifest_path(store, path)
    assert file.is_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    found = store.read(name)
    assert found is not None
    assert found.digest == "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()


def test_nothing_but_models_lies_where_a_server_looks_for_them(store: Store) -> None:
    put(store, "coder", model="weights")
    put(store, "coder", model="other")
    assert [path.name for path in (store.root / "manifests").glob("*/*/*/*")] == ["latest"]
    assert [path.name for path in (store.root / "manifests").iterdir()] == ["registry.ollama.ai"]


def test_case_does_not_tell_names_apart_and_the_spelling_stays(store: Store) -> None:
    put(store, "Coder:Big", model="one")
    put(store, "coder:big", model="two")
    put(store, "me/CODER:Small", model="three")
    assert [entry.name for entry in store.entries()] == ["Coder:Big", "me/Coder:Small"]
    found = store.read("CODER:BIG")
    assert found is not None
    assert [store.text(layer) for layer in found.of("model")] == ["two"]


def test_a_bad_name_is_refused_and_leads_nowhere(store: Store) -> None:
    for name in ("../../etc/passwd", "a:b/../c", "", "x:cloud"):
        with pytest.raises(UsageProblem):
            put(store, name, model="weights")
    assert not manifest_path(store, "").exists()


def test_a_death_between_blobs_and_manifest_leaves_what_stood(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "coder", model="old")
    replace = Path.replace

    def dies(self: Path, target: Path) -> Path:
        if "manifests" in str(target):
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        put(store, "coder", model="new")
    found = store.read("coder")
    assert found is not None
    assert [store.text(layer) for layer in found.of("model")] == ["old"]
    assert list((store.root / "manifests").glob(".*")) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"layers":7}',
        b'{"config":{}}',
        b'{"config":{"digest":"sha256:../../x"}}',
        b"\xff",
        b"null",
    ],
)
def test_a_manifest_that_cannot_be_read_is_a_broken_model(store: Store, data: bytes) -> None:
    put(store, "coder", model="weights")
    put(store, "other", model="weights")
    manifest_path(store).write_bytes(data)
    with pytest.raises(BrokenModel, match="coder cannot be read"):
        store.read("coder")
    assert [entry.name for entry in store.entries()] == ["other:latest"]
    put(store, "coder", model="again")
    assert store.read("coder") is not None


def test_a_broken_model_can_be_deleted(store: Store) -> None:
    put(store, "coder", model="weights")
    manifest_path(store).write_bytes(b"")
    store.delete("coder")
    assert store.read("coder") is None
    assert list((store.root / "manifests").iterdir()) == []


def test_a_delete_takes_the_blobs_that_nobody_else_needs(store: Store) -> None:
    put(store, "coder", model="shared", system="mine")
    put(store, "other", model="shared", system="its own")
    store.delete("CODER")
    assert blob_texts(store) == {"shared", "its own", CONFIG.decode()}
    store.delete("other")
    store.delete("other")
    assert blob_texts(store) == set()


def test_what_stood_under_a_name_goes_when_another_takes_it(store: Store) -> None:
    put(store, "coder", model="shared", system="old")
    put(store, "other", model="shared")
    put(store, "coder", model="shared", system="new")
    assert blob_texts(store) == {"shared", "new", CONFIG.decode()}
    store.copy("other", "coder")
    assert blob_texts(store) == {"shared", CONFIG.decode()}


def test_while_a_manifest_cannot_be_read_all_blobs_stay(store: Store) -> None:
    put(store, "coder", model="shared", system="mine")
    put(store, "other", model="shared")
    manifest_path(store, "registry.ollama.ai/library/other/latest").write_bytes(b"")
    store.delete("coder")
    assert store.read("coder") is None
    assert blob_texts(store) == {"shared", "mine", CONFIG.decode()}


def test_a_stray_file_among_the_manifests_keeps_blobs_too(store: Store) -> None:
    put(store, "coder", model="weights")
    manifest_path(store, "registry.ollama.ai/library/coder/.tmp").write_text("who knows")
    store.delete("coder")
    assert blob_texts(store) == {"weights", CONFIG.decode()}


def test_a_copy_is_the_same_byte_for_byte(store: Store) -> None:
    put(store, "coder", model="weights")
    file = manifest_path(store)
    file.write_bytes(file.read_bytes().replace(b'"size"', b' "size"'))
    store.copy("coder", "modelforge/kept:abc")
    copied = manifest_path(store, "registry.ollama.ai/modelforge/kept/abc")
    assert copied.read_bytes() == file.read_bytes()


def test_a_copy_of_nothing_is_refused(store: Store) -> None:
    with pytest.raises(BuildFailed, match="no model coder"):
        store.copy("coder", "other")


def test_the_list_has_names_digests_sizes_and_times(store: Store) -> None:
    (layer,) = put(store, "me/coder:x", model="weights")
    path = manifest_path(store, "registry.ollama.ai/me/coder/x")
    os.utime(path, (5, 1000))
    (entry,) = store.entries()
    assert (entry.name, entry.bytes, entry.modified) == ("me/coder:x", layer.size + len(CONFIG), 1000)
    assert entry.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_model_without_its_config_is_not_listed(store: Store) -> None:
    put(store, "coder", model="weights")
    found = store.read("coder")
    assert found is not None
    store.blobs.remove(found.config.digest)
    assert store.entries() == ()


def test_a_store_that_is_not_there_is_empty(store: Store) -> None:
    assert store.entries() == ()
    assert store.read("coder") is None
    store.delete("coder")
    assert not store.root.exists()


def test_a_store_that_may_not_be_read_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "coder", model="weights")

    def forbidden(_path: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(BuildFailed, match=r"cannot be read \(Permission denied\)"):
        store.read("coder")
    with pytest.raises(BuildFailed, match="cannot be read"):
        store.entries()


def test_a_read_only_store_refuses_with_exit_7(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "coder", model="weights")

    def read_only(_self: Path, _target: Path) -> NoReturn:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", read_only)
    with pytest.raises(BuildFailed, match="its file system is read-only"):
        store.copy("coder", "other")
    assert list((store.root / "manifests").glob(".*")) == []


def test_layers_that_are_missing_or_no_text_are_broken(store: Store) -> None:
    (layer,) = put(store, "coder", system="text")
    store.blobs.path(layer.digest).write_bytes(b"\xff")
    with pytest.raises(BrokenModel, match="the system sha256"):
        store.text(layer)
    store.blobs.remove(layer.digest)
    with pytest.raises(BrokenModel, match="No such file"):
        store.text(layer)


def test_blobs_of_a_killed_writer_go_with_the_next_write(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.at_risk(frozenset()):
        (live,) = (tmp_path / "store" / "manifests").glob(".modelforge-blobs-*")
        orphan = store.blobs.add_bytes(b"nobody needs this").digest
        dead = live.with_name(live.name.replace(f"-{os.getpid()}-", "-999999999-"))
        dead.write_text(orphan)
    assert store.blobs.size(orphan) is not None
    store.delete("nothing:latest")
    assert store.blobs.size(orphan) is None
    assert not dead.exists()


def test_blobs_of_a_living_writer_stay(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    fresh = store.blobs.add_bytes(b"about to be named").digest
    with store.at_risk(frozenset({fresh})):
        store.delete("nothing:latest")
        assert store.blobs.size(fresh) is not None
