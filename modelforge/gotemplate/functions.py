"""What a Go template may call: Go's own functions, and those that Ollama adds.

Values: nil is None, text str, numbers int or float, lists list or tuple, maps dict, structs `Struct`. Lengths and
places of texts count bytes, as Go does. Rules: Go's text/template/funcs.go; ollama template/template.go (v0.32.15).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote_plus

Value: TypeAlias = Any
_LARGE = 6
_MOST_DIGITS = 18
_SMALL = -4


class Struct(dict[str, Any]):
    """A Go struct: asked for a field that it has not, a template fails."""


class NoList(tuple[Any, ...]):
    """A list that Go was never given: empty, and null in JSON. `text` is how it is printed."""

    __slots__ = ()
    text = "[]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Today:
    """What `currentDate` and `yesterdayDate` give, `2026-01-31`."""

    current: str
    yesterday: str


def is_true(value: Value) -> bool:
    """Whether `if` takes a value for true: nil, zero and all that is empty are not; a struct always is."""
    return True if isinstance(value, Struct) else bool(value)


def text_of(value: Value) -> str:
    """A value as Go's fmt prints it with %v."""
    if value is None or isinstance(value, bool):
        return {None: "<nil>", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Struct):
        return "{" + " ".join(map(text_of, value.values())) + "}"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{text_of(key)}:{text_of(value[key])}' for key in sorted(value))}]"
    if isinstance(value, NoList):
        return value.text
    return f"[{' '.join(map(text_of, value))}]" if isinstance(value, list | tuple) else str(value)


def _float(value: float) -> str:
    """The shortest text that is the same number, with an exponent where %g has one."""
    if math.isinf(value) or math.isnan(value):
        return "NaN" if math.isnan(value) else f"{value:+}".replace("inf", "Inf")
    exponent = int(f"{value:e}".partition("e")[2])
    if _SMALL <= exponent < _LARGE:
        return repr(value).removesuffix(".0") if "e" not in repr(value) else f"{value:.4f}".rstrip("0")
    written = (f"{value:.{places}e}" for places in range(_MOST_DIGITS))
    digits, _, power = next(text for text in written if float(text) == value).partition("e")
    return f"{digits}e{int(power):+03d}"


def _kind(value: Value) -> str:
    """Go's basic kind of a value, "" where it has none."""
    for types, kind in ((bool, "bool"), (int, "int"), (float, "float"), (str, "string")):
        if isinstance(value, types):
            return kind
    return ""


def _equal(first: Value, *others: Value) -> bool:
    if not others:
        raise ValueError("eq needs something to compare with")
    return any(_same(first, other) for other in others)


def _same(first: Value, other: Value) -> bool:
    if first is None or other is None:
        return first is other
    if _kind(first) != _kind(other):
        raise ValueError("incompatible types for comparison")
    if not _kind(first):
        raise ValueError("a list, map or struct cannot be compared")
    return bool(first == other)


def _less(first: Value, other: Value) -> bool:
    if not _kind(first) or not _kind(other) or _kind(first) == "bool":
        raise ValueError("invalid type for comparison")
    if _kind(first) != _kind(other):
        raise ValueError("incompatible types for comparison")
    if isinstance(first, str):
        return first.encode(errors="surrogateescape") < str(other).encode(errors="surrogateescape")
    return bool(first < other)


def _index(value: Value, *keys: Value) -> Value:
    if value is None:
        raise ValueError("index of nil")
    for key in keys:
        value = _item(value, key)
    return value


def _item(value: Value, key: Value) -> Value:
    if value is None:
        raise ValueError("index of nil")
    if isinstance(value, Mapping) and not isinstance(value, Struct):
        if isinstance(key, str):
            return value.get(key)
        raise ValueError(f"a map has no key {text_of(key)}")
    data = _bytes_of(value)
    number = -1 if isinstance(key, bool) or not isinstance(key, int) else key
    if not 0 <= number < len(data):
        raise ValueError(f"index out of range: {text_of(key)}")
    return data[number]


def _bytes_of(value: Value) -> Sequence[Value]:
    """What is counted of a list or a text."""
    if isinstance(value, str):
        return value.encode(errors="surrogateescape")
    if isinstance(value, list | tuple):
        return value
    raise ValueError(f"{text_of(value)} is neither a list nor a text")


def _slice(value: Value, *places: Value) -> Value:
    data = _bytes_of(value)
    if any(isinstance(place, bool) or not isinstance(place, int) for place in places):
        raise ValueError("slice takes whole numbers")
    if len(places) > (2 if isinstance(value, str) else 3):
        raise ValueError("slice takes fewer numbers")
    start = places[0] if places else 0
    end = places[1] if len(places) > 1 else len(data)
    if not 0 <= start <= end <= len(data):
        raise ValueError(f"slice out of range: {start} to {end} of {len(data)}")
    part = data[start:end]
    return part.decode(errors="surrogateescape") if isinstance(part, bytes) else part


def _length(value: Value) -> int:
    return len(value) if isinstance(value, Mapping) else len(_bytes_of(value))


def _print(*values: Value) -> str:
    """Go's fmt.Sprint: a blank between two values of which neither is a text."""
    parts: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            parts.append(" ")
        parts.append(text_of(value))
    return "".join(parts)


def _println(*values: Value) -> str:
    return " ".join(map(text_of, values)) + "\n"


def _json(value: Value) -> str:
    """Go's encoding/json: no blanks, maps sorted, and what HTML knows is escaped."""
    text = json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return "".join(escapes.get(char, char) for char in text)


def _plain(value: Value) -> Value:
    if isinstance(value, Mapping):
        keys = value if isinstance(value, Struct) else sorted(value)
        return {key: _plain(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return None if isinstance(value, NoList) else [_plain(one) for one in value]
    return value


def _printf(form: str, *values: Value) -> str:
    """The verbs that templates use: %s, %v, %d, %t, %q and %%."""
    left = list(values)

    def one(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if not left or found[0] not in {"%s", "%v", "%d", "%t", "%q"}:
            raise ValueError(f"{found[0]} is not supported here")
        value = left.pop(0)
        return json.dumps(value, ensure_ascii=False) if found[0] == "%q" else text_of(value)

    text = re.sub(r"%.?", one, form)
    if left:
        raise ValueError("there are more values than places for them")
    return text


def _shown(*values: Value) -> str:
    return _print(*("<no value>" if value is None else value for value in values))


def _html(*values: Value) -> str:
    text = _shown(*values)
    escapes = {"&": "&amp;", "'": "&#39;", '"': "&#34;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"}
    return "".join(escapes.get(char, char) for char in text)


def _unsupported(*_values: Value) -> Value:
    raise ValueError("this function is not supported here")


OLLAMAS = frozenset({"json", "toTypeScriptType", "currentDate", "yesterdayDate"})
"""What Ollama adds."""

FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "eq": _equal,
    "ne": lambda first, other: not _same(first, other),
    "lt": _less,
    "le": lambda first, other: _less(first, other) or _same(first, other),
    "gt": lambda first, other: not (_less(first, other) or _same(first, other)),
    "ge": lambda first, other: not _less(first, other),
    "not": lambda value: not is_true(value),
    "len": _length,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": _println,
    "printf": _printf,
    "html": _html,
    "urlquery": lambda *values: quote_plus(_shown(*values)),
    "json": _json,
    "toTypeScriptType": lambda _value: "any",
    # these need more than their values: see `execute`
    "and": _unsupported,
    "or": _unsupported,
    "currentDate": _unsupported,
    "yesterdayDate": _unsupported,
    "js": _unsupported,
    "call": _unsupported,
}
