"""What a stage tells while it works. Stages emit these; only the console decides how they look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Stage: TypeAlias = Literal[
    "pick", "pull", "start", "import", "create", "load", "smoke", "promote", "clean", "wait"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A line about a stage: `create  ollama 0.32.15 at 127.0.0.1:11434`."""

    stage: Stage
    text: str
    kind: Literal["info", "good", "bad", "warning"] = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a stage is, in bytes (`unit="B"`), seconds (`"s"`) or pieces. `total` is None while it is not known."""

    stage: Stage
    text: str
    done: int
    total: int | None
    unit: Literal["B", "s", ""] = "B"


Event: TypeAlias = Step | Progress
Emit: TypeAlias = Callable[[Event], None]


def silent(_event: Event) -> None:
    """An `Emit` for callers who do not want to hear anything."""
