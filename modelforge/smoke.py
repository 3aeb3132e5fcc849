"""Smoke tests: ask the built model, check its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One expectation and what came of it. `kind` is the key in `expect`; `expected`, `got` are for people."""

    kind: str
    verdict: Verdict
    expected: str
    got: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeResult:
    """One test: its last run, or the first run that failed. Seconds count the answer, not the loading."""

    name: str
    verdict: Verdict
    prompt: str
    reply: str
    checks: tuple[Check, ...]
    seconds: float
    tokens_per_second: float | None
    runs: int
    passed_runs: int
    loaded_on: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeReport:
    """All tests of a profile. Empty `results`: there were none."""

    results: tuple[SmokeResult, ...]

    def count(self, verdict: Verdict) -> int:
        """How many tests came out so."""
        return sum(result.verdict == verdict for result in self.results)

    @property
    def passed(self) -> bool:
        """True if no test failed."""
        return self.count("failed") == 0
