"""Which Docker engine is meant, read as the docker command reads it, and how it is reached.

Rules: docker/cli cli/command/cli.go (`resolveContextName`, `resolveDefaultDockerEndpoint`), cli/flags/options.go,
opts/hosts.go and cli/context, v28. The first that is set counts: DOCKER_HOST, DOCKER_CONTEXT, `currentContext` of
config.json, the default socket. (docker's reference puts DOCKER_CONTEXT first; the command itself does not.)

Three differences. What docker passes over with a warning (a config.json that cannot be read) or in silence (a
certificate without its key) is an error here, because nobody would see the warning. A TCP address has to name its
host. And where there is no default socket, that of a rootless engine is looked for.

The SDK's own `ContextAPI` is not used: a context that does not exist is the default engine to it, without a word,
and where there is no config.json it looks for contexts in the working directory.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from modelforge.errors import Problem, UsageProblem, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_SOCKET = "/var/run/docker.sock"
_DEFAULT_PIPE = "//./pipe/docker_engine"
_DEFAULT_TLS = "tcp://localhost:2376"
# An address without a port gets this one with TLS, too; 2376 is docker's default only where no address is given.
_DEFAULT_PORT = 2375
_DEFAULT_CONTEXT = "default"
_HOSTNAME = re.compile(r"(?!-)[\w-]{1,63}(\.[\w-]{1,63})*\.?")
_HINT = (
    "expected unix:///PATH, tcp://HOST[:PORT] or ssh://[USER@]HOST[:PORT][/PATH], such as ssh://me@gpu-box"
)
_CERTIFICATES = "set DOCKER_CERT_PATH to the folder that holds ca.pem, cert.pem and key.pem"


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """What a TLS connection needs: the CA (None: the system's), our certificate and its key (both or neither).

    `verify`: whether the engine has to prove that it is the one.
    """

    ca: Path | None
    cert: Path | None
    key: Path | None
    verify: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """An engine's address, and where it was set (`default`: nowhere).

    `url` is normal: a unix socket's path without links, a TCP address with its port. `tls` is None without TLS.
    """

    url: str
    source: str
    tls: TlsFiles | None

    @property
    def local(self) -> bool:
        """Whether the engine is on this machine, so that the ports it publishes on its loopback are ours."""
        if self.url.startswith("tcp://"):
            return _is_loopback(urlsplit(self.url).hostname or "")
        return not self.ssh

    @property
    def ssh(self) -> bool:
        """Whether it is reached through ssh."""
        return self.url.startswith("ssh://")


def find_endpoint(host: str | None, *, source: str, environment: Mapping[str, str], home: Path) -> Endpoint:
    """Finds the engine that is meant. Nothing is connected to.

    Args:
        host: what DOCKER_HOST, or a setting in its place, says; None or blank if there is none.
        source: where `host` was set, for errors.
        environment: variables as the process has them; an empty one is not set.
        home: the user's home folder.

    Raises:
        UsageProblem: an address, a context or its files that cannot be used.
    """
    config = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    if host and host.strip():
        return _endpoint(host, source, lambda: _tls_of_environment(environment, config))
    name, origin = _context(environment, config)
    if name != _DEFAULT_CONTEXT:
        return _endpoint_of_context(name, origin, config)
    if environment.get("DOCKER_TLS_VERIFY") or environment.get("DOCKER_TLS"):
        return _endpoint(_DEFAULT_TLS, "default", lambda: _tls_of_environment(environment, config))
    return Endpoint(url=_unix(_default_socket(environment)), source="default", tls=None)


def _default_socket(environment: Mapping[str, str]) -> str:
    folder = environment.get("XDG_RUNTIME_DIR")
    if folder and not Path(DEFAULT_SOCKET).exists():
        rootless = Path(folder, "docker.sock")
        if rootless.exists():
            return str(rootless)
    return DEFAULT_SOCKET


# -- addresses ---------------------------------------------------------------------------------------


def _endpoint(text: str, source: str, tls: Callable[[], TlsFiles | None]) -> Endpoint:
    """Reads an address. `tls` is asked only where it counts: sockets and ssh have no use for it."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        if scheme.startswith("/"):
            raise _problem(text, source, "it has no scheme", hint=f"for a socket, write unix://{scheme}")
        scheme, rest = "tcp", scheme
    read = _SCHEMES.get(scheme.lower())
    if read is None:
        hint = did_you_mean(scheme, _SCHEMES) or _HINT
        if scheme.lower() in {"http", "https"}:
            hint = "docker writes tcp://, and sets DOCKER_TLS_VERIFY=1 for TLS"
        raise _problem(text, source, f"unknown scheme {scheme!r}", hint=hint)
    try:
        url = read(rest)
    except ValueError as error:
        raise _problem(text, source, str(error)) from error
    return Endpoint(url=url, source=source, tls=tls() if url.startswith("tcp://") else None)


def _unix(rest: str) -> str:
    if rest and not rest.startswith("/"):
        raise ValueError("the path of the socket does not start with '/'")
    # /var/run is a link to /run nearly everywhere: two spellings, one engine
    return f"unix://{os.path.realpath(rest or DEFAULT_SOCKET)}"


def _npipe(rest: str) -> str:
    return f"npipe://{rest or _DEFAULT_PIPE}"


def _tcp(rest: str) -> str:
    if _ip(rest) is not None and ":" in rest:  # a bare IPv6 address
        rest = f"[{rest}]"
    parts = _split(f"tcp://{rest}")
    if parts.username is not None:
        raise ValueError("a user name or password, which an engine has no use for")
    host = parts.hostname or ""
    if not host:
        raise ValueError("it names no host (this machine is localhost)")
    return f"tcp://{_bracketed(host)}:{parts.port or _DEFAULT_PORT}{parts.path.rstrip('/')}"


def _ssh(rest: str) -> str:
    parts = _split(f"ssh://{rest}")
    if parts.password is not None:
        raise ValueError("ssh takes no password from an address; use a key")
    if not parts.hostname:
        raise ValueError("it names no host")
    return f"ssh://{parts.netloc.removesuffix(':')}{parts.path.rstrip('/')}"


_SCHEMES: Mapping[str, Callable[[str], str]] = {"unix": _unix, "npipe": _npipe, "tcp": _tcp, "ssh": _ssh}


def _split(url: str) -> SplitResult:
    """The URL's parts, of which host and port are known to be valid.

    Raises:
        ValueError: they are not; with the reason.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError("the brackets of an IPv6 address are not right") from error
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("the port is no number from 1 to 65535") from error
    if port == 0:
        raise ValueError("the port is no number from 1 to 65535")
    if parts.query or parts.fragment:
        raise ValueError("it has a '?' or a '#'")
    host = parts.hostname or ""
    if host and _ip(host) is None and not _HOSTNAME.fullmatch(host):
        raise ValueError(f"{host!r} is no host name")
    return parts


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    ip = _ip(host)
    return ip.is_loopback if ip is not None else host.rstrip(".").casefold() == "localhost"


def _problem(text: str, source: str, reason: str, *, hint: str = _HINT) -> UsageProblem:
    shown = "" if "@" in text else f": {text!r}"  # there may be a password in it
    return UsageProblem(f"{source} names no Docker engine{shown}: {reason}", hint=hint)


# -- contexts ----------------------------------------------------------------------------------------


def _context(environment: Mapping[str, str], config: Path) -> tuple[str, str]:
    """The name of the context that is meant, and where it was set."""
    name = environment.get("DOCKER_CONTEXT")
    if name:
        return name, "DOCKER_CONTEXT"
    file = config / "config.json"
    try:
        settings = _json(file)
    except FileNotFoundError:
        return _DEFAULT_CONTEXT, "default"
    name = settings.get("currentContext") or _DEFAULT_CONTEXT
    if not isinstance(name, str):
        raise _broken(file, "currentContext is no text")
    return name, str(file)


def _endpoint_of_context(name: str, origin: str, config: Path) -> Endpoint:
    folder = config / "contexts"
    key = hashlib.sha256(name.encode()).hexdigest()
    file = folder / "meta" / key / "meta.json"
    try:
        meta = _json(file)
    except FileNotFoundError as error:
        known = [_DEFAULT_CONTEXT, *_names(folder / "meta")]
        hint = did_you_mean(name, known) or f"there are: {', '.join(known)}"
        raise UsageProblem(f"there is no docker context {name!r}, which {origin} names", hint=hint) from error
    endpoints = meta.get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    if not isinstance(docker, dict):
        raise _broken(file, f"the context {name!r} has no docker endpoint")
    host = docker.get("Host") or f"unix://{DEFAULT_SOCKET}"
    if not isinstance(host, str):
        raise _broken(file, "Endpoints.docker.Host is no text")
    skip = docker.get("SkipTLSVerify") is True
    source = f"the docker context {name!r} of {origin}"
    return _endpoint(host, source, lambda: _tls_of_context(folder / "tls" / key / "docker", skip=skip))


def _names(folder: Path) -> list[str]:
    """The names of all contexts that can be read."""
    names = []
    for file in sorted(folder.glob("*/meta.json")):
        try:
            names.append(str(_json(file)["Name"]))
        except (OSError, KeyError, UsageProblem):
            continue
    return sorted(names)


def _json(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        FileNotFoundError: there is no such file.
        UsageProblem: it cannot be read.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _broken(file, f"it cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise _broken(file, error.msg, line=error.lineno, column=error.colno) from error
    except UnicodeDecodeError as error:
        raise _broken(file, "it is no UTF-8 text") from error
    if not isinstance(found, dict):
        raise _broken(file, "it holds no JSON object")
    return found


def _broken(file: Path, reason: str, *, line: int | None = None, column: int | None = None) -> UsageProblem:
    problem = Problem(
        message=f"docker's {file.name} is not valid: {reason}",
        kind=UsageProblem.kind,
        file=str(file),
        line=line,
        column=column,
        hint="mend the file, or set DOCKER_HOST to name the engine without it",
    )
    return UsageProblem(problems=[problem])


# -- TLS ---------------------------------------------------------------------------------------------


def _tls_of_environment(environment: Mapping[str, str], config: Path) -> TlsFiles | None:
    """DOCKER_TLS_VERIFY or DOCKER_TLS with any value, `0` too, as the docker command takes them."""
    verify = bool(environment.get("DOCKER_TLS_VERIFY"))
    if not verify and not environment.get("DOCKER_TLS"):
        return None
    files = _tls(Path(environment.get("DOCKER_CERT_PATH") or config), verify=verify)
    if verify and files.ca is None:
        folder = Path(environment.get("DOCKER_CERT_PATH") or config)
        raise UsageProblem(
            f"DOCKER_TLS_VERIFY is set, but {folder / 'ca.pem'} is not there, or not ours to read",
            hint=_CERTIFICATES,
        )
    return files


def _tls_of_context(folder: Path, *, skip: bool) -> TlsFiles | None:
    if not skip and not folder.is_dir():
        return None
    return _tls(folder, verify=not skip)


def _tls(folder: Path, *, verify: bool) -> TlsFiles:
    ca, cert, key = (_readable(folder / f"{name}.pem") for name in ("ca", "cert", "key"))
    if (cert is None) != (key is None):
        lacking = "cert.pem" if cert is None else "key.pem"
        there = "key.pem" if cert is None else "cert.pem"
        raise UsageProblem(
            f"{folder / lacking} is not there, or not ours to read, but {there} is; TLS needs both",
            hint=_CERTIFICATES,
        )
    return TlsFiles(ca=ca, cert=cert, key=key, verify=verify)


def _readable(file: Path) -> Path | None:
    return file if os.access(file, os.R_OK) else None
