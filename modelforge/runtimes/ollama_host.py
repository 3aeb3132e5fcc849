"""Where an Ollama is: OLLAMA_HOST, `--host` or a `[hosts]` entry, read as Ollama itself reads OLLAMA_HOST.

Rules: ollama envconfig/config.go (`Host`, `ConnectableHost`), v0.32.15. One difference: what Ollama passes over
with a warning (a port that is no number) is an error here, because nobody reads a client's log.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from modelforge.errors import UsageProblem

DEFAULT = "127.0.0.1"
DEFAULT_PORT = "11434"
_PORTS = {"http": "80", "https": "443"}
_HOSTNAME = re.compile(r"(?!-)[\w-]{1,63}(\.[\w-]{1,63})*\.?")
_MAX_PORT = 65535
_HINT = "expected [http://|https://]HOST[:PORT], such as gpu-box:11434 or https://ollama.example.com"


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """One Ollama's address. `url` has no slash at its end; `display` is what a person reads.

    `loopback`: it is this machine, and no proxy must come between.
    """

    url: str
    display: str
    loopback: bool


def parse_host(text: str, source: str) -> Host:
    """Reads an address; an empty one is the default, 127.0.0.1:11434.

    Args:
        text: as the user wrote it.
        source: which flag, variable or setting it comes from, for the error.

    Raises:
        UsageProblem: it is no address.
    """
    cleaned = text.strip().strip("\"'").strip()
    scheme, separator, rest = cleaned.rpartition("://")
    scheme = scheme.lower() if separator else "http"
    if scheme not in _PORTS:
        raise _problem(text, source, f"unknown scheme {scheme!r}")
    address, _slash, path = rest.partition("/")
    if not separator and ":" in path:  # a scheme that lost its colon, most likely
        raise _problem(text, source, f"the path {path!r} has a colon")
    if "@" in address:
        raise UsageProblem(f"{source} holds a user name or password, which Ollama has no use for", hint=_HINT)
    host, port = _split(address, text, source)
    port = port or (_PORTS[scheme] if separator else DEFAULT_PORT)
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = f"/{path.strip('/')}" if path.strip("/") else ""
    return Host(
        url=f"{scheme}://{shown}{path}",
        display=f"{'https://' if scheme == 'https' else ''}{shown}{path}",
        loopback=_is_loopback(host),
    )


def _split(address: str, text: str, source: str) -> tuple[str, str]:
    """Host and port of `host:port`, `[v6]:port`, a bare IPv6 address, or one of the two alone; port may be ""."""
    ip = _ip(address.strip("[]"))
    if ip is not None:
        return _connectable(ip), ""
    host, _colon, port = address.rpartition(":") if ":" in address else (address, "", "")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        raise _problem(text, source, f"the port {port!r} is no number from 1 to {_MAX_PORT}")
    ip = _ip(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    if ip is not None and (ip.version == 4 or host.startswith("[")):  # noqa: PLR2004 (IPv4)
        return _connectable(ip), port
    if host and not _HOSTNAME.fullmatch(host):
        raise _problem(text, source, f"{host!r} is no host name")
    return host or DEFAULT, port


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _connectable(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """A server may listen on all addresses; a client has to name one."""
    if ip.is_unspecified:
        return DEFAULT if ip.version == 4 else "::1"  # noqa: PLR2004 (IPv4)
    return str(ip)


def _is_loopback(host: str) -> bool:
    ip = _ip(host)
    return ip.is_loopback if ip is not None else host.rstrip(".").casefold() == "localhost"


def _problem(text: str, source: str, reason: str) -> UsageProblem:
    return UsageProblem(f"{source} is no address of an Ollama: {text!r}: {reason}", hint=_HINT)
