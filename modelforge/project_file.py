"""modelforge.toml: its format, and what a file of it sets.

TOML cannot hold both `runtime = "ollama"` and `[runtime.docker]`. Where a project needs both, the first is
written as `default = "ollama"` in `[runtime]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field, ValidationError

from modelforge.errors import Problem, ProfileProblem
from modelforge.profile.document import Document, read_document
from modelforge.profile.names import namespace_name
from modelforge.profile.rules import ABOVE_ZERO, DURATION, rule, whole
from modelforge.profile.tables import Positive, Size, Table, Text
from modelforge.project_settings import Pull, RuntimeChoice, Value
from modelforge.units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.profile.positions import KeyPath

_CLASH = re.compile(r"^\s*runtime\s*=", re.MULTILINE)


@rule(pattern=whole(ABOVE_ZERO + DURATION))
def _duration(text: str) -> str:
    if not parse_duration(text):
        raise ValueError("a duration above zero")
    return text


Seconds: TypeAlias = Positive | Annotated[str, AfterValidator(_duration)]


class DockerTable(Table):
    """`[runtime.docker]`: the container that builds and tests."""

    image: Text | None = None
    """the image; default "ollama/ollama:0.32.15\""""
    volume: Text | None = None
    """the volume with the models; default "ollama\""""
    pull: Pull | None = None
    """when the image is pulled; default "missing\""""
    env: Mapping[str, str] | None = None
    """variables for the server"""
    memory: Size | None = None
    """most memory, such as "16GiB\""""
    cpus: Positive | None = None
    """most processors, such as 4 or 1.5"""


class RuntimeTable(Table):
    """`[runtime]`: where models are built."""

    default: RuntimeChoice | None = None
    """the runtime where no flag names one; default "auto\""""
    docker: DockerTable = DockerTable()
    """the docker runtime"""


class HostTable(Table):
    """`[hosts.NAME]`: an Ollama server on another machine."""

    url: Text
    """its address, such as "http://gpu-box:11434\""""
    hardware: Text | None = None
    """the name of its hardware"""


class TimeoutsTable(Table):
    """`[timeouts]`: seconds, or durations such as "5m"."""

    connect: Seconds | None = None
    """until a server takes the connection; default 5"""
    call: Seconds | None = None
    """for a plain call; default 30"""
    load: Seconds | None = None
    """without progress, for loading and creating; default 300"""


class ProjectFile(Table):
    """`modelforge.toml`. All of it is optional."""

    profiles: Text | None = None
    """the folder with the profiles; default "profiles\""""
    templates: Text | None = None
    """the folder with the templates; default "templates\""""
    hardware: Text | None = None
    """the folder with the project's own hardware; default "hardware\""""
    runtime: RuntimeChoice | RuntimeTable | None = None
    """the runtime; or a table of runtimes, with `default` in it"""
    store: Text | None = None
    """the embedded runtime's store; default: Ollama's own"""
    host: Text | None = None
    """the Ollama server: a name of `[hosts]`, or an address"""
    hosts: Mapping[str, HostTable] = {}
    """known servers"""
    registry: Annotated[str, AfterValidator(namespace_name)] | None = None
    """where models are pushed to, such as "registry.example.com/team\""""
    timeouts: TimeoutsTable = TimeoutsTable()
    """how long to wait"""
    keep: Annotated[int, Field(ge=0, le=1000)] | None = None
    """how many earlier models are kept for rollback; default 3"""


def read_project_file(path: Path, *, root: Path) -> tuple[Document, dict[str, Value]]:
    """What modelforge.toml sets, by the settings' dotted names, each with its place.

    Raises:
        ProfileProblem: everything that is wrong with it.
    """
    try:
        document = read_document(path, file=path.name, root=root)
    except ProfileProblem as error:
        raise ProfileProblem(problems=[_explained(problem, path) for problem in error.problems]) from None
    try:
        content = ProjectFile.model_validate(document.data)
    except ValidationError as error:
        from modelforge.profile.problems import in_order, placed  # noqa: PLC0415 (only where something is wrong)

        problems = placed(error, model=ProjectFile, locate=lambda path: (document, path))
        raise ProfileProblem(problems=in_order(problems)) from None
    return document, {key: _value(value, at, document) for key, value, at in _settings(content)}


def _settings(content: ProjectFile) -> Iterator[tuple[str, Any, KeyPath]]:
    """Each value that the file sets: the setting's name, the value, its path in the file."""
    given = content.model_dump(exclude_unset=True)
    runtime = given.pop("runtime", None)
    if isinstance(runtime, str):
        yield "runtime", runtime, ("runtime",)
    elif isinstance(runtime, dict):
        if "default" in runtime:
            yield "runtime", runtime["default"], ("runtime", "default")
        for key, value in runtime.get("docker", {}).items():
            yield f"docker.{key}", parse_size(value) if key == "memory" else value, ("runtime", "docker", key)
    for key, value in given.pop("timeouts", {}).items():
        seconds = parse_duration(value) if isinstance(value, str) else value
        yield f"timeouts.{key}", seconds, ("timeouts", key)
    for name, host in given.pop("hosts", {}).items():
        for key, value in host.items():
            yield f"hosts.{name}.{key}", value, ("hosts", name, key)
    for key, value in given.items():
        yield key, value, (key,)


def _value(value: object, path: KeyPath, document: Document) -> Value:
    place = document.place(path)
    return Value(value=value, source=f"{document.file}:{place.line}:{place.column}")


def _explained(problem: Problem, path: Path) -> Problem:
    """TOML's own words for `runtime` being a text and a table at once help nobody."""
    if problem.kind != "toml" or not _CLASH.search(path.read_text(encoding="utf-8-sig")):
        return problem
    if "[runtime" not in (problem.source or ""):
        return problem
    return replace(problem, hint="'runtime' cannot be both: write default = \"…\" in [runtime] instead")
