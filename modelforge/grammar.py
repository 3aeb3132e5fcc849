"""The grammar of Modelfile text: instructions with their values, and where each stands.

The rules are those of Ollama's parser (ollama/ollama parser/parser.go, the same in v0.24.0 and v0.32.15), read in
two ways: `instructions` keeps every character, `as_ollama_reads` drops what Ollama drops. A value runs to the end
of its line; one that begins with three quotes or with one runs to the first line end before which as many stand.
There are no escapes. `#` begins a comment only where an instruction may begin.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from modelforge.errors import Problem, TemplateProblem, did_you_mean
from modelforge.printable import without_dropped

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = (
    "FROM",
    "ADAPTER",
    "TEMPLATE",
    "SYSTEM",
    "RENDERER",
    "PARSER",
    "REQUIRES",
    "PARAMETER",
    "MESSAGE",
    "LICENSE",
    "DRAFT",
)
ROLES = ("system", "user", "assistant")
BLANKS = " \t\r\n"
TRIPLE = '"""'

_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
_BETWEEN = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)*")
_WORD = re.compile(r"[^ \t\r\n]*")
_SPACES = re.compile(r"[ \t]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """One instruction: its word in capitals, a parameter's name or message's role (else ""), its value.

    `at`, `name_at` and `value_at` are offsets into the text, in characters.
    """

    word: str
    name: str
    value: str
    at: int
    name_at: int
    value_at: int


class Source:
    """A text in which problems have places. CRLF, LF and CR each end one line."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self._starts = [0, *(match.end() for match in _LINE_END.finditer(self.text))]

    def position(self, at: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        line = bisect_right(self._starts, at)
        return line, at - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line, from 1, without its end."""
        return _match(_LINE, self.text, self._starts[number - 1])[1]

    def error(
        self, at: int, message: str, *, expected: str | None = None, hint: str | None = None, width: int = 1
    ) -> TemplateProblem:
        """The error to raise for what stands at an offset."""
        line, column = self.position(at)
        problem = Problem(
            message=message,
            kind=TemplateProblem.kind,
            file=self.file,
            line=line,
            column=column,
            expected=expected,
            hint=hint,
            source=self.line(line),
            width=max(width, 1),
        )
        return TemplateProblem(problems=[problem])


def instructions(source: Source) -> tuple[Instruction, ...]:
    """The instructions of a text in their order, values unquoted, every character kept.

    Raises:
        TemplateProblem: an unknown instruction or role, a missing value, quotes that do not end.
    """
    return _read(source, _Exact())


def as_ollama_reads(source: Source) -> tuple[Instruction, ...]:
    """The instructions that `ollama create -f` acts on.

    Raises:
        TemplateProblem: Ollama's parser refuses the text.
    """
    return tuple(_by_command_name(one) for one in _read(source, _Ollama()))


class _Dialect(Protocol):
    """Where the two readers differ."""

    def word(self, text: str) -> str: ...
    def name_at(self, text: str, at: int) -> int: ...
    def kept(self, text: str) -> str: ...


class _Exact:
    def word(self, text: str) -> str:
        return text

    def name_at(self, text: str, at: int) -> int:
        return _match(_SPACES, text, at).end()

    def kept(self, text: str) -> str:
        return text


class _Ollama:
    def word(self, text: str) -> str:
        """The first character may be anything; one that is not printable is then dropped like any other."""
        return without_dropped(text[:1]) + text[1:]

    def name_at(self, text: str, at: int) -> int:  # noqa: ARG002 (a second blank ends an empty name)
        return at

    def kept(self, text: str) -> str:
        return without_dropped(text)


def _read(source: Source, dialect: _Dialect) -> tuple[Instruction, ...]:
    found = []
    at = _match(_BETWEEN, source.text, 0).end()
    while at < len(source.text):
        word, after = _read_word(source, at, dialect)
        name, name_at = "", after
        if word in {"PARAMETER", "MESSAGE"}:
            name_at = dialect.name_at(source.text, after)
            name, after = _read_name(source, word, name_at)
        value, end = _read_value(source, after, dialect.kept)
        found.append(Instruction(word=word, name=name, value=value, at=at, name_at=name_at, value_at=after))
        at = _match(_BETWEEN, source.text, end).end()
    return tuple(found)


def _match(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    """The match at an offset, of a pattern that also matches nothing."""
    match = pattern.match(text, at)
    if match is None:
        raise AssertionError(pattern)
    return match


def _read_word(source: Source, at: int, dialect: _Dialect) -> tuple[str, int]:
    """The instruction at `at` and where its argument begins, one blank later."""
    written = _match(_WORD, source.text, at)
    word = dialect.word(written[0])
    if not word.isascii() or word.upper() not in WORDS:
        raise source.error(
            at,
            f"unknown instruction '{written[0]}'",
            expected="one of " + ", ".join(WORDS[:-1]),
            hint=did_you_mean(word, WORDS) or 'a text of several lines needs quotes: SYSTEM """…"""',
            width=len(written[0]),
        )
    return word.upper(), _after_blank(source, written, word.upper())


def _after_blank(source: Source, written: re.Match[str], what: str) -> int:
    if source.text[written.end() : written.end() + 1] not in {" ", "\t"}:
        raise source.error(
            written.start(), f"{what} has no value", hint="write it on the same line", width=len(written[0])
        )
    return written.end() + 1


def _read_name(source: Source, word: str, at: int) -> tuple[str, int]:
    """The name of a parameter or the role of a message, and where the value begins."""
    written = _match(_WORD, source.text, at)
    if word == "MESSAGE" and written[0] not in ROLES:
        raise source.error(
            at,
            f"unknown role '{written[0]}' of a message",
            expected="one of " + ", ".join(ROLES),
            hint=did_you_mean(written[0], ROLES),
            width=len(written[0]),
        )
    return written[0], _after_blank(source, written, f"{word} {written[0]}".rstrip())


def _read_value(source: Source, at: int, kept: Callable[[str], str]) -> tuple[str, int]:
    """The value that begins at `at`, unquoted, and where its last line ends."""
    lines = _LINE.finditer(source.text, at)
    line = next(lines)
    parts = [kept(line[1])]
    first = parts[0].strip(BLANKS)
    if not first.startswith('"'):
        return first, line.end()
    quote = TRIPLE if first.startswith(TRIPLE) else '"'
    closed = len(first) >= 2 * len(quote) and first.endswith(quote)
    while not closed:
        if line.end() == len(source.text):
            raise source.error(
                at + source.text[at:].index('"'),
                f"the text that begins here with {quote} does not end",
                hint=f"the closing {quote} must be the last thing on its line",
                width=len(quote),
            )
        parts.append(line[2])
        line = next(lines)
        parts.append(kept(line[1]))
        closed = parts[-1].rstrip(BLANKS).endswith(quote)
    return "".join(parts).strip(BLANKS)[len(quote) : -len(quote)], line.end()


def _by_command_name(one: Instruction) -> Instruction:
    """Ollama files parameters and other instructions under one name: `PARAMETER system x` sets the system."""
    commands = {word.lower(): word for word in WORDS if word not in {"FROM", "PARAMETER"}} | {"model": "FROM"}
    word = commands.get(one.name) if one.word == "PARAMETER" else None
    if word is None:
        return one
    if word == "MESSAGE":
        role, _, content = one.value.partition(": ")
        return replace(one, word=word, name=role, value=content)
    return replace(one, word=word, name="")
