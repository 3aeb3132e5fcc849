"""Another machine: a real sshd on the loopback, with keys and a configuration of the test's own."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import socketserver
import subprocess  # noqa: TID251 (starts the real sshd; not part of the product)
import tempfile
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelforge.errors import Unreachable
from modelforge.runtimes.docker.endpoint import find_endpoint
from modelforge.runtimes.docker.ssh import forwarded
from tests.live.servers import PATH, free_port

if TYPE_CHECKING:
    from modelforge.runtimes.docker.endpoint import Endpoint

SEARCH = os.pathsep.join((PATH, "/usr/sbin", "/usr/local/sbin", "/sbin"))
SSHD, SSH, KEYGEN = (shutil.which(name, path=SEARCH) for name in ("sshd", "ssh", "ssh-keygen"))
SECONDS = 15.0

LACKING = (
    "no sshd, ssh and ssh-keygen on this machine (apt: openssh-server)" if None in {SSHD, SSH, KEYGEN} else ""
)


class Answers(BaseHTTPRequestHandler):
    """As much of an engine as is asked for here."""

    def do_GET(self) -> None:
        self.reply(json.dumps({"Version": "28.0.0"}).encode() if self.path.endswith("/version") else b"OK")

    def do_POST(self) -> None:
        """Reads to the end of the input, as an exec does, and only then answers."""
        self.reply(b"%d bytes" % len(self.rfile.read()))

    def reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_args: object) -> None:
        pass


class Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@dataclass
class Machine:
    """The other machine: an sshd, whose `environment` leads our ssh to the test's own keys, and an engine."""

    folder: Path
    port: int
    environment: dict[str, str]

    @property
    def engine(self) -> Path:
        return self.folder / "remote.sock"

    def endpoint(self, *, port: int | None = None, path: Path | None = None) -> Endpoint:
        host = f"ssh://{getpass.getuser()}@127.0.0.1:{port or self.port}{path or self.engine}"
        return find_endpoint(host, source="DOCKER_HOST", environment={}, home=self.folder)

    def configure(self, *lines: str) -> None:
        """Adds to the configuration of our ssh; what comes first counts."""
        file = self.folder / "config"
        file.write_text("\n".join((*lines, file.read_text())))

    def make_key(self, name: str) -> Path:
        file = self.folder / name
        assert KEYGEN is not None
        subprocess.run([KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
        return file

    def fails(self, endpoint: Endpoint, *, seconds: float = SECONDS) -> Unreachable:
        with (
            pytest.raises(Unreachable) as caught,
            forwarded(endpoint, environment=self.environment, folder=self.folder, seconds=seconds),
        ):
            pass
        return caught.value


def is_open(port: int) -> bool:
    with socket.socket() as sock, contextlib.suppress(OSError):
        sock.connect(("127.0.0.1", port))
        return sock.recv(4) == b"SSH-"
    return False


def start_sshd(machine: Machine, lines: tuple[str, ...]) -> subprocess.Popen[bytes]:
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it will not run as root without
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": machine.port,
        "HostKey": machine.make_key("host"),
        "AuthorizedKeysFile": f"{machine.make_key('mine')}.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
    }
    text = "\n".join((*lines, *(f"{name} {value}" for name, value in settings.items())))
    (machine.folder / "sshd_config").write_text(text + "\n")
    assert SSHD is not None
    with (machine.folder / "sshd.log").open("wb") as log:
        sshd = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(machine.folder / "sshd_config")], stdout=log, stderr=log
        )
    end = time.monotonic() + SECONDS
    while not is_open(machine.port):
        assert sshd.poll() is None, (machine.folder / "sshd.log").read_text()
        assert time.monotonic() < end
        time.sleep(0.02)
    return sshd


def another_machine(stack: contextlib.ExitStack, *lines: str) -> Machine:
    """Starts one, with further lines for its sshd_config; it ends with the stack."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mf-")))  # short: sockets
    machine = Machine(folder=folder, port=free_port(), environment={})
    programs = folder / "bin"
    programs.mkdir()
    # ssh takes the home folder of the user's entry in passwd, whatever HOME says
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {SSH} -F {folder}/config "$@"\n')
    (programs / "ssh").chmod(0o755)
    machine.environment = {"PATH": f"{programs}{os.pathsep}{PATH}", "HOME": str(folder)}
    sshd = start_sshd(machine, lines)
    stack.callback(sshd.wait)
    stack.callback(sshd.terminate)
    host_key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{machine.port} {host_key}")
    machine_config = (
        "IdentitiesOnly yes",
        f"IdentityFile {folder}/mine",
        "GlobalKnownHostsFile none",
    )
    (folder / "config").write_text("\n".join((*machine_config, f"UserKnownHostsFile {folder}/known_hosts\n")))
    engine = stack.enter_context(Listener(str(machine.engine), Answers))
    threading.Thread(target=engine.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    stack.callback(engine.shutdown)
    return machine
