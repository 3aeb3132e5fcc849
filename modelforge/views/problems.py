"""Errors in words: where, what, the line itself with a caret under it, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.display import columns, visible

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from modelforge.errors import ForgeError, Problem

_GUTTER = 5
_TAB = "    "
_SOURCE_SHOWN = 160
_BEFORE_SHOWN = 60


def error_lines(error: ForgeError) -> list[str]:
    """All problems of an error, and its summary below where it has one."""
    lines = [line for problem in error.problems for line in problem_lines(problem)]
    return [*lines, visible(error.summary)] if error.summary else lines


def problem_lines(problem: Problem) -> list[str]:
    """`file:line:column: message`, and below it the source line with a caret, or the hint alone."""
    place = f"{visible(problem.place)}: " if problem.place else ""
    expected = problem.expected
    tail = f", expected {expected}" if expected and expected not in problem.message else ""
    first, *rest = (visible(line) for line in f"{problem.message}{tail}".split("\n"))
    hints = [visible(line) for line in (problem.hint or "").splitlines()]
    lines = [place + first, *(f"  {line}" for line in rest)]
    if problem.source is None or problem.line is None or problem.column is None or _binary(problem.source):
        return lines + [f"  {hint}" for hint in hints]
    return lines + _source_lines(problem.source, problem.line, problem.column, problem.width, hints)


def _binary(source: str) -> bool:
    """Whether a line is nothing that a person could read: more than a tenth of it would be escapes."""
    return sum(not char.isprintable() and char != "\t" for char in source) * 10 > len(source)


def _source_lines(source: str, line: int, column: int, width: int, hints: Sequence[str]) -> list[str]:
    """The line of the file, and under it as many carets as are meant with the hint behind them."""
    start = max(0, column - 1 - _BEFORE_SHOWN) if len(source) > _SOURCE_SHOWN else 0
    shown = source[start : start + _SOURCE_SHOWN]
    before, meant = (
        shown[: column - 1 - start],
        shown[column - 1 - start : column - 1 - start + max(width, 1)],
    )
    mark = "…" if start else ""
    tail = "…" if start + _SOURCE_SHOWN < len(source) else ""
    blanks = " " * columns(mark + _tabless(before))
    carets = "^" * max(1, columns(_tabless(meant)))
    gutter = " " * _GUTTER
    first, *rest = hints or [""]
    return [
        f"{line:>{_GUTTER}} │ {mark}{_tabless(shown)}{tail}".rstrip(),
        f"{gutter} │ {blanks}{carets} {first}".rstrip(),
        *(f"{gutter} │ {blanks}{' ' * len(carets)} {hint}" for hint in rest),
    ]


def _tabless(text: str) -> str:
    return visible(text.replace("\t", _TAB))


def summary_line(problems: Collection[Problem], checked: int) -> str:
    """`2 errors in 2 of 4 files`, or `4 files checked, no errors`."""
    if not problems:
        return f"{_many(checked, 'file')} checked, no errors"
    wrong = {problem.file for problem in problems}
    return f"{_many(len(problems), 'error')} in {len(wrong)} of {_many(checked, 'file')}"


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
