"""What is wrong with a Go template."""

from __future__ import annotations


class GoTemplateProblem(ValueError):
    """A template that cannot be parsed, or fails while it runs. `line` and `column` are its own, from 1 on."""

    def __init__(self, message: str, line: int, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def problem_at(message: str, source: str, at: int) -> GoTemplateProblem:
    """What is wrong at a character of a template."""
    start = source.rfind("\n", 0, at) + 1
    return GoTemplateProblem(message, source.count("\n", 0, at) + 1, at - start + 1)
