"""What JSON Schema can say of our validators: noted where a validator stands, read by `json_schema`.

Patterns are searched by the tools that read them, so they are anchored here; they keep to what Python, ECMA and
Rust's regular expressions share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_F = TypeVar("_F", bound="Callable[..., Any]")


def rule(**keywords: Any) -> Callable[[_F], _F]:  # noqa: ANN401 (JSON)
    """Notes on a validator the keywords of JSON Schema that refuse what it refuses."""

    def note(validator: _F) -> _F:
        validator.__dict__["json_schema"] = keywords
        return validator

    return note


def rule_of(validator: object) -> Mapping[str, Any]:
    """The keywords that were noted; none where JSON Schema has no words for what a validator asks."""
    found: Mapping[str, Any] = getattr(validator, "json_schema", {})
    return found


def whole(pattern: str) -> str:
    """A pattern for the whole of a text."""
    return f"^(?:{pattern})$"


def any_case(text: str) -> str:
    """A pattern for a text in any case: ECMA has no flag for that inside a pattern."""
    return "".join(f"[{char.lower()}{char.upper()}]" if char.isalpha() else char for char in text)


# What Ollama keeps for itself; see `names.is_reserved`.
RESERVED = f"{any_case('local')}|(?:[^:/]*-)?{any_case('cloud')}"
SIZE = r"\s*\d+(?:\.\d+)?\s*(?:(?:[kKmMgGtT][iI]?)?[bB])?\s*"
RATE = rf"{SIZE}/\s*s\s*"
DURATION = r"\s*(?:\d+(?:\.\d+)?(?:ms|[smhd]))+\s*"
ABOVE_ZERO = r"(?=[^1-9]*[1-9])"
# `paths.leaves_root`, but for a way that goes down before it goes up.
INSIDE = r"^(?![/\\~]|.:[/\\]|(?:\./+)*\.\.(?:/|$))"
