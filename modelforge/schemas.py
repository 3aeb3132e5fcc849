"""The JSON Schemas that editors read: of a profile, of modelforge.toml, of hardware/NAME.toml."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from modelforge.hardware import Backend, files, table
from modelforge.profile.json_schema import document_schema, excluded, profile_schema
from modelforge.project_file import ProjectFile

if TYPE_CHECKING:
    from modelforge.profile.json_schema import Json

Kind: TypeAlias = Literal["profile", "project", "hardware"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def schema(kind: Kind) -> Json:
    """The schema of one kind of file."""
    if kind == "profile":
        return profile_schema()
    return _hardware() if kind == "hardware" else document_schema(ProjectFile, title="modelforge.toml")


def text(kind: Kind) -> str:
    """The same as a file holds it."""
    return json.dumps(schema(kind), indent=1) + "\n"


def _hardware() -> Json:
    """With the rules between keys that `hardware.files` has."""
    others = [backend for backend in get_args(Backend) if backend != "cpu"]
    like_some = {"properties": {"device": {"contains": {"required": ["like"]}}}}
    machine = {
        "if": {"properties": {"device": {"minItems": 1}}, "required": ["device"]},
        "then": {
            "properties": {"backend": {"enum": others}},
            "anyOf": [{"required": ["backend"]}, like_some],
        },
        "else": {"properties": {"backend": {"const": "cpu"}}, "required": ["system_memory"]},
    }
    device = {
        "dependencies": excluded([("like", files.OWN_FIGURES)]),
        "anyOf": [{"required": ["like"]}, {"required": ["memory"]}],
    }
    names = [name for name in table.names() if (entry := table.entry(name)) and entry.backend != "cpu"]
    return document_schema(
        files.HardwareFile,
        title="Hardware of modelforge",
        rules={files.HardwareFile: machine, files.DeviceTable: device},
        # the table takes other spellings too: editors offer its own, and refuse none
        keys={(files.DeviceTable, "like"): {"anyOf": [{"enum": names}, {}]}},
    )
