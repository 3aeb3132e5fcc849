"""Which runtime a command works on, how it is had, and whose machine it runs models on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from modelforge.errors import ForgeError, Unreachable
from modelforge.events import Step
from modelforge.hardware import choose as hardware
from modelforge.journal import Journal
from modelforge.project_settings import COMMAND_LINE
from modelforge.runtimes import RuntimeInfo
from modelforge.runtimes.ollama_host import Host, parse_host

if TYPE_CHECKING:
    from modelforge.hardware import Hardware
    from modelforge.journal import JournalEntry
    from modelforge.project_settings import RuntimeChoice
    from modelforge.runtimes import Need, Runtime, RuntimeKind
    from modelforge.runtimes.docker.access import DockerAccess
    from modelforge.runtimes.docker.spec import Preview
    from modelforge.site import Site


class Access(Protocol):
    """A runtime that is had when it is needed, the same one each time."""

    @property
    def kind(self) -> RuntimeKind:
        """Which runtime it is."""

    @property
    def where(self) -> str:
        """The server's URL, the store, or volume and engine."""

    def machine(self) -> Hardware | None:
        """The machine that models run on there; None if nobody told us what it is."""

    def open(self, need: Need | None) -> Runtime:
        """The runtime. One that we start has what is needed; None: as it is.

        Raises:
            Unreachable: it cannot be had.
        """

    def preview(self, need: Need) -> Preview | None:
        """What a container would be asked to have; None where there is no container."""

    def stands(self, name: str, manifest: str) -> bool:
        """Whether a model is seen to stand with this manifest before anything is opened; False if not, or not known."""

    def check(self) -> None:
        """Makes sure that it can be had, without starting anything.

        Raises:
            Unreachable: it cannot.
        """

    def close(self) -> None:
        """Lets go of it."""


class _Standing(ABC):
    """What a runtime that nobody has to start is had by: it is as it is, whatever is needed."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._runtime: Runtime | None = None

    @abstractmethod
    def _opened(self) -> Runtime: ...

    def open(self, need: Need | None) -> Runtime:  # noqa: ARG002
        """The runtime."""
        if self._runtime is None:
            self._runtime = self._opened()
        return self._runtime

    def preview(self, need: Need) -> Preview | None:  # noqa: ARG002
        """No container."""
        return None

    def stands(self, name: str, manifest: str) -> bool:  # noqa: ARG002
        """Asking the runtime is as quick."""
        return False

    def check(self) -> None:
        """It answers."""
        self.open(None)

    def close(self) -> None:
        """Lets go of connections and processes."""
        if self._runtime is not None:
            self._runtime.close()


class OllamaAccess(_Standing):
    """A server at `host`."""

    kind: Literal["ollama"] = "ollama"

    def __init__(self, site: Site, host: Host) -> None:
        super().__init__(site)
        self._host = host

    @property
    def where(self) -> str:
        """Its URL."""
        return self._host.url

    def machine(self) -> Hardware | None:
        """This machine, or what [hosts] says of a server elsewhere."""
        site = self._site
        if self._host.loopback:
            return site.probe()
        for name, known in site.project.settings.hosts.items():
            if known.hardware and parse_host(known.url, source=f"[hosts.{name}]").url == self._host.url:
                found = hardware.by_name(known.hardware, folder=site.project.hardware, probe=site.probe)
                return replace(found, description=f"{name}, as modelforge.toml says")
        return None

    def _opened(self) -> Runtime:
        return open_ollama(self._site, self._host)


class EmbeddedAccess(_Standing):
    """The store at `root`."""

    kind: Literal["embedded"] = "embedded"

    def __init__(self, site: Site, root: Path) -> None:
        super().__init__(site)
        self._root = root

    @property
    def where(self) -> str:
        """Its folder."""
        return str(self._root)

    def machine(self) -> Hardware:
        """This machine."""
        return self._site.probe()

    def _opened(self) -> Runtime:
        return open_embedded(self._site, self._root)


class AutoAccess:
    """An Ollama that answers, else a container where its image is there, else the embedded runtime."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._chosen: Access | None = None

    @property
    def kind(self) -> RuntimeKind:
        """The one that was taken."""
        return self._settled().kind

    @property
    def where(self) -> str:
        """Where that is; before one is taken, where it would be looked for first."""
        return self._chosen.where if self._chosen else host_of(self._site).url

    def machine(self) -> Hardware | None:
        """That runtime's. While there is no engine to be had it is this machine, or the server's that is named."""
        if self._chosen is None and not engine_is_likely(self._site):
            return OllamaAccess(self._site, host_of(self._site)).machine()
        return self._settled().machine()

    def open(self, need: Need | None) -> Runtime:
        """The runtime that was taken."""
        return self._settled().open(need)

    def preview(self, need: Need) -> Preview | None:
        """A container, if that was taken."""
        return self._settled().preview(need)

    def stands(self, name: str, manifest: str) -> bool:
        """Whether it does on that runtime."""
        return self._settled().stands(name, manifest)

    def check(self) -> None:
        """One of them can be had."""
        self._settled().check()

    def close(self) -> None:
        """Lets go of it."""
        if self._chosen is not None:
            self._chosen.close()

    def _settled(self) -> Access:
        if self._chosen is None:
            self._chosen, reason = _first_to_be_had(self._site)
            self._site.emit(Step(stage="pick", text=f"runtime {self._chosen.kind}: {reason}"))
        return self._chosen


def access_of(site: Site) -> Access:
    """The runtime that is asked for. Nothing is opened yet."""
    wanted = wanted_runtime(site)
    if wanted == "auto":
        return AutoAccess(site)
    if wanted == "docker":
        return docker_access(site)
    if wanted == "embedded":
        return EmbeddedAccess(site, store_of(site))
    return OllamaAccess(site, host_of(site))


def access_for(site: Site, entry: JournalEntry) -> Access:
    """The runtime that a line of the journal tells of."""
    if entry.runtime == "embedded":
        return EmbeddedAccess(site, Path(entry.endpoint))
    if entry.runtime == "docker":
        return docker_access(site, entry.endpoint)
    return OllamaAccess(site, parse_host(entry.endpoint, source="the journal"))


def docker_access(site: Site, where: str | None = None) -> DockerAccess:
    """The engine that is meant and the volume; `where` is an endpoint of the journal.

    Raises:
        UsageProblem: no engine is meant by what is set.
    """
    from modelforge.runtimes.docker.access import DockerAccess, split_where  # noqa: PLC0415 (brings the SDK)
    from modelforge.runtimes.docker.endpoint import find_endpoint  # noqa: PLC0415
    from modelforge.runtimes.docker.gpus import parse_gpus  # noqa: PLC0415

    settings = site.project.settings
    volume, host, source = settings.docker.volume, settings.docker.host, settings.source("docker.host")
    endpoint = find_endpoint(host, source=source, environment=site.environment, home=site.home)
    if where is not None:
        volume, url = split_where(where)
        if url != endpoint.url:  # not the engine that is meant now, so its TLS files are not known
            endpoint = find_endpoint(url, source="the journal", environment=site.environment, home=site.home)
    return DockerAccess(site, endpoint=endpoint, volume=volume, gpus=parse_gpus(site.gpus))


def host_of(site: Site) -> Host:
    """The Ollama server that is meant: --host, else OLLAMA_HOST, else modelforge.toml, else the default.

    Raises:
        UsageProblem: it is malformed.
    """
    settings = site.project.settings
    return parse_host(settings.host or "", source=settings.source("host"))


def wanted_runtime(site: Site) -> RuntimeChoice:
    """The runtime that was asked for. `--host` asks for an Ollama, whatever modelforge.toml says."""
    settings = site.project.settings
    if site.host_given and settings.source("runtime") != COMMAND_LINE:
        return "ollama"
    return settings.runtime


def store_of(site: Site) -> Path:
    """The embedded store: what the settings say, else Ollama's own place."""
    return site.project.settings.store or site.home / ".ollama" / "models"


def open_ollama(site: Site, host: Host) -> Runtime:
    """The server at `host`.

    Raises:
        Unreachable: nothing answers there, or what answers is no Ollama.
    """
    from modelforge.runtimes.ollama import connect  # noqa: PLC0415 (brings the HTTP client)
    from modelforge.runtimes.ollama_cli import local_command  # noqa: PLC0415

    timeouts = site.project.settings.timeouts
    journal = Journal(site.state, RuntimeInfo(kind="ollama", version="", endpoint=host.display))
    return connect(
        host,
        timeouts=timeouts,
        via=site.via,
        lock=journal.writing,
        hashes=site.hashes,
        command=local_command(host, environment=site.environment, seconds=timeouts.load),
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


def engine_is_likely(site: Site) -> bool:
    """Whether a Docker engine is named, or has its socket; costs no connection."""
    from modelforge.runtimes.docker.endpoint import find_endpoint  # noqa: PLC0415

    docker = site.project.settings.docker
    try:
        found = find_endpoint(docker.host, source="", environment=site.environment, home=site.home)
    except ForgeError:
        return False
    return not found.url.startswith("unix://") or Path(found.url.removeprefix("unix://")).exists()


def _first_to_be_had(site: Site) -> tuple[Access, str]:
    """The first of the runtimes that can be had, and why it is that one.

    Raises:
        Unreachable: none of them.
    """
    server = OllamaAccess(site, host_of(site))
    try:
        return server, f"it answers at {server.open(None).info.endpoint}"
    except Unreachable as error:
        trouble = error
    reason = trouble.problems[0].message
    engine = _engine_with_image(site)
    if engine is not None:
        return engine, f"{reason} {site.project.settings.docker.image} is there for a container."
    if not embedded_installed():
        raise trouble
    return EmbeddedAccess(site, store_of(site)), reason


def _engine_with_image(site: Site) -> DockerAccess | None:
    """The engine, if it answers and has the image: for nothing less is it taken unasked."""
    if not engine_is_likely(site):
        return None
    try:
        access = docker_access(site)
        if access.has_image():
            return access
        access.close()
    except ForgeError:
        return None
    return None
