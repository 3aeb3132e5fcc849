"""Runs the real command line as a process, in a copy of a project, with folders of its own."""

from __future__ import annotations

import os
import shutil
import subprocess  # noqa: TID251 (the program under test is started here)
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.commands import Done

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
SOURCE = Path(__file__).parents[2]


@dataclass
class Forge:
    """A project folder with its own home, state, cache and store."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        """The project's root."""
        return self.folder / "project"

    @property
    def store(self) -> Path:
        """The embedded store."""
        return self.folder / "store"

    def variables(self) -> dict[str, str]:
        """The whole environment of a command."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(SOURCE),
            "MODELFORGE_STATE": str(self.folder / "state"),
            "MODELFORGE_CACHE": str(self.folder / "cache"),
            "MODELFORGE_STORE": str(self.store),
            **self.environment,
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts a command, for a test that kills or interrupts it."""
        return subprocess.Popen(
            [sys.executable, "-m", "modelforge", "-C", str(self.project), *words],
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=self.folder,
        )

    def run(self, *words: str, seconds: float = 120) -> Done:
        """Runs a command to its end."""
        with self.start(*words) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Done(code=process.returncode, out=out, err=err)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replaces text in a file of the project; the text must be there."""
        path = self.project / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def profile(self, name: str, text: str) -> None:
        """Writes a profile."""
        (self.project / "profiles" / f"{name}.toml").write_text(text, encoding="utf-8")


def quickstart(folder: Path, **environment: str) -> Forge:
    """A copy of examples/quickstart. Files are linked where that is possible: the models are not small."""
    forge = Forge(folder=folder, environment=environment)
    (folder / "home").mkdir(parents=True)
    shutil.copytree(QUICKSTART, forge.project, ignore=shutil.ignore_patterns(".modelforge"))
    return forge
