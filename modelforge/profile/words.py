"""How values, keys and tables read in a sentence of an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelforge.profile.positions import KeyPath

_LONGEST = 60


def value_text(value: object) -> str:
    """A value as an error message shows it: `"big"`, `7`, `true`, `a list`."""
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= _LONGEST else text[: _LONGEST - 2] + '…"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    return "a date or time"


def name_text(path: KeyPath) -> str:
    """A key as a sentence begins with it: `'num_ctx'`, `an entry of 'stop'`."""
    if not path:
        return "the file"
    if isinstance(path[-1], int):
        return f"an entry of {name_text(path[:-1])}"
    return f"'{path[-1]}'"


def table_text(path: KeyPath) -> str:
    """A table as TOML heads it: `[parameters]`, `[[smoke]]`; "" for the top of the file."""
    name = ".".join(part for part in path if isinstance(part, str))
    if not name:
        return ""
    return f"[[{name}]]" if isinstance(path[-1], int) else f"[{name}]"
