"""Where the keys and values of a TOML text stand: a small scanner for the places in error messages.

TOML parsers give values without places. This one gives places without values, and is only asked once
something is wrong (or somebody asks where a setting comes from). It reads text that a parser has accepted
(TOML 1.0 and 1.1); from anything else it returns what it found before it lost its way.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import tomli

if TYPE_CHECKING:
    from collections.abc import Mapping

KeyPath: TypeAlias = tuple[str | int, ...]
Span: TypeAlias = tuple[int, int]

_BARE = r"[A-Za-z0-9_-]+"
_BASIC = r'"(?:\\.|[^"\\\n])*"'
_LITERAL = r"'[^'\n]*'"
_KEY_PART = re.compile(f"{_BARE}|{_BASIC}|{_LITERAL}")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_GAP = re.compile(r"(?:[\s,]|#[^\n]*)*")
_BLANKS = re.compile(r"[ \t]*")
_HEADER_END = re.compile(r"[ \t]*\]{1,2}")
# One or two quotes may stand anywhere in a long string, right before its closing three as well.
_LONG_BASIC = r'"""[^"\\]*(?:(?:\\(?s:.)|"{1,2}(?!"))[^"\\]*)*"{3,5}'
_LONG_LITERAL = r"'''[^']*(?:'{1,2}(?!')[^']*)*'{3,5}"
_WORD = r"""[^\s,\[\]{}#"'][^,\[\]{}#\n]*"""
_SCALAR = re.compile(f"{_LONG_BASIC}|{_LONG_LITERAL}|{_BASIC}|{_LITERAL}|{_WORD}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a key and its value stand: lines and columns from 1, columns and widths in characters.

    A width ends with the line where the key or value begins. An entry of a list has no key of its own: its
    value counts as one. The value of a `[table]` is its header.
    """

    line: int
    column: int
    width: int
    value_line: int
    value_column: int
    value_width: int


TOP = Position(line=1, column=1, width=1, value_line=1, value_column=1, value_width=1)
"""The start of a file."""


@lru_cache(maxsize=32)
def positions(text: str) -> Mapping[KeyPath, Position]:
    """The place of every table, key and list entry: `("smoke", 0, "expect", "contains", 1)`.

    Names in a path are decoded (quotes and escapes gone), numbers are places in lists, counted from 0.
    A byte order mark at the start does not count as a column. Never raises.
    """
    scanner = _Scanner(text.removeprefix("\ufeff"))
    with suppress(_Lost):
        scanner.document()
    return MappingProxyType(scanner.found)


def unclosed(text: str) -> tuple[int, int] | None:
    """Line and column where the value begins that the text ends in the middle of; None if there is none."""
    scanner = _Scanner(text)
    try:
        scanner.document()
    except _Lost:
        at = scanner.opened[-1].start if scanner.opened else scanner.at
        line, column, _ = scanner.place((at, at))
        return line, column
    return None


def key_parts(text: str) -> tuple[str, ...] | None:
    """The names in a dotted key as TOML spells it: `vars."a.b"` has `vars` and `a.b`; None if it is no key."""
    scanner = _Scanner(text.strip())
    try:
        parts = scanner.key()
    except _Lost:
        return None
    return tuple(name for name, _ in parts) if scanner.at == len(scanner.text) else None


class _Lost(Exception):
    """The text is not TOML here."""


@dataclass(kw_only=True, slots=True)
class _Open:
    """A list or inline table that has begun; `count` is None for a table."""

    path: KeyPath
    key: Span
    start: int
    count: int | None


class _Scanner:
    """Walks over the text once, without recursion: lists may be nested as deep as the parser lets them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[KeyPath, Position] = {}
        self.opened: list[_Open] = []
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lengths: dict[KeyPath, int] = {}

    def document(self) -> None:
        """All statements: `[table]`, `[[table]]`, `key = value`."""
        table: KeyPath = ()
        self._skip(_GAP)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._key_value(table)
            self._skip(_GAP)

    def key(self) -> list[tuple[str, Span]]:
        """A dotted key: each name, decoded, with where it stands."""
        parts = []
        while True:
            span = self._take(_KEY_PART)
            parts.append((_decoded(self.text[slice(*span)]), span))
            dot = _DOT.match(self.text, self.at)
            if dot is None:
                return parts
            self.at = dot.end()

    def _header(self) -> KeyPath:
        double = self.text.startswith("[[", self.at)
        self.at += 2 if double else 1
        self._skip(_BLANKS)
        parts = self.key()
        path: KeyPath = ()
        for name, span in parts[:-1]:
            path = self._into((*path, name))
            self._note(path, span, span)
        name, span = parts[-1]
        path = (*path, name)
        if double:
            self._note(path, span, span)
            self._lengths[path] = self._lengths.get(path, 0) + 1
            path = self._into(path)
        self.found.pop(path, None)  # a header says more than [table.below] or a dotted key before it
        self._note(path, span, span)
        self._skip(_HEADER_END)
        return path

    def _into(self, path: KeyPath) -> KeyPath:
        """The path, or that of its last entry where it is an array of tables."""
        length = self._lengths.get(path)
        return path if length is None else (*path, length - 1)

    def _key_value(self, table: KeyPath) -> None:
        """`key = value` with everything inside the value."""
        self._begin(*self._assigned(table))
        while self.opened:
            self._skip(_GAP)
            inner = self.opened[-1]
            if self.text.startswith(("]", "}"), self.at):
                self.at += 1
                self._note(inner.path, inner.key, (inner.start, self.at))
                self.opened.pop()
            elif inner.count is None:
                self._begin(*self._assigned(inner.path))
            else:
                inner.count += 1
                self._begin((*inner.path, inner.count - 1), None)

    def _assigned(self, table: KeyPath) -> tuple[KeyPath, Span]:
        """Reads `key =`: the key's whole path, and where its last name stands."""
        path = table
        parts = self.key()
        for name, span in parts[:-1]:
            path = (*path, name)
            self._note(path, span, span)
        self._take(_EQUALS)
        return (*path, parts[-1][0]), parts[-1][1]

    def _begin(self, path: KeyPath, key: Span | None) -> None:
        """Reads a value, or only the bracket that opens it."""
        start = self.at
        bracket = self.text[start : start + 1]
        if bracket and bracket in "[{":
            self.at += 1
            count = 0 if bracket == "[" else None
            self.opened.append(_Open(path=path, key=key or (start, start + 1), start=start, count=count))
            return
        begin, end = self._take(_SCALAR)
        value = (begin, begin + len(self.text[begin:end].rstrip()))
        self._note(path, key or value, value)

    def _note(self, path: KeyPath, key: Span, value: Span) -> None:
        if path in self.found:
            return
        line, column, width = self.place(key)
        value_line, value_column, value_width = self.place(value)
        self.found[path] = Position(
            line=line,
            column=column,
            width=width,
            value_line=value_line,
            value_column=value_column,
            value_width=value_width,
        )

    def place(self, span: Span) -> tuple[int, int, int]:
        """Line, column and width of a span."""
        line = bisect_right(self._lines, span[0])
        shown = self.text[span[0] : span[1]].partition("\n")[0].rstrip("\r")
        return line, span[0] - self._lines[line - 1] + 1, max(len(shown), 1)

    def _take(self, pattern: re.Pattern[str]) -> Span:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _Lost
        self.at = match.end()
        return match.span()

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()


def _decoded(part: str) -> str:
    """A name as the parser gives it."""
    if part[0] == "'":
        return part[1:-1]
    if part[0] != '"':
        return part
    if "\\" not in part:
        return part[1:-1]
    try:
        name = tomli.loads(f"{part} = 0")
    except tomli.TOMLDecodeError:
        raise _Lost from None
    return next(iter(name))
