"""A project's settings, and where each of them comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from modelforge.errors import Problem, UsageProblem, did_you_mean
from modelforge.units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

RuntimeChoice: TypeAlias = Literal["auto", "ollama", "docker", "embedded"]
Pull: TypeAlias = Literal["missing", "always", "never"]

COMMAND_LINE = "command line"
DEFAULT_IMAGE = "ollama/ollama:0.32.15"
"""The version that this modelforge was tested with; a tag that moves would make the same commit another build."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds: to connect, for a plain call, and without progress while something is loaded or made."""

    connect: float = 5.0
    call: float = 30.0
    load: float = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DockerSettings:
    """The container of the docker runtime. `memory` in bytes; `host` is the engine, None for its default."""

    image: str = DEFAULT_IMAGE
    volume: str = "ollama"
    pull: Pull = "missing"
    env: Mapping[str, str] = field(default_factory=dict)
    memory: int | None = None
    cpus: float | None = None
    host: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownHost:
    """An Ollama server that the project names, and the name of its hardware."""

    url: str
    hardware: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What is set for a whole project.

    `store` is the embedded runtime's, absolute. `host` is the Ollama server. `registry` is a namespace such as
    `registry.example.com/team`. `keep` is how many models are kept for rollback. `sources` tells for each key
    that is not a default where it was set: `{"runtime": "MODELFORGE_RUNTIME", "keep": "modelforge.toml:3:1"}`.
    """

    runtime: RuntimeChoice = "auto"
    store: Path | None = None
    host: str | None = None
    registry: str | None = None
    keep: int = 3
    docker: DockerSettings = DockerSettings()
    hosts: Mapping[str, KnownHost] = field(default_factory=dict)
    timeouts: Timeouts = Timeouts()
    sources: Mapping[str, str] = field(default_factory=dict)

    def source(self, key: str) -> str:
        """Where a setting comes from: `default`, an environment variable, or `file:line:column`."""
        return self.sources.get(key, "default")


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A setting's value and where it was set."""

    value: Any
    source: str


def settings_from(
    file: Mapping[str, Value],
    environment: Mapping[str, str],
    *,
    root: Path,
    start: Path,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """The settings by their precedence: flag, environment, modelforge.toml, default.

    Args:
        file: what modelforge.toml sets, by dotted names (`runtime`, `docker.image`, `hosts.gpu-box.url`).
        environment: variables as the process has them; an empty one is not set.
        root: what a relative path in the file means.
        start: what a relative path in the environment means.
        flags: what the command line sets, by dotted names.

    Raises:
        UsageProblem: an environment variable that does not say something valid.
    """
    given = {**file, **_from_environment(environment)}
    given |= {key: Value(value=value, source=COMMAND_LINE) for key, value in (flags or {}).items()}
    plain = {key: each.value for key, each in given.items()}
    hosts = _hosts(plain)
    named = plain.get("host") if "host" in given and given["host"].source != "OLLAMA_HOST" else None
    return Settings(
        runtime=plain.get("runtime", "auto"),
        store=_store(given.get("store"), root=root, start=start),
        host=hosts[named].url if named in hosts else plain.get("host"),
        registry=plain.get("registry"),
        keep=plain.get("keep", 3),
        docker=DockerSettings(**_under("docker", plain)),
        hosts=hosts,
        timeouts=Timeouts(**_under("timeouts", plain)),
        sources={key: each.source for key, each in given.items()},
    )


def _store(given: Value | None, *, root: Path, start: Path) -> Path | None:
    if given is None:
        return None
    return (start if given.source in _OUTSIDE else root).joinpath(given.value)


def _hosts(plain: Mapping[str, Any]) -> dict[str, KnownHost]:
    tables: dict[str, dict[str, Any]] = {}
    for key, value in plain.items():
        if key.startswith("hosts."):
            name, _, field_name = key.removeprefix("hosts.").rpartition(".")
            tables.setdefault(name, {})[field_name] = value
    return {name: KnownHost(**table) for name, table in tables.items()}


def _under(table: str, plain: Mapping[str, Any]) -> dict[str, Any]:
    return {key.partition(".")[2]: value for key, value in plain.items() if key.startswith(f"{table}.")}


# -- the environment ---------------------------------------------------------------------------------


def _text(value: str) -> str:
    return value


def _whole(value: str) -> int:
    if not value.isascii() or not value.isdecimal():
        raise ValueError("an integer, 0 or more")
    return int(value)


def _positive(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError("a number above 0")
    return number


def _seconds(value: str) -> float:
    try:
        return _positive(value)
    except ValueError:
        seconds = parse_duration(value)
    if not seconds:
        raise ValueError("a duration above zero")
    return seconds


def _one_of(*choices: str) -> Callable[[str], str]:
    def choose(value: str) -> str:
        if value not in choices:
            raise ValueError("one of " + ", ".join(f"'{choice}'" for choice in choices))
        return value

    choose.__dict__["choices"] = choices
    return choose


RUNTIMES = ("auto", "ollama", "docker", "embedded")
# The first that is set wins where two stand for the same setting.
ENVIRONMENT: tuple[tuple[str, str, Callable[[str], object]], ...] = (
    ("MODELFORGE_RUNTIME", "runtime", _one_of(*RUNTIMES)),
    ("MODELFORGE_STORE", "store", _text),
    ("OLLAMA_MODELS", "store", _text),
    ("MODELFORGE_HOST", "host", _text),
    ("OLLAMA_HOST", "host", _text),
    ("MODELFORGE_REGISTRY", "registry", _text),
    ("MODELFORGE_KEEP", "keep", _whole),
    ("MODELFORGE_CONNECT_TIMEOUT", "timeouts.connect", _seconds),
    ("MODELFORGE_CALL_TIMEOUT", "timeouts.call", _seconds),
    ("MODELFORGE_LOAD_TIMEOUT", "timeouts.load", _seconds),
    ("MODELFORGE_DOCKER_IMAGE", "docker.image", _text),
    ("MODELFORGE_DOCKER_VOLUME", "docker.volume", _text),
    ("MODELFORGE_DOCKER_PULL", "docker.pull", _one_of("missing", "always", "never")),
    ("MODELFORGE_DOCKER_MEMORY", "docker.memory", parse_size),
    ("MODELFORGE_DOCKER_CPUS", "docker.cpus", _positive),
    ("DOCKER_HOST", "docker.host", _text),
)
_OUTSIDE = frozenset({COMMAND_LINE, *(variable for variable, _, _ in ENVIRONMENT)})


def _from_environment(environment: Mapping[str, str]) -> dict[str, Value]:
    given: dict[str, Value] = {}
    problems = []
    for variable, key, read in ENVIRONMENT:
        text = environment.get(variable, "").strip().strip("\"'")  # as Ollama reads its own variables
        if not text or key in given:
            continue
        try:
            given[key] = Value(value=read(text), source=variable)
        except ValueError as error:
            choices = getattr(read, "choices", ())
            hint = did_you_mean(text, choices) or f"change it, or unset {variable}"
            message = f'{variable} is "{text}", expected {error}'
            problems.append(Problem(message=message, kind="setting", expected=str(error), hint=hint))
    if problems:
        raise UsageProblem(problems=problems)
    return given
