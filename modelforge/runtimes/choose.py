"""Which runtime a command works on, and how it is opened."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.errors import Unreachable, UsageProblem
from modelforge.events import Step
from modelforge.journal import Journal
from modelforge.project_settings import COMMAND_LINE
from modelforge.runtimes import RuntimeInfo
from modelforge.runtimes.ollama_host import Host, parse_host

if TYPE_CHECKING:
    from modelforge.journal import JournalEntry
    from modelforge.project_settings import RuntimeChoice
    from modelforge.runtimes import Runtime
    from modelforge.site import Site

DOCKER_LATER = "the docker runtime is not there yet: use --runtime ollama or --runtime embedded"


def host_of(site: Site) -> Host:
    """The Ollama server that is meant: --host, else OLLAMA_HOST, else modelforge.toml, else the default.

    Raises:
        UsageProblem: it is malformed.
    """
    settings = site.project.settings
    return parse_host(settings.host or "", source=settings.source("host"))


def remote_host(site: Site) -> Host | None:
    """The server, if commands go to a server on another machine; None if everything happens here."""
    if wanted_runtime(site) in {"embedded", "docker"}:
        return None
    host = host_of(site)
    return None if host.loopback else host


def open_runtime(site: Site) -> Runtime:
    """The runtime of a site. `auto` takes an Ollama that answers, else the embedded one, and says which.

    Raises:
        Unreachable: none can be had.
    """
    wanted = wanted_runtime(site)
    if wanted == "docker":
        raise UsageProblem(DOCKER_LATER)
    if wanted == "embedded":
        return open_embedded(site, store_of(site))
    return open_ollama(site, host_of(site)) if wanted == "ollama" else _automatic(site)


def wanted_runtime(site: Site) -> RuntimeChoice:
    """The runtime that was asked for. `--host` asks for an Ollama, whatever modelforge.toml says."""
    settings = site.project.settings
    if site.host_given and settings.source("runtime") != COMMAND_LINE:
        return "ollama"
    return settings.runtime


def runtime_of(site: Site, entry: JournalEntry) -> Runtime:
    """The runtime that a line of the journal tells of."""
    if entry.runtime == "embedded":
        return open_embedded(site, Path(entry.endpoint))
    if entry.runtime == "docker":
        raise UsageProblem(DOCKER_LATER)
    return open_ollama(site, parse_host(entry.endpoint, source="the journal"))


def store_of(site: Site) -> Path:
    """The embedded store: what the settings say, else Ollama's own place."""
    return site.project.settings.store or site.home / ".ollama" / "models"


def open_ollama(site: Site, host: Host) -> Runtime:
    """The server at `host`.

    Raises:
        Unreachable: nothing answers there, or what answers is no Ollama.
    """
    from modelforge.runtimes.ollama import connect  # noqa: PLC0415 (brings the HTTP client)

    journal = Journal(site.state, RuntimeInfo(kind="ollama", version="", endpoint=host.display))
    return connect(
        host,
        timeouts=site.project.settings.timeouts,
        via=site.via,
        lock=journal.writing,
        hashes=site.hashes,
        environment=site.environment,
    )


def open_embedded(site: Site, root: Path) -> Runtime:
    """The store at `root`."""
    from modelforge.runtimes.embedded import open_store  # noqa: PLC0415

    journal = Journal(site.state, RuntimeInfo(kind="embedded", version="", endpoint=str(root)))
    return open_store(
        root,
        link=site.link,
        hashes=site.hashes,
        lock=journal.writing,
        python=site.python,
        environment=site.environment,
        scratch=site.cache,
    )


def embedded_installed() -> bool:
    """Whether the embedded runtime could run tests."""
    return find_spec("xllamacpp") is not None


def _automatic(site: Site) -> Runtime:
    """Ollama if one answers, else the embedded runtime; says which, and why."""
    try:
        runtime = open_ollama(site, host_of(site))
    except Unreachable as trouble:
        if not embedded_installed():
            raise
        site.emit(Step(stage="pick", text=f"runtime embedded: {trouble.problems[0].message}"))
        return open_embedded(site, store_of(site))
    site.emit(Step(stage="pick", text=f"runtime ollama: it answers at {runtime.info.endpoint}"))
    return runtime
