"""What the doctor says of servers: Ollama's, its programs, models that run elsewhere, proxies, the Docker engine."""

from __future__ import annotations

import os
import re
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelforge import process
from modelforge.engines import LLAMA_SERVER
from modelforge.errors import ForgeError
from modelforge.finding import Finding
from modelforge.names import repository
from modelforge.runtimes.choose import docker_access, engine_is_likely, host_of, wanted_runtime
from modelforge.runtimes.ollama_host import parse_host
from modelforge.runtimes.ollama_probe import version_key
from modelforge.settings import NEWEST_ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modelforge.runtimes.ollama_api import OllamaApi
    from modelforge.runtimes.ollama_host import Host
    from modelforge.site import Site

_VERSION_SECONDS = 5.0
_CLIENT = re.compile(r"client version is (\S+)")
_NOWHERE = "127.0.0.1:1"
"""Where no server is: `ollama --version` asks one for its version, too."""
_UNTOLD = "no version"
_HOW = ("http_proxy", "https_proxy", "all_proxy")


def server(site: Site) -> Iterator[Finding]:
    """Whether the Ollama that is meant answers, and is one that the plans are for."""
    if not is_wanted(site):
        return
    host = host_of(site)
    with _reached(site, host) as (_api, version):
        yield Finding(good=True, text=f"Ollama {version} answers at {host.display}")
    from modelforge.overview import load_all  # noqa: PLC0415 (it brings the whole profile schema)

    if version_key(version) >= LLAMA_SERVER:
        return
    profiles, _errors = load_all(site)
    newer = [
        profile.name
        for profile in profiles
        if version_key(profile.resolve.engine or NEWEST_ENGINE) >= LLAMA_SERVER
    ]
    if newer:
        engine = ".".join(version.split(".")[:2])
        yield Finding(
            good=False,
            text=f"Ollama {version} is older than what plans are for: it needs other amounts of memory"
            f" ({', '.join(newer)})",
            remedy=f'upgrade it to {NEWEST_ENGINE} or newer, or set engine = "{engine}" in [resolve]',
        )


def cloud(site: Site) -> Iterator[Finding]:
    """Models that the server only passes on to another, and profiles that build on them."""
    from modelforge.overview import load_all  # noqa: PLC0415

    host = host_of(site)
    if version_at(site, host) is None:
        return
    with _reached(site, host) as (api, _version):
        remote = api.remote()
    for name, where in remote.items():
        yield Finding(
            good=False,
            text=f"{name} has no weights here: the server passes its prompts on to {where}",
            remedy=f"nothing can be built on it; to be rid of it: ollama rm {name}",
        )
    elsewhere = {repository(name) for name in remote}
    profiles, _errors = load_all(site) if remote else ((), ())
    for profile in profiles:
        if repository(profile.base.model) in elsewhere:
            yield Finding(
                good=False,
                text=f"{profile.name} builds on {profile.base.model}, which the server has no weights of",
                remedy=f"pull one that has weights, or set another base.model in {profile.file}",
            )


def programs(site: Site) -> Iterator[Finding]:
    """Several `ollama` on PATH, or one that is of another version than the server."""
    if not is_wanted(site):
        return
    found = {file: _client_version(file, site.environment) for file in _on_path(site.environment)}
    if len(set(found.values())) > 1:
        shown = ", ".join(f"{file} ({version})" for file, version in found.items())
        yield Finding(
            good=False,
            text=f"{len(found)} ollama programs on PATH, of different versions: {shown}",
            remedy="remove all but one, so that command and server agree; 'ollama' starts the first",
        )
    host = host_of(site)
    if not found or not host.loopback:
        return
    (file, client), version = next(iter(found.items())), version_at(site, host)
    if version is not None and client not in {version, _UNTOLD}:
        yield Finding(
            good=False,
            text=f"the command {file} is Ollama {client}, the server at {host.display} is {version}",
            remedy="install one version of both, and start the server again",
        )


def another(site: Site) -> Iterator[Finding]:
    """A second server, to which clients go that are told nothing."""
    meant, usual = host_of(site), parse_host("", source="default")
    if not meant.loopback or urlsplit(meant.url).port == urlsplit(usual.url).port:
        return
    version = version_at(site, meant)
    second = version_at(site, usual) if version is not None else None
    if second is not None:
        yield Finding(
            good=False,
            text=f"two Ollamas answer: {version} at {meant.display}, which is meant,"
            f" and {second} at {usual.display}",
            remedy="stop one of them, or set OLLAMA_HOST wherever you call 'ollama': each has models of its own",
        )


def proxy(site: Site) -> Iterator[Finding]:
    """Servers that are asked through a proxy. One on this machine never is, by the `ollama` command neither."""
    proxies = _proxies(site.environment)
    hosts = [
        parse_host(known.url, source=f"[hosts.{name}]") for name, known in site.project.settings.hosts.items()
    ]
    if is_wanted(site):
        hosts.insert(0, host_of(site))
    for host in dict.fromkeys(hosts):
        parts = urlsplit(host.url)
        variable = proxies.get(parts.scheme) or proxies.get("all")
        if host.loopback or variable is None or _is_bypassed(host, site.environment):
            continue
        yield Finding(
            good=False,
            text=f"{variable} is set, and NO_PROXY does not name {host.display}: it is asked through the proxy",
            remedy=f"to ask it directly: export NO_PROXY={_more(site.environment, parts.hostname or '')}",
        )


def docker(site: Site) -> Iterator[Finding]:
    """The engine, where one is wanted or likely."""
    wanted = wanted_runtime(site)
    if wanted == "docker" or (wanted == "auto" and engine_is_likely(site)):
        from modelforge.runtimes.docker.findings import findings  # noqa: PLC0415 (brings the SDK)

        yield from findings(site, docker_access(site))


def is_wanted(site: Site) -> bool:
    """Whether an Ollama may be what builds."""
    return wanted_runtime(site) in {"auto", "ollama"}


@contextmanager
def _reached(site: Site, host: Host) -> Iterator[tuple[OllamaApi, str]]:
    """The API of a server that answers, and its version.

    Raises:
        Unreachable: none does.
    """
    from modelforge.runtimes.ollama import reach  # noqa: PLC0415 (brings the HTTP client)

    api, version = reach(host, timeouts=site.project.settings.timeouts)
    with closing(api):
        yield api, version


def version_at(site: Site, host: Host) -> str | None:
    """The version of the server there; None if none answers, or none is wanted: `server` has the words for that."""
    if not is_wanted(site):
        return None
    try:
        with _reached(site, host) as (_api, version):
            return version
    except ForgeError:
        return None


def embedded_is_idle(site: Site) -> bool:
    """Whether models are built without the embedded runtime: another is wanted, or a server answers."""
    wanted = wanted_runtime(site)
    return wanted in {"ollama", "docker"} or (
        wanted == "auto" and version_at(site, host_of(site)) is not None
    )


def far_server(site: Site) -> Host | None:
    """The server on another machine that models are built on; None where it is this one, or none."""
    if not is_wanted(site):
        return None
    host = host_of(site)
    is_used = wanted_runtime(site) == "ollama" or version_at(site, host) is not None
    return host if is_used and not host.loopback else None


def _on_path(environment: Mapping[str, str]) -> list[Path]:
    """The `ollama` programs that PATH leads to, each once, in its order."""
    folders = [Path(part) for part in environment.get("PATH", "").split(os.pathsep) if part]
    programs = [folder / "ollama" for folder in folders]
    return list(
        dict.fromkeys(file.resolve() for file in programs if os.access(file, os.X_OK) and file.is_file())
    )


def _client_version(file: Path, environment: Mapping[str, str]) -> str:
    """What the program says of itself."""
    try:
        done = process.run(
            [str(file), "--version"],
            environment={**environment, "OLLAMA_HOST": _NOWHERE},
            seconds=_VERSION_SECONDS,
        )
    except (ForgeError, OSError):
        return _UNTOLD
    told = _CLIENT.search(done.stdout + done.stderr)
    return told[1] if told else _UNTOLD


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The variable that names a proxy, for each scheme and "all". Small letters win, as everywhere."""
    found: dict[str, str] = {}
    for name in _HOW:
        for variable in (name, name.upper()):
            if environment.get(variable):
                found.setdefault(name.removesuffix("_proxy"), variable)
    return found


def _is_bypassed(host: Host, environment: Mapping[str, str]) -> bool:
    """Whether NO_PROXY names the host, or a domain that it is in."""
    parts = urlsplit(host.url)
    address = parts.hostname or ""
    for name in (part.strip().casefold() for part in _no_proxy(environment).split(",")):
        domain = name.removeprefix("*")
        if name == "*" or (name and name in {address, parts.netloc}):
            return True
        if domain and address.endswith(domain if domain.startswith(".") else f".{domain}"):
            return True
    return False


def _no_proxy(environment: Mapping[str, str]) -> str:
    return environment.get("no_proxy") or environment.get("NO_PROXY") or ""


def _more(environment: Mapping[str, str], host: str) -> str:
    """NO_PROXY with one more host."""
    return ",".join(filter(None, (_no_proxy(environment), host)))
