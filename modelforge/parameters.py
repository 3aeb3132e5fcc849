"""Ollama's parameters: their names, their types, and what becomes of a value that is written as text.

Names and types are those of `api.Options` and `api.Runner` (ollama/ollama api/types.go, v0.32.15), the way from
text is that of `api.FormatParams`: whole numbers of 64 bits, floats of 32 bits, Go's spellings of true and false.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

ParameterValue: TypeAlias = "bool | int | float | str | tuple[str, ...]"

TYPES: Mapping[str, type] = {
    "num_ctx": int,
    "num_batch": int,
    "num_keep": int,
    "num_predict": int,
    "num_gpu": int,
    "main_gpu": int,
    "num_thread": int,
    "draft_num_predict": int,
    "seed": int,
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "typical_p": float,
    "repeat_last_n": int,
    "repeat_penalty": float,
    "presence_penalty": float,
    "frequency_penalty": float,
    "use_mmap": bool,
    "stop": tuple,
}
IGNORED = frozenset(
    {
        "penalize_newline",
        "low_vram",
        "f16_kv",
        "logits_all",
        "vocab_only",
        "use_mlock",
        "mirostat",
        "mirostat_tau",
        "mirostat_eta",
    }
)
"""Accepted by Ollama's command and then thrown away."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_INT64 = 1 << 63
_INFINITIES = (float("inf"), float("-inf"))


def parse_value(name: str, text: str) -> ParameterValue:
    """A parameter's value, typed; for `stop` a tuple of one. `name` is one of `TYPES`.

    Whole numbers may be spelled as floats (`8.192e+03`): `ollama show --modelfile` prints them so.

    Raises:
        ValueError: with what was expected.
    """
    if TYPES[name] is int and not _INTEGER.fullmatch(text) and _FLOAT.fullmatch(text):
        number = float(text)
        if number.is_integer():
            return int(number)
    return _float(text) if TYPES[name] is float else _parsed(name, text)


def as_ollama_takes(name: str, text: str) -> ParameterValue:
    """A parameter's value as it reaches a server from `ollama create -f`; for `stop` a tuple of one.

    Raises:
        ValueError: the command refuses it.
    """
    if TYPES[name] is float:
        return _narrowed(_float(text))
    value = _parsed(name, text)
    # The server reads JSON numbers as float64, so above 2^53 the last digits go.
    return int(float(value)) if type(value) is int else value


def value_text(value: ParameterValue) -> str:
    """A scalar as a Modelfile spells it: `0.2`, `1`, `true`, or the string itself."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _parsed(name: str, text: str) -> ParameterValue:
    if TYPES[name] is tuple:
        return (text,)
    if TYPES[name] is bool:
        if text not in _TRUE | _FALSE:
            raise ValueError("true or false")
        return text in _TRUE
    if not _INTEGER.fullmatch(text) or not -_INT64 <= int(text) < _INT64:
        raise ValueError("a whole number")
    return int(text)


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text) or float(text) in _INFINITIES:
        raise ValueError("a number")
    return float(text)


def _narrowed(number: float) -> float:
    """The number rounded to 32 bits and then spelled with as few digits as tell it from its neighbours."""
    single = _single(number)
    if single in _INFINITIES:
        raise ValueError("a number that fits 32 bits")
    spelled = (float(f"{single:.{digits}g}") for digits in range(1, 18))
    return next(short for short in spelled if _single(short) == single)


def _single(number: float) -> float:
    """The nearest number of 32 bits; infinite where there is none."""
    try:
        unpacked: tuple[float] = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        return float("inf")
    return unpacked[0]
