from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelforge.errors import Unreachable
from modelforge.runtimes.docker.endpoint import Endpoint
from modelforge.runtimes.docker.ssh import forwarded

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.processes, pytest.mark.network]

# Listens where -L says, answers every request, and writes down its arguments and the number of its process.
FORWARDS = f"""\
#!{sys.executable} -IS
import os, pathlib, socket, sys
path = sys.argv[sys.argv.index("-L") + 1].partition(":")[0]
beside = pathlib.Path(path).parent
(beside / "arguments").write_text("\\n".join(sys.argv[1:]))
(beside / "process").write_text(str(os.getpid()))
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
while True:
    client, _ = server.accept()
    client.recv(100)
    client.sendall(REPLY)
    client.close()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: sockets go there."""
    with tempfile.TemporaryDirectory(prefix="mf-") as name:
        yield Path(name)


def stand_in(folder: Path, script: str) -> dict[str, str]:
    """The environment with a stand-in for ssh."""
    program = folder / "ssh"
    program.write_text(script)
    program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin"}


def says(words: str, code: int = 255) -> str:
    return f"#!/bin/sh\ncat >&2 <<'END'\n{words}\nEND\nexit {code}\n"


def at(url: str) -> Endpoint:
    return Endpoint(url=url, source="DOCKER_HOST", tls=None)


def failure(folder: Path, environment: dict[str, str], url: str, seconds: float = 10.0) -> Unreachable:
    with (
        pytest.raises(Unreachable) as caught,
        forwarded(at(url), environment=environment, folder=folder, seconds=seconds),
    ):
        pass
    return caught.value


def hint_of(error: Unreachable) -> str:
    return error.problems[0].hint or ""


def is_alive(folder: Path) -> bool:
    try:
        os.kill(int((folder / "process").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_the_engine_is_at_our_socket_while_it_is_needed(folder: Path) -> None:
    environment = stand_in(folder, FORWARDS.replace("REPLY", "b'HTTP/1.0 200 OK'"))
    with forwarded(at("ssh://me@Gpu-Box"), environment=environment, folder=folder, seconds=10) as url:
        assert url == f"unix://{folder}/engine.sock"
        assert is_alive(folder)
    assert not is_alive(folder)
    arguments = (folder / "arguments").read_text().split("\n")
    assert arguments[0] == "-nNT"
    assert "BatchMode=yes" in arguments
    assert arguments[-6:] == ["-L", f"{folder}/engine.sock:/var/run/docker.sock", "-l", "me", "--", "Gpu-Box"]


def test_an_interrupt_ends_ssh_too(folder: Path) -> None:
    environment = stand_in(folder, FORWARDS.replace("REPLY", "b'HTTP/1.0 200 OK'"))

    def interrupted() -> None:
        with forwarded(at("ssh://gpu-box"), environment=environment, folder=folder, seconds=10):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not is_alive(folder)


@pytest.mark.parametrize(
    ("url", "end"),
    [
        ("ssh://gpu-box:2222", [":/var/run/docker.sock", "-p", "2222", "--", "gpu-box"]),
        ("ssh://gpu-box/run/user/7/docker.sock", [":/run/user/7/docker.sock", "--", "gpu-box"]),
        (
            "ssh://me%40lab@[fd00::1]:22",
            [":/var/run/docker.sock", "-p", "22", "-l", "me@lab", "--", "fd00::1"],
        ),
    ],
)
def test_what_the_address_says_reaches_ssh(folder: Path, url: str, end: list[str]) -> None:
    environment = stand_in(folder, '#!/bin/sh\nfor each; do echo "$each"; done > "$0.told"\nexit 1\n')
    failure(folder, environment, url)
    told = (folder / "ssh.told").read_text().splitlines()[-len(end) :]
    assert [told[0].removeprefix(f"{folder}/engine.sock"), *told[1:]] == end


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (
            "me@gpu-box: Permission denied (publickey).",
            "add one (ssh-add, ssh-copy-id) until this works: ssh -p 2222 me@gpu-box",
        ),
        ("Host key verification failed.", "accept its key once, by hand: ssh -p 2222 me@gpu-box"),
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "forget its old key: ssh-keygen -R '[gpu-box]:2222'",
        ),
        ("ssh: Could not resolve hostname gpu-box: Name or service not known", "is the name right"),
        ("ssh: connect to host gpu-box port 2222: Connection refused", "is an ssh server running there"),
        (
            "ssh: connect to host gpu-box port 2222: No route to host",
            "try it by hand: ssh -p 2222 me@gpu-box",
        ),
    ],
)
def test_ssh_has_the_last_word_and_we_the_remedy(folder: Path, words: str, hint: str) -> None:
    error = failure(folder, stand_in(folder, says(words)), "ssh://me@gpu-box:2222")
    assert "ssh does not reach the Docker engine at ssh://me@gpu-box:2222" in str(error)
    assert words.splitlines()[-1] in str(error)
    assert hint in hint_of(error)
    assert error.exit_code == 10


def test_only_the_last_words_count_and_none_moves_the_cursor(folder: Path) -> None:
    words = "debug\nWelcome!\n\x1b[2Jssh: no way to jump-host\nConnection closed by UNKNOWN port 65535"
    error = failure(folder, stand_in(folder, says(words)), "ssh://gpu-box")
    assert "\\x1b[2Jssh: no way to jump-host; Connection closed by UNKNOWN port 65535" in str(error)
    assert "Welcome" not in str(error)


def test_an_ssh_that_says_nothing(folder: Path) -> None:
    error = failure(folder, stand_in(folder, "#!/bin/sh\nexit 3\n"), "ssh://gpu-box")
    assert "it ended with 3" in str(error)


def test_no_ssh_at_all(folder: Path) -> None:
    error = failure(folder, {"PATH": str(folder)}, "ssh://gpu-box")
    assert "ssh, which ssh://gpu-box needs, cannot be run: No such file or directory" in str(error)
    assert "install OpenSSH's client" in hint_of(error)


def test_ssh_without_an_engine_behind_it(folder: Path) -> None:
    error = failure(folder, stand_in(folder, FORWARDS.replace("REPLY", "b''")), "ssh://me@gpu-box")
    assert "no Docker engine answers at /var/run/docker.sock on gpu-box, which ssh reaches" in str(error)
    assert "may me use it (group docker)" in hint_of(error)
    assert "ssh://me@gpu-box/run/user/1000/docker.sock" in hint_of(error)
    assert not is_alive(folder)


def test_the_deadline_ends_an_ssh_that_gets_nowhere(folder: Path) -> None:
    environment = stand_in(
        folder, '#!/bin/sh\necho $$ > "${0%/*}/process"\necho still trying >&2\nexec sleep 60\n'
    )
    start = time.monotonic()
    error = failure(folder, environment, "ssh://gpu-box", seconds=0.25)
    assert time.monotonic() - start < 5
    assert "no answer in time (still trying)" in str(error)
    assert not is_alive(folder)


def test_a_folder_too_deep_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    error = failure(deep, {}, "ssh://gpu-box")
    assert "too long for a socket" in str(error)
    assert "TMPDIR" in hint_of(error)
