"""JSON as Go's encoding/json writes it, so that a store that is written here has the bytes a server would write.

Facts: compact, `<`, `>`, `&`, U+2028 and U+2029 escaped, all numbers through float64, maps with sorted keys,
a newline after each value of an Encoder. Tried against real servers with all code points up to U+2FFF and
thousands of random floats.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})
_SMALLEST_PLAIN, _SMALLEST_EXPONENT = 1e-6, 1e21


def document(value: Json, *, sort_keys: bool = False) -> bytes:
    """One value with the newline that Go's Encoder puts behind it.

    Args:
        value: keys come in the order they have, as of a Go struct; see `sort_keys`.
        sort_keys: as Go does with maps.

    Raises:
        ValueError: a number that JSON has not, or text that is no Unicode (a lone surrogate).
    """
    return (encode(value, sort_keys=sort_keys) + "\n").encode()


def encode(value: Json, *, sort_keys: bool = False) -> str:
    """One value, without a newline.

    Raises:
        ValueError: a number that JSON has not.
    """
    if isinstance(value, Mapping):
        pairs = sorted(value.items()) if sort_keys else value.items()
        inner = (f"{string(key)}:{encode(item, sort_keys=sort_keys)}" for key, item in pairs)
        return "{" + ",".join(inner) + "}"
    if isinstance(value, str):
        return string(value)
    if isinstance(value, Sequence):
        return "[" + ",".join(encode(item, sort_keys=sort_keys) for item in value) + "]"
    return scalar(value)


def scalar(value: float | None) -> str:
    """null, true, false, or a number."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value)


def string(text: str) -> str:
    """A text in quotes."""
    return json.dumps(text, ensure_ascii=False).translate(_ESCAPES)


def number(value: float) -> str:
    """A number as Go prints a float64: the shortest digits that give it back, an exponent only far from 1.

    Raises:
        ValueError: not a finite number.
    """
    try:
        real = float(value)
    except OverflowError:
        real = math.inf
    if not math.isfinite(real):
        raise ValueError(f"{value} cannot be written as JSON")
    if real == 0:
        return "-0" if math.copysign(1, real) < 0 else "0"
    if _SMALLEST_PLAIN <= abs(real) < _SMALLEST_EXPONENT:
        plain = format(Decimal(repr(real)), "f")
        return plain.removesuffix(".0")
    return _with_exponent(real)


def _with_exponent(real: float) -> str:
    sign, digits, exponent = Decimal(repr(real)).normalize().as_tuple()
    first, rest = digits[0], "".join(map(str, digits[1:]))
    power = int(exponent) + len(digits) - 1
    mantissa = f"{first}.{rest}" if rest else str(first)
    return f"{'-' if sign else ''}{mantissa}e{'+' if power > 0 else '-'}{abs(power):d}"
