"""What the doctor says of GPUs and their driver, of folders and disks."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from modelforge.doctor import machine, packages
from modelforge.hardware import nvidia
from modelforge.units import GIB
from tests.doctors import DEFAULT, diagnose, remedy, serve, told, well
from tests.projects import GAMER, LAPTOP, place
from tests.trees import write_tree

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65534


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve(monkeypatch)
    monkeypatch.setattr(packages, "_devices", lambda *_words: (("CPU",), ""))
    monkeypatch.setattr(machine, "INSTALLED", tmp_path / "usr" / "ollama" / "models")
    monkeypatch.setattr(nvidia, "has_card", lambda _root: False)


def belongs_to_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of somebody else, for a user with root's rights."""
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_gpus_and_no_gpu(tmp_path: Path) -> None:
    here = place(
        tmp_path,
    )
    assert "no GPU was found; models run on the CPU, in 16.0 GiB" in well(diagnose(here))
    here.machine = replace(GAMER, devices=(replace(GAMER.devices[0], free=5 * GIB), GAMER.devices[0]))
    lines = [text for text in well(diagnose(here)) if "4090" in text]
    assert lines == ["NVIDIA GeForce RTX 4090: 24.0 GiB, 5.0 GiB free", "NVIDIA GeForce RTX 4090: 24.0 GiB"]


def test_the_hardware_of_a_server_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(tmp_path)
    found = diagnose(here, runtime="ollama", host="gpu-box")
    what = remedy(found, "the hardware of gpu-box:11434 is not known from here")
    assert 'url = "http://gpu-box:11434"' in what
    assert not [text for text in well(found) if "GPU" in text]
    assert [
        text for text in well(diagnose(here, host="gpu-box")) if "no GPU was found" in text
    ]  # it is not taken
    write_tree(
        here.root, {"modelforge.toml": '[hosts.lab]\nurl = "http://gpu-box:11434"\nhardware = "rtx-4090"\n'}
    )
    serve(monkeypatch, versions={"gpu-box:11434": "0.32.15"})
    expected = "gpu-box:11434 has NVIDIA GeForce RTX 4090 (lab, as modelforge.toml says)"
    assert expected in well(diagnose(here, host="lab"))


def test_a_driver_that_does_not_work(tmp_path: Path) -> None:
    here = place(tmp_path)
    for name, words in nvidia._REMEDIES.items():
        here.machine = replace(LAPTOP, warnings=(words,))
        text, _, what = words.partition(": ")
        assert remedy(diagnose(here), text) == what, name


def test_a_card_without_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "has_card", lambda _root: True)
    here = place(tmp_path)
    assert "install NVIDIA's driver" in remedy(diagnose(here), "there is an NVIDIA card, but not its driver")
    here.machine = GAMER
    assert not [text for text in told(diagnose(here)) if "driver" in text]


def test_a_store_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    found = diagnose(place(tmp_path), store=str(tmp_path / "file" / "store"))
    what = remedy(found, f"cannot be used ({tmp_path / 'file'} is no folder)")
    assert "name a store of your own" in what
    assert "--runtime ollama" in what
    assert not found.ready
    assert remedy(found, "no runtime can be had") == "see above: the embedded runtime's store cannot be used"
    monkeypatch.setattr(os, "access", lambda *_what: False)
    store = tmp_path / "models"
    (store / "blobs").mkdir(parents=True)
    monkeypatch.setattr(machine, "_owner", lambda _path: "ollama")
    found = diagnose(place(tmp_path / "b"), store=str(store))
    assert f"({store} is not writable for this user, it belongs to ollama)" in str(found)


def test_folders_in_the_store_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, real = tmp_path / "models", os.access
    (store / "blobs").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: path != store / "blobs" and real(path, mode))
    found = diagnose(place(tmp_path), store=str(store))
    assert remedy(found, f"{store} cannot be used ({store / 'blobs'} is not writable")


def test_root_is_told_whose_store_it_would_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "models"
    belongs_to_another(store, monkeypatch)
    monkeypatch.setattr(machine, "_owner", lambda _path: "ollama")
    found = diagnose(place(tmp_path), store=str(store))
    what = remedy(found, f"store {store} belongs to ollama, whose server could not remove what you write")
    assert what.splitlines() == [
        "build over that server: --runtime ollama",
        "or write as its user: sudo -u ollama modelforge build …",
    ]
    assert not [text for text in told(diagnose(place(tmp_path / "b"), runtime="ollama")) if "store" in text]


def test_a_server_that_keeps_its_models_elsewhere(tmp_path: Path) -> None:
    machine.INSTALLED.mkdir(parents=True)
    here = place(tmp_path)
    text = f"the server that Ollama's installer made keeps its models in {machine.INSTALLED}"
    assert remedy(diagnose(here), text) == "build over that server: --runtime ollama"
    chosen = diagnose(here, store=str(tmp_path / "store"))
    assert not [told_ for told_ in told(chosen) if "installer" in told_]


def test_that_server_answers_and_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.INSTALLED.mkdir(parents=True)
    serve(monkeypatch, versions={DEFAULT: "0.32.15"})
    assert not [text for text in told(diagnose(place(tmp_path))) if "installer" in text]


def test_little_room_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(tmp_path)
    assert [
        text for text in well(diagnose(here)) if f"where models and downloads are kept ({tmp_path})" in text
    ]
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=GIB))
    what = remedy(diagnose(here), "1.0 GiB free where models and downloads are kept")
    assert "OLLAMA_MODELS" in what
    assert "MODELFORGE_CACHE" in what
    remote = diagnose(here, runtime="ollama", host="gpu-box")
    assert remedy(remote, "1.0 GiB free where downloads are kept")


def test_own_folders_that_cannot_be_written(tmp_path: Path) -> None:
    here = place(tmp_path)
    (tmp_path / "state").write_text("")
    found = diagnose(here)
    assert "MODELFORGE_STATE" in remedy(found, f"{tmp_path / 'state'} cannot be used")
