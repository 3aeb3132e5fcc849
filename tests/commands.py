"""Runs command lines in this process, as a user would type them, and keeps what they print."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelforge.cli import main

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"


@dataclass(frozen=True)
class Done:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON document that `--json` promises."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class Commands:
    """Command lines in a project of their own."""

    project: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> Done:
        """Runs one; never lets an exception through but SystemExit's code."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.capture.readouterr()
        try:
            with pytest.raises(SystemExit) as ended:
                main(["-C", str(self.project), *words])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        out, err = self.capture.readouterr()
        code = ended.value.code
        return Done(code=code if isinstance(code, int) else 0, out=out, err=err)

    def write(self, path: str, content: str | bytes) -> Path:
        """Writes a file of the project."""
        file = self.project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def edit(self, path: str, old: str, new: str) -> None:
        """Replaces text in a file of the project; the text must be there."""
        file = self.project / path
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def tree(self) -> set[str]:
        """All files of the project."""
        return {str(file.relative_to(self.project)) for file in self.project.rglob("*") if not file.is_dir()}


def commands_in_quickstart(folder: Path, capture: pytest.CaptureFixture[str]) -> Commands:
    """Commands in a copy of examples/quickstart."""
    shutil.copytree(QUICKSTART, folder, ignore=shutil.ignore_patterns(".modelforge"))
    return Commands(project=folder, capture=capture)
