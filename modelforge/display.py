"""Text of others (answers, names, messages) made safe for one line of a terminal, and fitted to its columns."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# Written out, these would move the cursor, turn the line round or break it.
_UNSAFE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, *, keep: str = "") -> str:
    """The text with everything that a terminal would act on written as an escape, but for the characters in `keep`."""
    if text.isprintable():
        return text
    return "".join(char if char in keep else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char in _TURNING or unicodedata.category(char) in _UNSAFE:
        code = ord(char)
        return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 (one byte)
    return char


def columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else _columns(text)


@lru_cache(maxsize=4096)
def _columns(text: str) -> int:
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    if unicodedata.combining(char) or char in "\u200b\u200d\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def left(text: str, width: int) -> str:
    """The text, padded on its right to `width` columns."""
    return text + " " * (width - columns(text))


def right(text: str, width: int) -> str:
    """The text, padded on its left to `width` columns."""
    return " " * (width - columns(text)) + text


def shorten(text: str, width: int) -> str:
    """The text, safe and in at most `width` columns, its end replaced by `…` where it is longer."""
    shown = visible(text)
    if columns(shown) <= width:
        return shown
    kept, used = [], 1
    for char in shown:
        used += _columns_of(char)
        if used > width:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…"
