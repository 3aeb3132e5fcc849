"""Profile × hardware × candidates -> plan, with the reason for each candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from modelforge.bases import Candidate
    from modelforge.hardware import Hardware

Verdict: TypeAlias = Literal["picked", "fits", "tight", "too-big", "dropped"]
Decision: TypeAlias = Literal["fits", "tight", "offload", "too-big"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What one device must hold, and what it may. Bytes."""

    name: str
    needs: int
    budget: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Bytes:
    """A candidate's memory on the accelerator(s), or in RAM on a CPU target, in bytes summed over devices."""

    weights: int
    kv: int
    compute: int
    projector: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.compute + self.projector


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessed:
    """A candidate and what was found about it. `slack` (bytes) is the tightest device's; negative: lacks."""

    candidate: Candidate
    exact: bool
    bytes: Bytes
    devices: tuple[Need, ...]
    slack: int
    verdict: Verdict
    reason: str
    tokens_per_second: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NextBetter:
    """The best candidate that was not to be had: what it lacks (bytes), what would make it fit."""

    ref: str
    lacks: int
    would_fit_with: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """How the server will run the model; what the memory depends on. Tokens, bytes."""

    num_ctx: int
    num_batch: int
    parallel: int
    kv_cache: str
    flash_attention: str
    headroom: int
    engine: str
    prefer: str
    num_ctx_is_default: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The decision for one profile on one hardware. `variant` is the model's full name, `NAME:TAG`.

    `candidates` are in the order of preference, best first. `picked` is None where nothing fits.
    """

    profile: str
    variant: str
    hardware: Hardware
    settings: RunSettings
    decision: Decision
    picked: Assessed | None
    candidates: tuple[Assessed, ...]
    next_better: NextBetter | None
    warnings: tuple[str, ...]
