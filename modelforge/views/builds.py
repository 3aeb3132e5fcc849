"""Builds, tests and history in words."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from modelforge.checks import OF_EMBEDDINGS
from modelforge.display import columns, left, visible
from modelforge.smoke import count_text, result_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelforge.build import BuildResult
    from modelforge.journal import JournalEntry
    from modelforge.smoke import SmokeReport

_NAME_COLUMNS = 40
USUAL_ENDPOINT = "127.0.0.1:11434"
"""The server that `ollama run` asks where nobody says otherwise."""
_EVENTS = {
    "promoted": "promoted",
    "tested": "tested again",
    "rolled-back": "rolled back to",
}


def smoke_lines(report: SmokeReport) -> list[str]:
    """Every test, and how many came out how."""
    width = min(_NAME_COLUMNS, max((columns(visible(one.name)) for one in report.results), default=0))
    lines = [line for result in report.results for line in result_lines(result, width)]
    return [*lines, count_text(report)] if lines else ["no smoke tests"]


def when(time: float) -> str:
    """`2026-11-02`, where the user is."""
    return _local(time).strftime("%Y-%m-%d")


def _local(time: float) -> datetime:
    return datetime.fromtimestamp(time, tz=timezone.utc).astimezone()


def result_of(entry: JournalEntry) -> str:
    """`14b-instruct-q5_K_M of 2026-11-02`: what a line of the journal tells of."""
    picked = visible(entry.picked).rpartition("/")[2].rpartition(":")[2] or "an unknown model"
    return f"{picked} of {when(entry.time)}"


def outcome_lines(result: BuildResult) -> list[str]:
    """How a variant's build ended. Errors are told by themselves, not here."""
    name = visible(result.name)
    if result.status == "unchanged":
        return [f"{name} is up to date ({_standing_text(result)}). Nothing to do."]
    if result.status == "built":
        was = f"     (was: {result_of(result.replaced)}, kept for rollback)" if result.replaced else ""
        return [f"  {'promoted':<10}{name}{was}"]
    return _failed_lines(result) if result.status == "smoke-failed" else []


def _failed_lines(result: BuildResult) -> list[str]:
    standing = result.standing
    still = f"is unchanged: it still is the {result_of(standing)}" if standing else "was not touched"
    if result.tested_standing:
        return [f"{visible(result.name)} stands as it was: nothing was made, its tests failed."]
    lines = [f"{visible(result.name)} {still}."]
    if result.kept_failed:
        lines.append(f"The failed candidate stays until the next build: {visible(result.kept_failed)}")
    elif result.smoke is not None:
        command = f"modelforge build {visible(result.plan.profile)} --keep-failed"
        lines.append(f"The failed candidate is gone. To look at it: {command}")
    return lines


def next_lines(result: BuildResult) -> list[str]:
    """What the user types next: the last line of a success."""
    if result.status != "built":
        return []
    name = visible(result.name).removesuffix(":latest")
    usual = result.runtime is not None and result.runtime.endpoint == USUAL_ENDPOINT
    run = "ollama run" if usual else "modelforge run"
    told = [f"{run} {name}"] if not _embeds(result) else []  # such a model answers nobody
    told += [f"modelforge rollback {name}"] if result.replaced else []
    return ["", "        ".join(told or [f"modelforge history {name}"])]


def _embeds(result: BuildResult) -> bool:
    """Whether its tests show that the model makes embeddings."""
    tests = result.smoke.results if result.smoke else ()
    return any(check.kind in OF_EMBEDDINGS for test in tests for check in test.checks)


def _standing_text(result: BuildResult) -> str:
    picked, entry = result.plan.picked, result.standing
    words = filter(None, (picked.candidate.size, picked.candidate.quant)) if picked else ()
    told = [visible(" ".join(words))]
    if result.smoke is None:
        told.append("untested")
    else:  # without an entry: just now, the first time that this machine tests it
        told.append(f"smoke passed {when(entry.time)}" if entry else "smoke passed")
    return ", ".join(filter(None, told))


def history_lines(name: str, entries: Sequence[JournalEntry]) -> list[str]:
    """What stood under a name, newest first."""
    if not entries:
        return [f"nothing is known of {visible(name)}"]
    newest_first = sorted(entries, key=lambda entry: entry.time, reverse=True)
    rows = [
        (
            _local(entry.time).strftime("%Y-%m-%d %H:%M"),
            _EVENTS.get(entry.event, entry.event),
            visible(entry.picked),
            "untested" if entry.smoke is None else f"{entry.smoke.get('passed', 0)} passed",
            f"{visible(entry.runtime)} {visible(entry.version)}",
            visible(entry.commit)[:10],
        )
        for entry in newest_first
    ]
    widths = [max(columns(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(left(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
