"""An engine through a real sshd on the loopback, with keys and a configuration of the test's own."""

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

import docker
import pytest

from modelforge.errors import Unreachable
from modelforge.runtimes.docker.endpoint import find_endpoint
from modelforge.runtimes.docker.ssh import forwarded
from tests.live.servers import PATH, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelforge.runtimes.docker.endpoint import Endpoint

SEARCH = os.pathsep.join((PATH, "/usr/sbin", "/usr/local/sbin", "/sbin"))
SSHD, SSH, KEYGEN = (shutil.which(name, path=SEARCH) for name in ("sshd", "ssh", "ssh-keygen"))
SECONDS = 15.0

pytestmark = pytest.mark.skipif(
    None in {SSHD, SSH, KEYGEN}, reason="no sshd, ssh and ssh-keygen on this machine (apt: openssh-server)"
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


@pytest.fixture
def start() -> Iterator[Callable[..., Machine]]:
    """Starts another machine, with further lines for its sshd_config."""
    with contextlib.ExitStack() as stack:

        def make(*lines: str) -> Machine:
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
            (folder / "config").write_text(
                "\n".join((*machine_config, f"UserKnownHostsFile {folder}/known_hosts\n"))
            )
            engine = stack.enter_context(Listener(str(machine.engine), Answers))
            threading.Thread(target=engine.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            stack.callback(engine.shutdown)
            return machine

        yield make


@pytest.fixture
def machine(start: Callable[..., Machine]) -> Machine:
    return start()


def test_the_sdk_speaks_with_an_engine_through_ssh(machine: Machine) -> None:
    with forwarded(
        machine.endpoint(), environment=machine.environment, folder=machine.folder, seconds=SECONDS
    ) as url:
        client = docker.APIClient(base_url=url, version="1.44")
        try:
            assert client.ping()
            assert client.version()["Version"] == "28.0.0"
        finally:
            client.close()
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match=r"refused|No such file"):
        sock.connect(str(machine.folder / "engine.sock"))


def test_the_end_of_our_input_goes_through_while_the_answer_comes_back(machine: Machine) -> None:
    with (
        forwarded(
            machine.endpoint(), environment=machine.environment, folder=machine.folder, seconds=SECONDS
        ) as url,
        socket.socket(socket.AF_UNIX) as sock,
    ):
        sock.settimeout(SECONDS)
        sock.connect(url.removeprefix("unix://"))
        sock.sendall(b"POST /exec HTTP/1.1\r\n\r\n" + bytes(300_000))
        sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(4096), b""))
    assert answer.endswith(b"300000 bytes")


def test_a_key_that_is_not_taken(machine: Machine) -> None:
    other = machine.make_key("other")
    machine.configure(f"IdentityFile {other}")
    config = machine.folder / "config"
    config.write_text(config.read_text().replace(f"IdentityFile {machine.folder}/mine\n", ""))
    error = machine.fails(machine.endpoint())
    assert "Permission denied (publickey)" in str(error)
    assert f"ssh -p {machine.port} {getpass.getuser()}@127.0.0.1" in (error.problems[0].hint or "")
    assert "ssh-add" in (error.problems[0].hint or "")


def test_a_port_where_nothing_listens(machine: Machine) -> None:
    error = machine.fails(machine.endpoint(port=free_port()))
    assert "Connection refused" in str(error)
    assert "is an ssh server running there, on that port?" in (error.problems[0].hint or "")


def test_a_machine_that_is_not_known_yet(machine: Machine) -> None:
    (machine.folder / "known_hosts").write_text("")
    error = machine.fails(machine.endpoint())
    assert "Host key verification failed." in str(error)
    assert "accept its key once, by hand: ssh -p" in (error.problems[0].hint or "")


def test_a_machine_with_another_key_than_before(machine: Machine) -> None:
    machine.make_key("old")
    old = (machine.folder / "old.pub").read_text()
    (machine.folder / "known_hosts").write_text(f"[127.0.0.1]:{machine.port} {old}")
    error = machine.fails(machine.endpoint())
    assert "Host key verification failed." in str(error)
    assert f"ssh-keygen -R '[127.0.0.1]:{machine.port}'" in (error.problems[0].hint or "")


def test_a_machine_without_an_engine(machine: Machine) -> None:
    missing = machine.folder / "nothing.sock"
    error = machine.fails(machine.endpoint(path=missing))
    assert f"no Docker engine answers at {missing} on 127.0.0.1, which ssh reaches" in str(error)
    assert f"may {getpass.getuser()} use it" in (error.problems[0].hint or "")


def test_a_server_that_forbids_to_forward_sockets(start: Callable[..., Machine]) -> None:
    machine = start("AllowStreamLocalForwarding no")
    error = machine.fails(machine.endpoint())
    assert "no Docker engine answers" in str(error)
    assert "AllowStreamLocalForwarding" in (error.problems[0].hint or "")


def test_forwardings_of_the_users_own_that_are_taken_do_no_harm(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        machine.configure(f"LocalForward 127.0.0.1:{taken.getsockname()[1]} 127.0.0.1:9")
        with forwarded(
            machine.endpoint(), environment=machine.environment, folder=machine.folder, seconds=SECONDS
        ) as url:
            assert url == f"unix://{machine.folder}/engine.sock"


def test_a_connection_that_the_user_shares_is_left_alone(machine: Machine) -> None:
    machine.configure("ControlMaster auto", f"ControlPath {machine.folder}/shared", "ControlPersist 60")
    with forwarded(
        machine.endpoint(), environment=machine.environment, folder=machine.folder, seconds=SECONDS
    ):
        assert not (machine.folder / "shared").exists()
