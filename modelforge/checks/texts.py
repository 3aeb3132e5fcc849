"""Checks of the answer as text."""

from __future__ import annotations

import difflib
import re

from modelforge.checks.outcome import LONGEST, SHOWN, Wrong, place
from modelforge.display import shorten


def contains(wanted: str, text: str) -> str:
    """The text is in the answer, capitals as given."""
    index = text.find(wanted)
    if index >= 0:
        return f"found at {place(text, index)}"
    other = re.search(re.escape(wanted), text, re.IGNORECASE)
    if other:
        raise Wrong(f"only with other capitals at {place(text, other.start())}: {shorten(other[0], SHOWN)}")
    raise Wrong(f"not there{_nearest_line(wanted, text)}")


def _nearest_line(wanted: str, text: str) -> str:
    lines = [line.strip()[:200] for line in text[:LONGEST].splitlines()[:200]]
    near = difflib.get_close_matches(wanted.strip()[:200], lines, n=1, cutoff=0.5)
    return f"; nearest: {shorten(near[0], SHOWN)}" if near else ""


def not_contains(wanted: str, text: str) -> str:
    """The text is nowhere in the answer."""
    index = text.find(wanted)
    if index < 0:
        return "not there"
    start, end = text.rfind("\n", 0, index) + 1, text.find("\n", index)
    line = text[max(start, index - 20) : end if end >= 0 else len(text)]
    raise Wrong(f"found at {place(text, index)}: {shorten(line, SHOWN)}")


def equals(wanted: str, text: str) -> str:
    """The answer is just that, but for blanks around it."""
    expected, got = wanted.strip(), text.strip()
    if expected == got:
        return "the same"
    if not got:
        raise Wrong("the answer is empty")
    pairs = enumerate(zip(expected, got, strict=False))
    shorter = min(len(expected), len(got))
    index = next((index for index, (one, other) in pairs if one != other), shorter)
    rest = shorten(got[index:], SHOWN) if index < len(got) else "(the answer ends there)"
    raise Wrong(f"differs from {place(got, index)} on: {rest}")


def starts_with(wanted: str, text: str) -> str:
    """The answer begins so, after leading blanks."""
    beginning = text.lstrip()
    if beginning.startswith(wanted.lstrip()):
        return "it does"
    raise Wrong(f"starts with {shorten(beginning[: 2 * SHOWN], SHOWN)}")


def regex(wanted: str, text: str) -> str:
    """The regular expression matches somewhere in the answer's first `LONGEST` characters."""
    try:
        found = re.search(wanted, text[:LONGEST])
    except re.error as error:
        raise Wrong(f"not a regular expression: {error}") from None
    if found:
        return f"found at {place(text, found.start())}: {shorten(found[0], SHOWN)}"
    raise Wrong("no match" + (f" in the first {LONGEST} characters" if len(text) > LONGEST else ""))
