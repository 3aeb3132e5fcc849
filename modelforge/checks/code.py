"""The check that an answer holds Python. The code is parsed, never run."""

from __future__ import annotations

import re
import textwrap
import warnings

from modelforge.checks.outcome import LONGEST, SHOWN, Wrong
from modelforge.display import shorten

_BLOCK = re.compile(
    r"^[ \t]*(?P<fence>```|~~~)[ \t]*(?P<language>[\w+#-]*)[^\n]*\n(?P<code>.*?)(?:^[ \t]*(?P=fence)|\Z)",
    re.DOTALL | re.MULTILINE,
)
_PYTHON = frozenset({"python", "py", "python3"})


def python(wanted: bool, text: str) -> str:  # noqa: FBT001 (the profile's value)
    """A code block of the answer parses as Python; or, for False, none does."""
    try:
        found = _parse(text[:LONGEST])
    except Wrong as wrong:
        if wanted:
            raise
        return str(wrong)
    if not wanted:
        raise Wrong(found)
    return found


def _parse(text: str) -> str:
    """Where the first code is that parses. A block that ends nowhere goes on to the answer's end."""
    problems = []
    for code, line in _pieces(text):
        problem = _problem(code, line)
        if problem is None:
            return f"Python at {line + 1}:1"
        problems.append(problem)
    raise Wrong(problems[0] if problems else "no code block of Python")


def _pieces(text: str) -> list[tuple[str, int]]:
    """The code to look at, each piece with how many lines are before it.

    Blocks marked as Python; else those without a language; else, where there is no block at all, the whole answer.
    """
    blocks = list(_BLOCK.finditer(text))
    if not blocks:
        return [(text, 0)]
    marked = [block for block in blocks if block["language"].lower() in _PYTHON]
    chosen = marked or [block for block in blocks if not block["language"]]
    return [(block["code"], text.count("\n", 0, block.start("code"))) for block in chosen]


def _problem(code: str, line: int) -> str | None:
    """Why the code is not Python; None if it is."""
    import ast  # noqa: PLC0415 (seldom needed)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a string is the model's affair
            tree = ast.parse(textwrap.dedent(code))
    except SyntaxError as error:
        return f"not Python at {line + (error.lineno or 1)}:{error.offset or 1}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"not Python: {shorten(str(error) or type(error).__name__, SHOWN)}"
    if all(isinstance(node, ast.Expr) and _is_prose(node.value) for node in tree.body):
        return "no code, only words"
    return None


def _is_prose(node: object) -> bool:
    """`Sure` and `Yes, done` parse as Python, but nobody meant them so."""
    import ast  # noqa: PLC0415

    if isinstance(node, ast.Tuple):
        return all(_is_prose(part) for part in node.elts)
    return isinstance(node, ast.Name | ast.Constant)
