"""Where a command works: the project, the machine's folders, and everything else that a stage may not read itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from modelforge.filehash import Hashes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from modelforge.events import Emit
    from modelforge.hardware import Hardware
    from modelforge.project import Project

CONNECT, CALL = 1.5, 1.5
"""Seconds to connect and for an answer, for whoever only wants to know whether there is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The outside world, handed in.

    `state` and `cache` are the user's folders, `home` the user's own, `now` the clock (Unix seconds), `python`
    the interpreter for child processes, `probe` looks at this machine's hardware. `runtime_given` and `host_given`:
    the user named them for this very command. `gpus` is what a container is to have, as `--gpus` says it. `look`: the
    command only looks, so nothing is pulled or made for it.
    """

    project: Project
    environment: Mapping[str, str]
    home: Path
    state: Path
    cache: Path
    now: Callable[[], float]
    python: str
    probe: Callable[[], Hardware]
    emit: Emit
    runtime_given: bool = False
    host_given: bool = False
    via: Literal["api", "cli"] = "api"
    link: bool = False
    gpus: str = "auto"
    look: bool = False

    @property
    def hashes(self) -> Hashes:
        """The cache of file digests."""
        return Hashes(self.cache / "hashes")

    @property
    def downloads(self) -> Path:
        """Where files lie that are downloaded, or made of downloaded ones, on their way to a runtime."""
        return self.cache / "downloads"


def hasty(site: Site) -> Site:
    """The site with less patience for what does not answer, unless somebody set how much."""
    settings = site.project.settings
    times = {"connect": CONNECT, "call": CALL}
    unset = {key: seconds for key, seconds in times.items() if f"timeouts.{key}" not in settings.sources}
    settings = replace(settings, timeouts=replace(settings.timeouts, **unset))
    return replace(site, project=replace(site.project, settings=settings))
