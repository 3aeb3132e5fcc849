"""Checks of answers that are data: JSON, and calls of tools."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from modelforge.checks.outcome import SHOWN, Wrong, place, plain
from modelforge.display import shorten

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from modelforge.runtimes import ToolCall

_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)
_TYPES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}


def is_json(wanted: bool, text: str) -> str:  # noqa: FBT001 (the profile's value)
    """The answer is one JSON value; or, for False, it is not."""
    try:
        value, note = _parse(text)
    except Wrong as wrong:
        if wanted:
            raise
        return str(wrong)
    if not wanted:
        raise Wrong(f"it is JSON{note}")
    return f"{_TYPES.get(type(value), 'a number')}{note}"


def _parse(text: str) -> tuple[object, str]:
    """The answer's value: the whole answer is JSON, or a sole code block is all of it, which the note then says."""
    block = _FENCED.fullmatch(text) if text.lstrip().startswith("```") else None
    if block and "```" not in block[1]:
        return _load(block[1], text, block.start(1)), " in a code block"
    return _load(text, text, 0), ""


def _load(source: str, text: str, offset: int) -> object:
    try:
        return cast("object", json.loads(source, parse_constant=_refuse))
    except json.JSONDecodeError as error:
        raise Wrong(f"not JSON at {place(text, offset + error.pos)}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise Wrong(f"not JSON: {shorten(str(error), SHOWN)}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def json_schema(wanted: Mapping[str, object], text: str) -> str:
    """The answer is JSON, and the schema (2020-12 unless it says otherwise) accepts it."""
    value, note = _parse(text)
    from jsonschema.exceptions import SchemaError, best_match  # noqa: PLC0415 (slow, and seldom needed)
    from jsonschema.validators import Draft202012Validator, validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    schema = cast("dict[str, Any]", plain(wanted))
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        # An empty registry: a "$ref" to some address shall not make us fetch it.
        error = best_match(kind(schema, registry=Registry()).iter_errors(cast("Any", value)))
    except SchemaError as bad:
        raise Wrong(f"not a JSON schema: {shorten(bad.message, 2 * SHOWN)}") from None
    except (Unresolvable, RecursionError, re.error) as bad:
        raise Wrong(f"the schema cannot be applied: {shorten(str(bad), 2 * SHOWN)}") from None
    if error is None:
        return f"valid{note}"
    raise Wrong(f"at {error.json_path}: {shorten(error.message, 2 * SHOWN)}")


def tool_call(wanted: str | Mapping[str, object], calls: tuple[ToolCall, ...]) -> str:
    """The tool is called; where arguments are given, with at least those."""
    name = wanted if isinstance(wanted, str) else wanted.get("name")
    arguments = {} if isinstance(wanted, str) else wanted.get("arguments", {})
    for call in calls:
        if name in {None, call.name} and _within(arguments, call.arguments):
            return f"called {_call_text(call)}"
    if not calls:
        raise Wrong("no tool was called")
    raise Wrong("called " + ", ".join(_call_text(call) for call in calls[:3]))


def _call_text(call: ToolCall) -> str:
    arguments = ", ".join(
        f"{key}={json.dumps(plain(value), default=str)}" for key, value in call.arguments.items()
    )
    return shorten(f"{call.name}({arguments})", 2 * SHOWN)


def _within(wanted: object, got: object) -> bool:
    """Whether all that is wanted is there: objects may have more keys, lists must match item by item."""
    if isinstance(wanted, Mapping):
        return isinstance(got, Mapping) and all(
            key in got and _within(inner, got[key]) for key, inner in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(got, list | tuple)
            and len(wanted) == len(got)
            and all(_within(one, other) for one, other in zip(wanted, got, strict=True))
        )
    return isinstance(wanted, bool) == isinstance(got, bool) and bool(wanted == got)
