"""What a model's header says about its memory: the architecture's rules, apart from any arithmetic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """The facts that a plan needs of one GGUF file; see `shape_of`."""

    architecture: str
    training_context: int
    exact: bool
    inexact_because: tuple[str, ...]
