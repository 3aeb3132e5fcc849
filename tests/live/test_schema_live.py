"""taplo, which the usual TOML extensions of editors are made of, reads our schema and agrees with the loader."""

from __future__ import annotations

import re
import shutil
import subprocess  # noqa: TID251 (starts the real program; not part of the product)
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelforge import resources
from modelforge.profile.positions import TOP, positions
from modelforge.scaffold import Found, new_project
from tests.documents import ROOT
from tests.live.servers import PARTS, PATH
from tests.spoiled import SPOILED, VALID
from tests.trees import write_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

SHIPPED = (*ROOT.glob("profiles/*.toml"), *ROOT.glob("examples/*/profiles/*.toml"))
SCHEMA = resources.profiles() / resources.PROFILE_SCHEMA
_PLACE = re.compile(r"┌─ (?P<file>.+):(?P<line>\d+):\d+$", re.MULTILINE)


@pytest.fixture(scope="module")
def taplo() -> Path:
    """The program that .ci/parts installs, else the one on PATH."""
    ours = sorted(PARTS.glob("taplo-*/bin/taplo"))
    found = str(ours[-1]) if ours else shutil.which("taplo", path=PATH)
    if found is None:
        pytest.skip("no taplo on this machine; .ci/parts installs it")
    return Path(found)


def lint(taplo: Path, files: list[Path], *, schema: Path | None = None) -> tuple[int, Mapping[str, set[int]]]:
    """The exit code, and for each file that has faults the lines that taplo shows."""
    which = ["--schema", schema.as_uri()] if schema else []
    done = subprocess.run(
        [str(taplo), "lint", "--colors", "never", "--no-auto-config", *which, *map(str, files)],
        cwd=files[0].parent,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    lines: dict[str, set[int]] = defaultdict(set)
    for shown in _PLACE.finditer(done.stderr):
        lines[Path(shown["file"]).name].add(int(shown["line"]))
    return done.returncode, lines


def test_all_profiles_of_ours_are_taken(taplo: Path) -> None:
    assert lint(taplo, list(SHIPPED), schema=SCHEMA) == (0, {})


def test_every_mistake_is_refused_on_the_loaders_line(taplo: Path, tmp_path: Path) -> None:
    write_tree(tmp_path, {f"{number}.toml": case.text.encode() for number, case in enumerate(SPOILED)})
    code, lines = lint(taplo, sorted(tmp_path.iterdir()), schema=SCHEMA)
    assert code != 0
    for number, case in enumerate(SPOILED):
        place = positions(case.text)[case.path] if case.path else TOP
        assert {place.line, place.value_line} & lines[f"{number}.toml"], case.id


def test_the_line_that_names_the_schema_is_followed(taplo: Path, tmp_path: Path) -> None:
    """As `init` writes it, relative to the profile."""
    write_tree(tmp_path, {file.path: file.text for file in new_project(Found(model="x"))})
    profile = tmp_path / "profiles" / "assistant.toml"
    assert lint(taplo, [profile]) == (0, {})
    text = profile.read_text(encoding="utf-8")
    profile.write_text(text.replace("temperature", "temprature"), encoding="utf-8")
    code, lines = lint(taplo, [profile])
    assert code != 0
    wrong = text.splitlines().index("temperature = 0.3") + 1
    assert wrong in lines["assistant.toml"]


def test_without_that_line_nothing_is_checked(taplo: Path, tmp_path: Path) -> None:
    """So that the tests above do not pass by some other schema."""
    write_tree(tmp_path, {"a.toml": VALID + "[parameter]\n"})
    assert lint(taplo, [tmp_path / "a.toml"]) == (0, {})
