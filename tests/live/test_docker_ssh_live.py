"""An engine through a real sshd on the loopback, with keys and a configuration of the test's own."""

from __future__ import annotations

import contextlib
import getpass
import socket
from typing import TYPE_CHECKING

import docker
import pytest

from modelforge.runtimes.docker.ssh import forwarded
from tests.live.servers import free_port
from tests.live.sshd import LACKING, SECONDS, Machine, another_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)


@pytest.fixture
def start() -> Iterator[Callable[..., Machine]]:
    """Starts another machine, with further lines for its sshd_config."""
    with contextlib.ExitStack() as stack:
        yield lambda *lines: another_machine(stack, *lines)


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
