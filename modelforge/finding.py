"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` is what to do where it is not `good`."""

    good: bool
    text: str
    remedy: str | None = None
