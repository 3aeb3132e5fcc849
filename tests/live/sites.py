"""The pipeline in this process, as a program would use it: a site put together by hand, without the command line."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.events import silent
from modelforge.hardware.probe import this
from modelforge.pipeline import BuildOptions, build_target
from modelforge.project import find_project
from modelforge.runtimes.choose import access_of
from modelforge.site import Site
from modelforge.targets import Work, targets
from tests.trees import write_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelforge.build import BuildResult
    from modelforge.hardware import Hardware

MODELS = Path(__file__).parents[2] / "examples" / "quickstart" / "models"


@cache
def _probe() -> Hardware:
    return this(visible=None)


@dataclass(frozen=True)
class Bureau:
    """A project in `folder`, with state, cache and store beside it."""

    folder: Path
    environment: Mapping[str, str]
    flags: Mapping[str, str]

    @property
    def project(self) -> Path:
        """The project's root."""
        return self.folder / "project"

    @property
    def store(self) -> Path:
        """The embedded store."""
        return self.folder / "store"

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Writes files of the project."""
        write_tree(self.project, files)

    def work(self, **more: Any) -> Work:
        """The project's site and its runtime; the caller closes it."""
        site = Site(
            project=find_project(self.project, environment=self.environment, flags=self.flags),
            environment=self.environment,
            home=self.folder / "home",
            state=self.folder / "state",
            cache=self.folder / "cache",
            now=time.time,
            python=sys.executable,
            probe=_probe,
            emit=silent,
            **more,
        )
        return Work(site=site, access=access_of(site))


def bureau(folder: Path, environment: Mapping[str, str], **flags: str) -> Bureau:
    """A project with a tiny real model, `models/tiny.gguf`, and nothing else."""
    made = Bureau(folder=folder, environment=environment, flags=flags)
    made.write({"modelforge.toml": ""})
    (made.project / "models").mkdir()
    shutil.copyfile(MODELS / "forge-tiny-Q4_0.gguf", made.project / "models" / "tiny.gguf")
    return made


def build_once(work: Work, profile: str, name: str) -> BuildResult:
    """Builds a profile under a name, untested."""
    (target,) = targets(work, profile, ())
    return build_target(work, target, BuildOptions(name=name, smoke=False), lambda _plan: None)
