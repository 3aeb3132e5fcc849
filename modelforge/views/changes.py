"""What would change, what changed back, and what a text cannot carry, in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modelforge.display import visible
from modelforge.units import size_text
from modelforge.views.builds import result_of
from modelforge.views.plans import plan_lines

if TYPE_CHECKING:
    from modelforge.journal import JournalEntry
    from modelforge.render import Rendered
    from modelforge.reported import Changed, Container


def dry_run_lines(change: Changed) -> list[str]:
    """What a build would do: the pick with what it warns of, and how what stands differs."""
    name = visible(change.name)
    lines = plan_lines(change.plan, also=change.warnings)
    if change.container is not None:
        lines += _container_lines(change.container)
    if change.fetches:
        picked = change.plan.picked
        hub = picked is not None and picked.candidate.on_hub
        where = "Hugging Face" if hub else "its registry"
        lines.append(f"  pull      the base from {where}, {size_text(change.fetches)} at most")
    if not change.stands:
        return [*lines, f"  create    {name} does not stand yet"]
    if not change.differences:
        return [*lines, f"{name} is up to date. Nothing to do."]
    return [*lines, f"  change    {name}:", *(f"            {visible(line)}" for line in change.differences)]


def _container_lines(container: Container) -> list[str]:
    """The container that would be started, and the GPU part of its request as the engine's API takes it."""
    given = f"gpus: {container.gpus}" + (f" ({container.note})" if container.note else "")
    lines = [f"  start     {visible(container.image)}, volume {visible(container.volume)}, {visible(given)}"]
    host = container.request["HostConfig"]
    asked = {key: host[key] for key in ("DeviceRequests", "Devices") if host[key]}
    return [*lines, *(f"            {key}: {visible(json.dumps(value))}" for key, value in asked.items())]


def rollback_lines(entry: JournalEntry) -> list[str]:
    """What stands again."""
    what = f"the {result_of(entry)}" if entry.picked else "what stood before"
    name = visible(entry.name)
    return [f"{name} is {what} again; what it replaced is kept.", "", f"modelforge run {name}"]


def loss_lines(rendered: Rendered) -> list[str]:
    """What the Modelfile's text cannot carry, for those who would give it to `ollama create`."""
    if not rendered.losses:
        return []
    lines = [f"  {visible(loss.instruction)}: {visible(loss.reason)}" for loss in rendered.losses]
    return [
        "This text cannot carry all of it (a build sends the fields themselves and loses nothing):",
        *lines,
    ]
