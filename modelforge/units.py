"""Sizes, rates and times: from what a person writes to bytes and seconds, and back."""

from __future__ import annotations

import re

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

_FACTORS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """Bytes of `8GiB`, `12 GB`, `512MiB` or `1024`.

    Raises:
        ValueError: with what was expected.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError("a size with its unit, such as '8GiB' or '512MiB'")
    return round(float(match[1]) * factor)


def parse_rate(text: str) -> int:
    """Bytes a second of `1008GB/s`.

    Raises:
        ValueError: with what was expected.
    """
    size, slash, second = text.strip().rpartition("/")
    if not slash or second.strip() != "s":
        raise ValueError("a rate such as '1008GB/s'")
    try:
        return parse_size(size)
    except ValueError:
        raise ValueError("a rate such as '1008GB/s'") from None


def parse_duration(text: str) -> float:
    """Seconds of `30m`, `1h30m`, `250ms`.

    Raises:
        ValueError: with what was expected.
    """
    parts = _DURATION_PART.findall(text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ValueError("a duration such as '30s', '5m' or '1h30m'")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def gib(size: int, digits: int = 1) -> str:
    """`12.1`: bytes in GiB, without the unit, for table columns."""
    return f"{size / GIB:.{digits}f}"


def size_text(size: int) -> str:
    """`12.1 GiB`, `512 MiB`, `3.4 KiB`, `17 B`: bytes in the unit that a person thinks in."""
    for factor, unit in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if abs(size) >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def seconds_text(seconds: float) -> str:
    """`0.3 s`, `48 s`, `3:05 min`."""
    if seconds < 10:  # noqa: PLR2004 (below ten seconds a tenth matters)
        return f"{seconds:.1f} s"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min"
