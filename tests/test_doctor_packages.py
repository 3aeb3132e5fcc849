"""What the doctor says of installed packages: llama.cpp and its GPUs, and what is in the way of what."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelforge import __version__
from modelforge.doctor import packages
from modelforge.runtimes import choose
from tests.doctors import DEFAULT, diagnose, program, remedy, serve, told, well
from tests.projects import GAMER, LAPTOP, place
from tests.trees import write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Place

NONE = {"pynvml": (), "modelforge": (), "ollama-modelforge": (__version__,)}
FAKE = """\
    import enum
    class ggml_backend_dev_type(enum.IntEnum):
        GGML_BACKEND_DEVICE_TYPE_CPU = 0
        GGML_BACKEND_DEVICE_TYPE_GPU = 1
    print("noise of native code")
    def get_device_info():
        return [{"type": kind} for kind in ggml_backend_dev_type]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    serve(monkeypatch)
    return place(tmp_path)


def with_library(here: Place, text: str) -> None:
    """Another xllamacpp for the child process."""
    write_tree(here.root.parent / "library", {"xllamacpp.py": text})
    here.environment["PYTHONPATH"] = str(here.root.parent / "library")


@pytest.mark.processes
def test_the_real_one_can_be_loaded(here: Place) -> None:
    pytest.importorskip("xllamacpp")
    assert "the embedded runtime is installed" in well(diagnose(here))


@pytest.mark.processes
def test_a_wheel_without_the_gpu_that_is_here(here: Place) -> None:
    with_library(here, FAKE.replace("in ggml_backend_dev_type", "in [*ggml_backend_dev_type][:1]"))
    here.machine = GAMER
    what = remedy(diagnose(here), "llama.cpp (xllamacpp) is built without CUDA")
    assert "its wheel for CUDA" in what
    assert "--runtime ollama" in what
    here.machine = replace(GAMER, backend="rocm")
    assert remedy(diagnose(here), "is built without ROCm")
    here.machine = LAPTOP
    assert not [text for text in told(diagnose(here)) if "built without" in text]


@pytest.mark.processes
def test_a_wheel_with_the_gpu_that_is_here(here: Place) -> None:
    with_library(here, FAKE)
    here.machine = GAMER
    found = diagnose(here)
    assert "the embedded runtime is installed" in well(found)
    assert not [text for text in told(found) if "llama.cpp" in text]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("library", "words"),
    [
        (
            'raise ImportError("libcudart.so.12: cannot open shared object file")',
            "libcudart.so.12: cannot open shared object file",
        ),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", "it ended with -4"),
    ],
)
def test_a_wheel_for_a_gpu_that_is_not_here(here: Place, library: str, words: str) -> None:
    with_library(here, library)
    what = remedy(diagnose(here), f"llama.cpp (xllamacpp) cannot be loaded: {words}")
    assert what.endswith("pip uninstall -y xllamacpp && pip install 'ollama-modelforge[embedded]'")
    assert not [text for text in told(diagnose(here, runtime="ollama")) if "llama.cpp" in text]


def test_no_llama_at_all(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "embedded_installed", lambda: False)
    monkeypatch.setattr(choose, "embedded_installed", lambda: False)
    found = diagnose(here)
    assert remedy(found, "llama.cpp is not installed") == "pip install 'ollama-modelforge[embedded]'"
    assert not found.ready
    serve(monkeypatch, versions={DEFAULT: "0.32.15"})  # and nobody needs it
    assert told(diagnose(here)) == {}


@pytest.mark.processes
def test_several_modelforge_programs(here: Place, tmp_path: Path) -> None:
    one, two = program(tmp_path / "a", "modelforge"), program(tmp_path / "b", "modelforge")
    here.environment["PATH"] = f"{one.parent}:{two.parent}:{one.parent}"
    assert remedy(diagnose(here), f"2 modelforge programs on PATH: {one}, {two}")
    here.environment["PATH"] = str(one.parent)
    assert not [text for text in told(diagnose(here)) if "modelforge programs" in text]


@pytest.mark.parametrize(
    ("installed", "retired", "text", "what"),
    [
        (
            {"pynvml": ["11.5.0"]},
            True,
            "the retired package pynvml 11.5.0 hides",
            "pip uninstall -y pynvml && pip install --force-reinstall nvidia-ml-py",
        ),
        (
            {"modelforge": ["2.0"]},
            False,
            "the package 'modelforge' is installed: another project's",
            "pip uninstall -y modelforge && pip install --force-reinstall --no-deps ollama-modelforge",
        ),
        (
            {"ollama-modelforge": [__version__, "0.0.1"]},
            False,
            f"ollama-modelforge {__version__} runs, and installed is {__version__} and 0.0.1",
            "pip uninstall -y ollama-modelforge, until there is none, and then install it once",
        ),
        ({"ollama-modelforge": ["0.0.1"]}, False, "installed is 0.0.1", "pip uninstall"),
    ],
)
def test_packages_in_the_way(
    installed: dict[str, list[str]],
    retired: bool,  # noqa: FBT001
    text: str,
    what: str,
) -> None:
    (found,) = packages.conflicts({**NONE, **installed}, retired=retired)
    assert text in found.text
    assert (found.good, (found.remedy or "").startswith(what)) == (False, True)


@pytest.mark.parametrize("version", ["12.0.0", "13.0.1"])
def test_its_wrapper_is_in_nobodys_way(version: str) -> None:
    assert list(packages.conflicts({**NONE, "pynvml": [version]}, retired=False)) == []
    assert list(packages.conflicts({**NONE, "ollama-modelforge": []}, retired=False)) == []


def test_the_retired_module_is_known_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not packages._is_folder("pynvml")  # NVIDIA's own, which is installed with us
    write_tree(tmp_path, {"pynvml/__init__.py": ""})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    assert packages._is_folder("pynvml")


@pytest.mark.processes
def test_what_is_installed_here_is_looked_at(
    here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = "Metadata-Version: 2.1\nName: modelforge\nVersion: 2.0\n"
    write_tree(tmp_path / "site", {"modelforge-2.0.dist-info/METADATA": metadata})
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert remedy(diagnose(here), "the package 'modelforge' is installed")
