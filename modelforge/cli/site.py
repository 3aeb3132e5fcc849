"""From flags and environment to a `Site`: the only place where the outside world is read."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.errors import UsageProblem
from modelforge.project import find_project
from modelforge.runtimes.choose import access_of
from modelforge.site import Site
from modelforge.targets import Work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelforge.cli.flags import Flags
    from modelforge.hardware import Hardware


def site_of(flags: Flags, **more: Any) -> Site:  # noqa: ANN401 (fields of Site)
    """The site that a command works on. `more` are fields of `Site` that only one command has flags for.

    Raises:
        ProfileProblem: modelforge.toml is not valid.
    """
    environment = dict(os.environ)
    given = {"runtime": flags.runtime, "host": flags.host}
    project = find_project(
        flags.start(),
        environment=environment,
        flags={key: value for key, value in given.items() if value is not None},
    )
    return Site(
        project=project,
        environment=environment,
        home=_home(),
        state=_folder(environment, "STATE"),
        cache=_folder(environment, "CACHE"),
        now=time.time,
        python=sys.executable,
        probe=_probe,
        emit=flags.console().emit,
        runtime_given=flags.runtime is not None or flags.host is not None,
        host_given=flags.host is not None,
        gpus=flags.gpus or "auto",
        **more,
    )


@contextmanager
def working(flags: Flags, **more: Any) -> Iterator[Work]:  # noqa: ANN401
    """A `Work` on the site, whose runtime is closed in the end."""
    site = site_of(flags, **more)
    work = Work(site=site, access=access_of(site))
    try:
        yield work
    finally:
        work.close()


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise UsageProblem("this user has no home folder", hint="set HOME to a folder of yours") from None


def _folder(environment: dict[str, str], kind: str) -> Path:
    given = environment.get(f"MODELFORGE_{kind}")
    if given:
        return Path(given).absolute()
    import platformdirs  # noqa: PLC0415 (only where nothing was given)

    name = platformdirs.user_state_dir if kind == "STATE" else platformdirs.user_cache_dir
    return Path(name("modelforge"))


@cache
def _probe() -> Hardware:
    from modelforge.hardware.probe import this  # noqa: PLC0415

    return this(visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
