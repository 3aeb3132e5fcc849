"""The Modelfile as a value: parse, format, and what its text cannot carry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """Something that Modelfile text would drop or alter: which instruction, and why, in words."""

    instruction: str
    reason: str
