"""What the doctor says of what is installed: llama.cpp and the GPUs that it sees, packages in each other's way."""

from __future__ import annotations

import os
import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge import __version__, process
from modelforge.doctor.servers import embedded_is_idle
from modelforge.errors import BuildFailed
from modelforge.finding import Finding
from modelforge.runtimes.choose import embedded_installed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from modelforge.site import Site

OURS = "ollama-modelforge"
EMBEDDED = "pip install 'ollama-modelforge[embedded]'"
_SECONDS = 8.0
_DEVICES = """\
import xllamacpp
kinds = [device["type"].name.rpartition("_TYPE_")[2] for device in xllamacpp.get_device_info()]
print("modelforge:", *kinds)
"""
"""Run in a child, as native code may end its process. It prints `modelforge: CPU`, or `modelforge: GPU CPU`."""
_TOLD = re.compile(r"^modelforge:(.*)$", re.MULTILINE)
_GPUS = {"GPU", "IGPU"}
_WHEELS = {"cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan"}


def llama(site: Site) -> Iterator[Finding]:
    """Whether llama.cpp is installed, can be loaded, and sees the GPUs that plans are for."""
    if embedded_is_idle(site):
        return
    if not embedded_installed():
        text = "the embedded runtime cannot run tests: llama.cpp is not installed"
        yield Finding(good=False, text=text, remedy=EMBEDDED)
        return
    kinds, trouble = _devices(site.python, site.environment)
    if trouble:
        yield Finding(
            good=False,
            text=f"llama.cpp (xllamacpp) cannot be loaded: {trouble}",
            remedy="install the wheel for this machine, on one without a GPU the usual one:\n"
            "pip uninstall -y xllamacpp && " + EMBEDDED,
        )
        return
    yield Finding(good=True, text="the embedded runtime is installed")
    backend = site.probe().backend
    wheel = _WHEELS.get(backend)
    if wheel and not _GPUS.intersection(kinds):
        yield Finding(
            good=False,
            text=f"llama.cpp (xllamacpp) is built without {wheel}: the embedded runtime runs tests on the CPU,"
            " though plans are for the GPU",
            remedy=f"install its wheel for {wheel} (xllamacpp's README has them), or build over Ollama:"
            " --runtime ollama",
        )


def _devices(python: str, environment: Mapping[str, str]) -> tuple[Sequence[str], str]:
    """The kinds of devices that llama.cpp sees, and why it cannot be loaded ("" if it can)."""
    try:
        done = process.run(
            [python, "-c", _DEVICES], environment={**environment, "PYTHONSAFEPATH": "1"}, seconds=_SECONDS
        )
    except BuildFailed as error:
        return (), error.problems[0].message
    told = _TOLD.search(done.stdout)
    if told is not None:
        return told[1].split(), ""
    last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.code}"]
    return (), last[0].partition(": ")[2] or last[0]


def installed(site: Site) -> Iterator[Finding]:
    """Packages that are in the way of each other, and several modelforge commands."""
    names = ("pynvml", "modelforge", OURS)
    versions = {name: [found.version for found in metadata.distributions(name=name)] for name in names}
    yield from conflicts(versions, retired=_is_folder("pynvml"))
    programs = [Path(folder) / "modelforge" for folder in site.environment.get("PATH", "").split(os.pathsep)]
    found = {file.resolve(): None for file in programs if os.access(file, os.X_OK) and file.is_file()}
    if len(found) > 1:
        yield Finding(
            good=False,
            text=f"{len(found)} modelforge programs on PATH: {', '.join(map(str, found))}",
            remedy=f"remove all but one; this one is {__version__}, 'modelforge' starts the first",
        )


def conflicts(versions: Mapping[str, Sequence[str]], *, retired: bool) -> Iterator[Finding]:
    """What is wrong with what is installed.

    Args:
        versions: all that are found of a distribution, by its name.
        retired: the module pynvml is that of the retired distribution of that name.
    """
    if retired:
        have = " ".join(["pynvml", *versions["pynvml"]])
        yield Finding(
            good=False,
            text=f"the retired package {have} hides NVIDIA's own module of that name: GPUs may be misread",
            remedy="pip uninstall -y pynvml && pip install --force-reinstall nvidia-ml-py",
        )
    if versions["modelforge"]:
        yield Finding(
            good=False,
            text="the package 'modelforge' is installed: another project's, with the same import and command",
            remedy=f"pip uninstall -y modelforge && pip install --force-reinstall --no-deps {OURS}",
        )
    others = [version for version in versions[OURS] if version != __version__]
    if others or len(versions[OURS]) > 1:
        yield Finding(
            good=False,
            text=f"{OURS} {__version__} runs, and installed is {' and '.join(versions[OURS])}",
            remedy=f"pip uninstall -y {OURS}, until there is none, and then install it once",
        )


def _is_folder(module: str) -> bool:
    """Whether a module is a folder. NVIDIA's own pynvml is one file."""
    spec = find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None
