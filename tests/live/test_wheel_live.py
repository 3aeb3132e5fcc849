"""A wheel brings everything: templates, profiles, hardware, a model to begin with. So does the source tree."""

from __future__ import annotations

import subprocess  # noqa: TID251 (pip and the installed program are started here)
import sys
import sysconfig
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.live.test_readme_live import HERE, PASSED_ON

CONTENTS = (
    "modelforge/templates/modelfile.j2",
    "modelforge/profiles/coding-assistant.toml",
    "modelforge/profiles/profile.schema.json",
    "modelforge/data/hardware.toml",
    "modelforge/data/forge-tiny-Q8_0.gguf",
    "modelforge/data/chat/formats.toml",
    "modelforge/py.typed",
)


def run(command: list[str], folder: Path, home: Path) -> str:
    """All that a program prints; it must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "OLLAMA_HOST": "127.0.0.1:1",
            "MODELFORGE_STATE": str(home / "state"),
            "MODELFORGE_CACHE": str(home / "cache"),
            **{name: value for name, value in HERE.items() if PASSED_ON.fullmatch(name)},
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by hatchling where that is installed, else by pip, which gets it from the package index."""
    folder = tmp_path_factory.mktemp("wheel")
    tool = ["hatchling", "build", "-t", "wheel", "-d", str(folder)]
    if find_spec("hatchling") is None:
        tool = ["pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)]
    run([sys.executable, "-m", *tool], ROOT, folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of a fresh environment that has the wheel, and borrows all else from this one."""
    folder = tmp_path_factory.mktemp("venv")
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder, folder)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    run([*pip, "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)], folder, folder)
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "bin" / "modelforge"


def test_a_wheel_has_what_the_program_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert set(CONTENTS) <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


@pytest.mark.parametrize("how", ["wheel", "source"])
def test_the_installed_program_does_the_main_job_anywhere(
    how: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp")
    if how == "wheel":
        program = [str(request.getfixturevalue("installed"))]
        place = run([program[0].replace("bin/modelforge", "bin/python"), "-c", WHERE], tmp_path, tmp_path)
        assert str(ROOT) not in place
    else:
        program = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {MAIN}"]
    project = tmp_path / "project"
    project.mkdir()
    assert run([*program, "--version"], tmp_path, tmp_path).startswith("modelforge 0.")
    assert "1008 GB/s" in run([*program, "hardware", "rtx-4090"], tmp_path, tmp_path)
    run([*program, "init"], project, tmp_path)
    assert "FROM ./models/forge-tiny-Q8_0.gguf" in run([*program, "render", "assistant"], project, tmp_path)
    assert "1 passed" in run([*program, "build", "assistant"], project, tmp_path)
    (project / "profiles" / "own.toml").write_text('extends = "coding-assistant"\n', encoding="utf-8")
    assert "no errors" in run([*program, "validate"], project, tmp_path)


WHERE = "import modelforge; print(modelforge.__file__)"
MAIN = "from modelforge.cli import main; main()"
