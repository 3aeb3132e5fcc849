"""Records -> lines of text for people. Nothing here prints, colours or knows how wide a terminal is.

Where a function takes `width`, lines are cut to that many columns; None leaves them whole, as it has to be
where a machine may read them.
"""

from __future__ import annotations

from modelforge.views.builds import (
    history_lines,
    next_lines,
    outcome_lines,
    result_of,
    smoke_lines,
    when,
)
from modelforge.views.changes import dry_run_lines, loss_lines, rollback_lines
from modelforge.views.machines import doctor_lines, hardware_lines, list_lines
from modelforge.views.plans import (
    does_not_fit_lines,
    explain_lines,
    pick_lines,
    plan_lines,
    resolve_lines,
    target_line,
)
from modelforge.views.problems import error_lines, problem_lines, summary_line

__all__ = [
    "doctor_lines",
    "does_not_fit_lines",
    "dry_run_lines",
    "error_lines",
    "explain_lines",
    "hardware_lines",
    "history_lines",
    "list_lines",
    "loss_lines",
    "next_lines",
    "outcome_lines",
    "pick_lines",
    "plan_lines",
    "problem_lines",
    "resolve_lines",
    "result_of",
    "rollback_lines",
    "smoke_lines",
    "summary_line",
    "target_line",
    "when",
]
