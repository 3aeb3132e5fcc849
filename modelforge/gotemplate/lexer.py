"""From the text of a Go template to text and tokens, with the trimming of blanks that its markers ask for.

Rules: Go's text/template/parse/lex.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from modelforge.gotemplate.problem import problem_at

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

Kind: TypeAlias = Literal[
    "text", "open", "close", "field", "dot", "variable", "word", "string", "char", "number", "sign"
]

_BLANKS = " \t\r\n"
_OPEN = re.compile(r"\{\{(?P<trim>-(?=[ \t\r\n]))?")
_COMMENT = re.compile(
    r"[ \t\r\n]*/\*(?P<said>.*?)\*/(?P<rest>[ \t\r\n]*(?P<trim>(?<=[ \t\r\n])-)?\}\})", re.DOTALL
)
_CLOSE = re.compile(r"(?P<trim>(?<=[ \t\r\n])-)?\}\}")
_TOKEN = re.compile(
    r"""
      (?P<variable>\$\w*)
    | (?P<field>\.[^\W\d]\w*)
    | (?P<number>[+-]?(?:0[xXoObB][0-9a-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?))
    | (?P<dot>\.)
    | (?P<word>[^\W\d]\w*)
    | (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    | (?P<char>'(?:[^'\\\n]|\\[^\n])+')
    | (?P<sign>:=|[=|(),])
    """,
    re.VERBOSE,
)
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a template. `spaced`: a blank stands before it, which parts arguments. `at` is its first character."""

    kind: Kind
    text: str
    at: int
    spaced: bool = False


def line_of(source: str, at: int) -> int:
    """The line that a character is in, from 1 on."""
    return source.count("\n", 0, at) + 1


def tokens(source: str) -> Iterator[Token]:
    """All of a template. An action is what stands from an `open` to the next `close`.

    Raises:
        GoTemplateProblem: an action is not closed, or has what is no token.
    """
    at, trim = 0, False
    while True:
        found = _OPEN.search(source, at)
        text = source[at : found.start() if found else len(source)]
        if trim:
            text = text.lstrip(_BLANKS)
        if found and found["trim"]:
            text = text.rstrip(_BLANKS)
        if text:
            yield Token("text", text, at)
        if found is None:
            return
        comment = _COMMENT.match(source, found.end())
        if comment:
            at, trim = comment.end(), comment["trim"] is not None
            continue
        yield Token("open", found[0], found.start())
        at, trim = yield from _action(source, found.end(), found.start())


def _action(source: str, at: int, start: int) -> Generator[Token, None, tuple[int, bool]]:
    """The tokens of an action; gives where it ends, and whether what follows is trimmed."""
    spaced = False
    while True:
        while at < len(source) and source[at] in _BLANKS:
            at, spaced = at + 1, True
        close = _CLOSE.match(source, at)
        if close:
            yield Token("close", close[0], at)
            return close.end(), close["trim"] is not None
        found = _TOKEN.match(source, at)
        if at >= len(source):
            raise problem_at("an action is not closed: '}}' is missing", source, start)
        if found is None or found.lastgroup is None:
            raise problem_at(_odd(source[at:]), source, at)
        kind: Kind = found.lastgroup  # type: ignore[assignment]
        yield Token(kind, found[0], at, spaced)
        at, spaced = found.end(), False


def _odd(rest: str) -> str:
    shown = rest[:_SHOWN].partition("\n")[0]
    if rest.startswith(('"', "'", "`")):
        return f"a text is not closed: {shown}"
    if rest.startswith("/*"):
        return "a comment must be all that an action has"
    return f"unexpected {shown!r} in an action"
