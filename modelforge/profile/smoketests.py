"""`[[smoke]]` and its `expect`: the part of the profile's declaration that says how the model is tested."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field

from modelforge.profile.rules import rule
from modelforge.profile.tables import INT32, Message, Parameters, Positive, Rows, Size, Some, Table, Text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"a Python regular expression ({error})") from None
    return text


_Json = TypeVar("_Json")


def _json_able(value: _Json) -> _Json:
    if isinstance(value, Mapping):
        for inner in value.values():
            _json_able(inner)
    elif isinstance(value, list):
        for inner in value:
            _json_able(inner)
    elif not isinstance(value, (str, int, float)) or not math.isfinite(
        value if isinstance(value, float) else 0
    ):
        raise ValueError("values that JSON has: no dates or times, no inf or nan")
    return value


def _is_plain_schema(value: object) -> bool:
    """Whether a schema has only the keys that most have, used well: then no library need be asked."""
    return isinstance(value, Mapping) and all(
        key in _PLAIN and _PLAIN[key](inner) for key, inner in value.items()
    )


_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "type": lambda value: isinstance(value, str) and value in _TYPES,
    "required": lambda value: (
        isinstance(value, list)
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
    ),
    "properties": lambda value: isinstance(value, Mapping) and all(map(_is_plain_schema, value.values())),
    "items": _is_plain_schema,
    "additionalProperties": lambda value: isinstance(value, bool),
    "enum": lambda value: isinstance(value, list),
    "const": lambda _value: True,
    "minimum": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "maximum": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}


def _json_schema(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if _is_plain_schema(_json_able(value)):
        return value
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 (slow to import, seldom used)
    from jsonschema.validators import validator_for  # noqa: PLC0415

    try:
        schema = dict(_json_able(value))
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path))
        raise ValueError(f"a JSON schema ({place + ': ' if place else ''}{error.message})") from None
    return value


@rule(
    required=["name"],
    properties={"name": {"type": "string"}, "arguments": {"type": "object"}},
    additionalProperties=False,
)
def _tool_call(value: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    if isinstance(value, str):
        return value
    named = isinstance(value.get("name"), str) and isinstance(value.get("arguments", {}), Mapping)
    if not named or not value.keys() <= {"name", "arguments"}:
        raise ValueError('the tool\'s name, or { name = "…", arguments = { … } }')
    return _json_able(value)


def _tools(value: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
    for tool in value:
        _json_able(tool)
    return value


OF_EMBEDDINGS = ("dimensions", "closer_to", "than")
"""Keys of `expect` that ask for embeddings instead of an answer."""
OF_BOTH = ("max_seconds", "loaded_on", "max_vram")
"""Keys that hold of either."""
OF_CHATS = ("system", "messages", "tools")
"""Keys of a test that only a chat has."""


class Expect(Table):
    """`expect` of a smoke test. Every key that is given must hold."""

    contains: Some[Text] | Text | None = None
    """each of these is in the answer"""
    not_contains: Some[Text] | Text | None = None
    """none of these is in the answer"""
    equals: str | None = None
    """the answer, but for blanks around it"""
    starts_with: Text | None = None
    """the answer's beginning, after leading blanks"""
    regex: Annotated[str, AfterValidator(_regex)] | None = None
    """a Python regular expression found in the answer"""
    json_: Annotated[bool | None, Field(alias="json")] = None
    """the answer is one JSON value"""
    json_schema: Annotated[Mapping[str, Any], AfterValidator(_json_schema)] | None = None
    """the answer is JSON that this schema accepts"""
    python: bool | None = None
    """the answer has a code block that parses as Python; it is never run"""
    tool_call: Annotated[Text | Mapping[str, Any], AfterValidator(_tool_call)] | None = None
    """the tool that is called: its name, or {name, arguments}"""
    dimensions: Annotated[int, Field(ge=1, le=INT32)] | None = None
    """how many numbers the prompt's embedding has; this key and the next two ask for embeddings, not for an answer"""
    closer_to: Text | None = None
    """a text that is nearer to the prompt than `than` is, by the cosine of their embeddings"""
    than: Text | None = None
    """the text that is farther from the prompt than `closer_to`"""
    min_tokens_per_second: Positive | None = None
    """at least this many tokens a second while answering"""
    max_seconds: Positive | None = None
    """the whole answer takes at most this long, loading not counted"""
    max_first_token_seconds: Positive | None = None
    """the first token comes within this time, loading not counted"""
    loaded_on: Literal["gpu", "cpu"] | None = None
    """where the model lies while it answers"""
    max_vram: Size | None = None
    """most memory on the GPU, such as "8GiB\""""

    @property
    def of_embeddings(self) -> bool:
        """Whether embeddings are asked for, not an answer."""
        return any(getattr(self, key) is not None for key in OF_EMBEDDINGS)


OF_ANSWERS = tuple(
    field.alias or name
    for name, field in Expect.model_fields.items()
    if name not in {*OF_EMBEDDINGS, *OF_BOTH}
)
"""Keys that only an answer can meet."""


class SmokeTest(Table):
    """`[[smoke]]`: one prompt and what its answer must be."""

    name: Text
    """what a person calls it"""
    prompt: Text
    """what the model is asked"""
    expect: Expect
    """what must hold of the answer"""
    system: str | None = None
    """a system prompt for this test alone, in place of the model's"""
    messages: Rows[Message] = ()
    """turns before the prompt"""
    tools: Annotated[Rows[Mapping[str, Any]], AfterValidator(_tools)] = ()
    """tools offered to the model, as the chat API takes them"""
    parameters: Parameters = Parameters()
    """parameters for this test alone"""
    runs: Annotated[int, Field(ge=1, le=1000)] = 1
    """how often the prompt is asked, each time with the next seed"""
    min_pass: Annotated[int, Field(ge=1)] | None = None
    """how many of the runs must pass; default all"""
