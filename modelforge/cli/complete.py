"""Names for the shell's completion: from files only, never from the network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from modelforge.errors import ForgeError

if TYPE_CHECKING:
    from pathlib import Path

    import click


def profile_names(ctx: click.Context, _parameter: click.Parameter, start: str) -> list[str]:
    """The project's profiles that begin so."""
    from modelforge.cli.flags import flags_of  # noqa: PLC0415
    from modelforge.profile.find import profile_names as names  # noqa: PLC0415
    from modelforge.project import find_project  # noqa: PLC0415

    try:
        project = find_project(flags_of(ctx).start(), environment=os.environ)
        return [name for name in names(project) if name.startswith(start)]
    except ForgeError:
        return []


def hardware_names(ctx: click.Context, _parameter: click.Parameter, start: str) -> list[str]:
    """The project's own hardware and the table's names that begin so."""
    from modelforge.cli.flags import flags_of  # noqa: PLC0415
    from modelforge.hardware import table  # noqa: PLC0415
    from modelforge.project import find_project  # noqa: PLC0415

    try:
        folder: Path | None = find_project(flags_of(ctx).start(), environment=os.environ).hardware
    except ForgeError:
        folder = None
    own = sorted(file.stem for file in folder.glob("*.toml")) if folder and folder.is_dir() else []
    return [name for name in ("this", *own, *table.names()) if name.startswith(start)]
