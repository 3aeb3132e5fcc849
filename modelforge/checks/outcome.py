"""How a check tells what came of it, and what the checks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LONGEST = 50_000
"""Characters of an answer that regular expressions and Python's parser see: both can be very slow on hostile text."""

SHOWN = 60
"""Columns of an answer's piece in what a check tells."""


class Wrong(Exception):
    """Raised by a check that fails; its text is what was got."""


class Unknown(Exception):
    """Raised by a check that cannot be made; its text is why."""


def place(text: str, index: int) -> str:
    """`line:column` of a place in the answer, from 1."""
    return f"{text.count(chr(10), 0, index) + 1}:{index - text.rfind(chr(10), 0, index)}"


def plain(value: object) -> object:
    """Mappings and sequences as dict and list, all the way down: what json and jsonschema take."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(inner) for inner in value]
    return value
