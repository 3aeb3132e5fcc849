"""JSON Schema of our TOML files, for editors: made from the declaration that the loader uses.

Draft 7 is what the editors' TOML extensions know: taplo, which the usual one for VS Code is made of, has nothing
newer. A `$ref` there hides its neighbours, and a list of `allOf` hides the keys beside it from completion; so
tables are referred to by `$ref` alone, and rules between keys are `dependencies` and `if`.

A schema refuses nothing that the loader takes. It sees one file and not its name: what a profile lacks may come
from what it extends, and a fragment need not be whole.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema

from modelforge import quants, requantize
from modelforge.profile.checks import FULL_CACHES
from modelforge.profile.described import description
from modelforge.profile.merge import RIVALS
from modelforge.profile.names import tag_name
from modelforge.profile.rules import INSIDE, RESERVED, any_case, rule_of
from modelforge.profile.schema import Base, Body, Expect, ProfileFile, Resolve, Serve, SmokeTest, Targets
from modelforge.profile.smoketests import OF_ANSWERS, OF_CHATS, OF_EMBEDDINGS
from modelforge.profile.texts import TEXT_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import core_schema

    from modelforge.profile.tables import Table

Json: TypeAlias = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"
_REFS = "#/definitions/"
_OVERRIDE = "Override"


def profile_schema() -> Json:
    """What a profile's file may say."""
    schema = document_schema(ProfileFile, title="Profile of modelforge", rules=_TABLE_RULES, keys=_KEY_RULES)
    tables = schema["definitions"]
    tables[Base.__name__].pop("required")  # may be the parent's
    schema.pop("required")
    schema |= {"dependencies": excluded(_rivals(()))}
    tables[Targets.__name__]["additionalProperties"] = {"$ref": _REFS + _OVERRIDE}
    tables[_OVERRIDE] = {
        "type": "object",
        "description": "Overrides for one target: the keys of a profile, laid over it.",
        "properties": {key: schema["properties"][key] for key in ("unset", *Body.model_fields)},
        "additionalProperties": False,
        "dependencies": schema["dependencies"],
    }
    return schema


def document_schema(
    model: type[Table],
    *,
    title: str,
    rules: Mapping[type[Table], Json] = MappingProxyType({}),
    keys: Mapping[tuple[type[Table], str], Json] = MappingProxyType({}),
) -> Json:
    """The schema of a file.

    Args:
        model: what the file holds.
        title: its name for people.
        rules: keywords for whole tables, such as what excludes what.
        keys: keywords for single keys of a table, where their type does not say it all.
    """

    class Generator(_Generator):
        table_rules = rules
        key_rules = keys

    made = model.model_json_schema(schema_generator=Generator, ref_template=_REFS + "{model}")
    definitions = made.pop("$defs", {})
    head = {"$schema": _DRAFT, "title": title}
    # in an order of our own: pydantic's is another one each time
    tables = {name: definitions[name] for name in sorted(definitions)}
    return {**head, **_tidied(made | {"definitions": tables}, tables)}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, with our words and validators, and without what TOML has not: null."""

    table_rules: Mapping[type[Table], Json]
    key_rules: Mapping[tuple[type[Table], str], Json]

    def sort(self, value: Json, parent_key: str | None = None) -> Json:  # noqa: ARG002
        """Keys stay in the order of their declaration, which is that of the reference."""
        return value

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> Json:
        """A value that one of our validators looks at."""
        return {**self.generate_inner(schema["schema"]), **rule_of(schema["function"]["function"])}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Json:
        """A key that may be absent."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Json:
        """A key with its default, where that is a value that somebody could write."""
        inner = self.generate_inner(schema["schema"])
        default = schema.get("default")
        worth = default != "" and isinstance(default, (bool, int, float, str))
        return inner | {"default": default} if worth else inner

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 (pydantic's own)
        """Pydantic's titles are the keys again."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> Json:
        """A table: with what its keys are for, and with the rules between them."""
        table = schema["cls"]
        made = super().model_schema(schema)
        made.pop("title")
        for name, field in table.model_fields.items():
            key = field.alias or name
            value = made["properties"][key] | self.key_rules.get((table, name), {})
            words = description(table, name)
            made["properties"][key] = value if "$ref" in value else {"description": words} | value
        return made | self.table_rules.get(table, {})


# -- unions ------------------------------------------------------------------------------------------


def _tidied(schema: Any, definitions: Json) -> Any:  # noqa: ANN401 (JSON)
    """The schema with `anyOf` of different types said in one, so that an error is told where it is.

    And without what pydantic's versions differ in: a table of anything, and limits that are whole numbers.
    """
    if isinstance(schema, list):
        return [_tidied(each, definitions) for each in schema]
    if isinstance(schema, float) and schema.is_integer():
        return int(schema)
    if not isinstance(schema, dict):
        return schema
    members = schema.get("anyOf", ())
    if members and all("type" in _followed(each, definitions) for each in members):
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        schema = rest | _merged([_followed(each, definitions) for each in members]) | rest
    return {
        key: _tidied(value, definitions)
        for key, value in schema.items()
        if (key, value) != ("additionalProperties", True)
    }


def _followed(schema: Json, definitions: Json) -> Json:
    reference = schema.get("$ref")
    return schema if reference is None else definitions[reference.removeprefix(_REFS)]


def _merged(members: list[Json]) -> Json:
    """One schema for values of several types: what it says of one type says nothing of another."""
    made: Json = {"type": [member["type"] for member in members]}
    for member in members:
        made |= {key: value for key, value in member.items() if key not in {"type", "enum", "description"}}
    choices = [member["enum"] for member in members if "enum" in member]
    if choices:  # this one would say something of all types
        others = [member["type"] for member in members if "enum" not in member]
        made["anyOf"] = [*({"enum": each} for each in choices), *({"type": each} for each in others)]
    return made


def excluded(rivals: Iterable[tuple[str, Iterable[str]]]) -> Json:
    """`dependencies` that refuse each of some keys, at its place, where another one is set.

    The words stand inside of `not`, since that is what validators show.
    """
    return {one: refused(others, f"'{one}' excludes it") for one, others in rivals}


def refused(keys: Iterable[str], words: str) -> Json:
    """Refuses each of the keys, at its place."""
    return {"properties": {key: {"not": {"description": words}} for key in keys}}


# -- what types alone do not say: checks.py, merge.py and texts.py in JSON Schema --------------------


def _rivals(table: tuple[str, ...]) -> Iterable[tuple[str, Iterable[str]]]:
    """Keys of a table that exclude each other."""
    for one, others in RIVALS:
        if one[:-1] == table:
            yield str(one[-1]), [str(other[-1]) for other in others]
    if not table:
        yield "renderer", ["chat_template_file"]


def _quants(names: Iterable[str]) -> Json:
    """Quants: spelled as llama.cpp does it, which editors offer, or otherwise."""
    listed = list(names)
    other = (any_case(spelling) for spelling, name in quants.spellings().items() if name in listed)
    return {"anyOf": [{"enum": listed}, {"pattern": rf"^\s*(?:{'|'.join(other)})\s*$"}]}


_FILE = {"pattern": INSIDE}
_FULL_CACHE_WITHOUT_FLASH = {
    "if": {"properties": {"flash_attention": {"const": "off"}}, "required": ["flash_attention"]},
    "then": {"properties": {"kv_cache": {"enum": sorted(FULL_CACHES)}}},
}
_COMPARED = {"closer_to": "than", "than": "closer_to"}
_OF_EMBEDDINGS = excluded((key, OF_ANSWERS) for key in OF_EMBEDDINGS)
for _one, _other in _COMPARED.items():
    _OF_EMBEDDINGS[_one] |= {
        "if": {"not": {"required": [_other]}},
        "then": refused([_one], f"it needs '{_other}' beside it"),
    }
_NO_CHAT = {
    "if": {
        "properties": {
            "expect": {"type": "object", "anyOf": [{"required": [key]} for key in OF_EMBEDDINGS]},
        },
    },
    "then": refused(OF_CHATS, "'expect' asks for embeddings"),
}
_TABLE_RULES: Mapping[type[Table], Json] = {
    Base: {"dependencies": excluded(_rivals(("base",)))},
    Resolve: _FULL_CACHE_WITHOUT_FLASH,
    Serve: _FULL_CACHE_WITHOUT_FLASH,
    Expect: {"minProperties": 1, "dependencies": _OF_EMBEDDINGS},
    SmokeTest: {
        "if": {"not": {"required": ["runs"]}},
        "then": {"properties": {"min_pass": {"maximum": 1}}},
        "dependencies": {"expect": _NO_CHAT},
    },
    Targets: {"propertyNames": rule_of(tag_name)},
}
_KEY_RULES: Mapping[tuple[type[Table], str], Json] = {
    **{(ProfileFile, key): _FILE for key in ("template", *TEXT_KEYS)},
    (ProfileFile, "adapters"): {"items": {"type": "string", "minLength": 1, **_FILE}},
    (Base, "projector"): {"pattern": r"^(?![/\\~]|(?:\./+)*\.\.(?:/|$))"},
    (Base, "model"): {"pattern": rf"^(?![/\\~]|(?:\./+)*\.\.(?:/|$)|.*:(?:{RESERVED})$)"},
    (Base, "tag"): {"pattern": rf"^(?!(?:.*:)?(?:{RESERVED})$)"},
    (Base, "quants"): {"items": {"type": "string", **_quants(quants.names())}},
    (Base, "quantize"): _quants(requantize.TARGETS),
}
