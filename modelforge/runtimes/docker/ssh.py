"""An engine on another machine, by ssh: its socket forwarded to one of ours while it is needed.

ssh itself does it, with the user's own configuration, keys and agent. The SDK's way is not used: it needs paramiko,
which knows little of that configuration, or runs `docker system dial-stdio` behind a pipe that cannot carry the
streams of an exec. So the socket is named here, where docker would ask the command on the other machine for it.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelforge.display import visible
from modelforge.errors import Unreachable
from modelforge.process import Background
from modelforge.runtimes.docker.endpoint import DEFAULT_SOCKET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from modelforge.runtimes.docker.endpoint import Endpoint

_PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"
_PAUSE = 0.02
_LONGEST_PATH = 103
"""Bytes of a socket's path: macOS's limit; Linux allows 107."""
_OPTIONS = {
    "BatchMode": "yes",  # nobody is there to be asked for a password
    # With `yes`, a LocalForward of the user's own configuration whose port is taken, by a session that is open in
    # another window, would end ours. Whether our own forwarding works is seen by using it.
    "ExitOnForwardFailure": "no",
    "StreamLocalBindUnlink": "yes",
    # A connection that the user's sessions share would outlive us, and our forwarding with it.
    "ControlMaster": "no",
    "ControlPath": "none",
    "ServerAliveInterval": "15",  # a line that is dead is noticed within 45 s
    "LogLevel": "INFO",  # a user's QUIET would leave us without ssh's words
}
_HINTS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "if the machine is a new one, forget its old key: ssh-keygen -R {known}",
    ),
    ("Host key verification failed", "accept its key once, by hand: {by_hand}"),
    (
        "Permission denied",
        "it takes no key of yours; add one (ssh-add, ssh-copy-id) until this works: {by_hand}",
    ),
    ("Could not resolve hostname", "is the name right, or is it one of another network?"),
    ("Connection refused", "is an ssh server running there, on that port?"),
)
# sshd says the same ("open failed") of a socket that is missing, one that is closed to us, and one it may not forward.
_NO_ANSWER = """\
is Docker running there, and may {user} use it (group docker)?
does its ssh server allow it (AllowStreamLocalForwarding in sshd_config)?
another socket is named in the address, such as {url}/run/user/1000/docker.sock"""


@contextmanager
def forwarded(
    endpoint: Endpoint, *, environment: Mapping[str, str], folder: Path, seconds: float
) -> Iterator[str]:
    """Forwards an engine's socket to `folder`, and gives the address of the engine there.

    Args:
        endpoint: an ssh one.
        environment: of ssh, which is found on its PATH.
        folder: where the socket and ssh's log go, with a short path: a socket's may have about 100 bytes.
        seconds: until the engine has to answer.

    Raises:
        Unreachable: with ssh's own last words.
    """
    ours = folder / "engine.sock"
    log = folder / "ssh.log"
    if len(os.fsencode(ours)) > _LONGEST_PATH:
        raise Unreachable(f"the path {ours} is too long for a socket", hint="set TMPDIR to a shorter folder")
    with ExitStack() as stack:
        try:
            program = stack.enter_context(
                Background(_command(endpoint, ours), environment=environment, log=log)
            )
        except OSError as error:
            raise Unreachable(
                f"ssh, which {endpoint.url} needs, cannot be run: {error.strerror}",
                hint="install OpenSSH's client, or put it on PATH",
            ) from error
        _wait(endpoint, program, ours, log, until=time.monotonic() + seconds)
        yield f"unix://{ours}"


def _command(endpoint: Endpoint, ours: Path) -> list[str]:
    parts = urlsplit(endpoint.url)
    options = [word for name, value in _OPTIONS.items() for word in ("-o", f"{name}={value}")]
    port = ["-p", str(parts.port)] if parts.port else []
    user = ["-l", unquote(parts.username)] if parts.username else []
    return ["ssh", "-nNT", *options, "-L", f"{ours}:{_remote(endpoint)}", *port, *user, "--", _host(endpoint)]


def _remote(endpoint: Endpoint) -> str:
    return unquote(urlsplit(endpoint.url).path) or DEFAULT_SOCKET


def _host(endpoint: Endpoint) -> str:
    """The host as it was written: an alias of ssh's configuration has its own capitals."""
    host = urlsplit(endpoint.url).netloc.rpartition("@")[2]
    if host.startswith("["):
        return host[1 : host.index("]")]
    return host.partition(":")[0]


def _wait(endpoint: Endpoint, program: Background, ours: Path, log: Path, *, until: float) -> None:
    """Waits until the engine answers through ssh.

    A connection alone tells nothing: ssh takes it at our end before it tries the other.
    """
    while program.running():
        if time.monotonic() > until:
            words = _last_words(log)
            raise _unreachable(endpoint, log, "no answer in time" + (f" ({words})" if words else ""))
        try:
            if _answers(ours, until):
                return
        except OSError:  # not there yet
            time.sleep(_PAUSE)
            continue
        time.sleep(_PAUSE)  # a line that has just broken shows in a moment
        if program.running():
            raise _silent(endpoint)
    raise _unreachable(endpoint, log, _last_words(log) or f"it ended with {program.exit_code}")


def _answers(ours: Path, until: float) -> bool:
    """Whether an engine is at the other end.

    Raises:
        OSError: nothing listens at ours.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(ours))
        sock.settimeout(max(_PAUSE, until - time.monotonic()))
        try:
            sock.sendall(_PING)
            return bool(sock.recv(1))
        except OSError:
            return False


def _unreachable(endpoint: Endpoint, log: Path, words: str) -> Unreachable:
    text = log.read_text(encoding="utf-8", errors="replace")
    hint = next((hint for sign, hint in _HINTS if sign in text), "try it by hand: {by_hand}")
    port = urlsplit(endpoint.url).port
    known = f"'[{_host(endpoint)}]:{port}'" if port else _host(endpoint)  # as known_hosts has it
    return Unreachable(
        f"ssh does not reach the Docker engine at {endpoint.url}: {words}",
        hint=hint.format(known=known, by_hand=" ".join(_by_hand(endpoint))),
    )


def _silent(endpoint: Endpoint) -> Unreachable:
    """The error where ssh works and the engine does not."""
    parts = urlsplit(endpoint.url)
    user = unquote(parts.username or "your user")
    return Unreachable(
        f"no Docker engine answers at {_remote(endpoint)} on {_host(endpoint)}, which ssh reaches",
        hint=_NO_ANSWER.format(user=user, url=f"ssh://{parts.netloc}"),
    )


def _by_hand(endpoint: Endpoint) -> list[str]:
    parts = urlsplit(endpoint.url)
    port = ["-p", str(parts.port)] if parts.port else []
    user = f"{unquote(parts.username)}@" if parts.username else ""
    return ["ssh", *port, f"{user}{_host(endpoint)}"]


def _last_words(log: Path) -> str:
    """The last two lines: where ssh goes through other machines, the last alone tells only that it has ended."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [visible(line.strip()) for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-2:])
