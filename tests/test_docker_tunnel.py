from __future__ import annotations

import os
import queue
import shutil
import socket
import ssl
import struct
import subprocess  # noqa: TID251 (runs the relay as the engine does; not part of the product)
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from modelforge.errors import Unreachable
from modelforge.runtimes.docker.exec_stream import ExecStream
from modelforge.runtimes.docker.tunnel import RELAY, Tunnel, no_way, opened, relay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = 10.0
OUT, ERR = 1, 2
NO_BASH = (
    b"OCI runtime exec failed: exec failed: unable to start container process: "
    b'exec: "bash": executable file not found in $PATH: unknown\r\n'
)


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(data)) + data


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


class Background:
    """Runs a function in a thread; `result` waits for it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._found: queue.Queue[object] = queue.Queue()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self._found.put(work())
        except OSError as error:
            self._found.put(error)

    def result(self) -> object:
        return self._found.get(timeout=SECONDS)


class Owner:
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, engine = socket.socketpair()
    engine.settimeout(SECONDS)
    with ours, engine:
        yield ours, engine


@pytest.fixture
def tls_pair(
    pair: tuple[socket.socket, socket.socket],
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The same with TLS between them, without certificates."""
    sides = []
    for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.set_ciphers("AECDH-AES256-SHA:@SECLEVEL=0")
        except ssl.SSLError:
            pytest.skip("this OpenSSL has no ciphers without certificates")
        sides.append(context)
    shaking = Background(lambda: sides[1].wrap_socket(pair[1], server_side=True))
    ours = sides[0].wrap_socket(pair[0])
    engine = shaking.result()
    assert isinstance(engine, ssl.SSLSocket)
    engine.settimeout(SECONDS)
    with ours, engine:
        yield ours, engine


# -- one stream --------------------------------------------------------------------------------------


def test_output_and_errors_are_told_apart(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, engine = pair
    stream = ExecStream(ours)
    engine.sendall(frame(OUT, b"one") + frame(ERR, b"oops") + frame(OUT, b"") + frame(OUT, b"two"))
    engine.close()
    assert [stream.recv(2), stream.recv(99), stream.recv(99), stream.recv(99)] == [b"on", b"e", b"two", b""]
    assert stream.errors == b"oops"


def test_a_piece_may_come_in_pieces_and_its_start_ahead_of_us(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, engine = pair
    whole = frame(OUT, b"one") + frame(OUT, b"two")
    stream = ExecStream(ours, early=whole[:5])
    reading = Background(lambda: b"".join(iter(lambda: stream.recv(99), b"")))
    for byte in whole[5:]:
        engine.sendall(bytes([byte]))
        time.sleep(0.001)
    engine.close()
    assert reading.result() == b"onetwo"


@pytest.mark.parametrize("kept", [5, 10])
def test_an_end_within_a_piece_is_no_end(pair: tuple[socket.socket, socket.socket], kept: int) -> None:
    ours, engine = pair
    stream = ExecStream(ours)
    engine.sendall(frame(OUT, b"three")[:kept])
    engine.close()
    with pytest.raises(ConnectionResetError, match="cut off"):
        b"".join(iter(lambda: stream.recv(99), b""))


def test_only_the_last_of_the_errors_is_kept(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, engine = pair
    stream = ExecStream(ours)
    writing = Background(lambda: engine.sendall(frame(ERR, b"x" * 50_000 + b"end") + frame(OUT, b"done")))
    assert stream.recv(99) == b"done"
    writing.result()
    assert stream.errors.endswith(b"xend")
    assert len(stream.errors) < 20_000


def test_nobody_waits_longer_than_asked(pair: tuple[socket.socket, socket.socket]) -> None:
    stream = ExecStream(pair[0])
    with pytest.raises(TimeoutError):
        stream.recv(1, until=time.monotonic() + 0.02)


def both_ways(ours: socket.socket, engine: socket.socket) -> None:
    """Sends much and receives much at once, then ends our input and hears the rest."""
    stream = ExecStream(ours)
    data = os.urandom(1_000_000)

    def serve() -> bytes:  # in one thread: Python's own TLS sockets bear no more
        got = b""
        for start in range(0, len(data), 100_000):
            engine.sendall(frame(OUT, data[start : start + 100_000]))
            got += engine.recv(100_000)
        got += read_all(engine)
        engine.sendall(frame(OUT, b"last words"))
        if isinstance(engine, ssl.SSLSocket):
            engine.unwrap()
        engine.close()
        return got

    serving = Background(serve)
    sending = Background(lambda: stream.sendall(memoryview(data)))
    got = b""
    while len(got) < len(data):
        got += stream.recv(1 << 20)
    assert got == data
    sending.result()
    stream.end_input()
    assert stream.recv(99) == b"last words"
    assert stream.recv(99) == b""
    assert serving.result() == data
    stream.close()


def test_both_ways_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    both_ways(*pair)


def test_both_ways_at_once_over_tls(tls_pair: tuple[socket.socket, socket.socket]) -> None:
    both_ways(*tls_pair)


@pytest.mark.parametrize("kind", ["pair", "tls_pair"])
def test_output_on_its_way_is_not_lost_when_our_input_ends(request: pytest.FixtureRequest, kind: str) -> None:
    ours, engine = request.getfixturevalue(kind)
    stream = ExecStream(ours)
    engine.sendall(frame(OUT, b"on its way"))
    stream.end_input()
    stream.end_input()  # once is enough
    assert engine.recv(1) == b""
    engine.sendall(frame(OUT, b"and after"))
    assert [stream.recv(99), stream.recv(99)] == [b"on its way", b"and after"]


@pytest.mark.parametrize("kind", ["pair", "tls_pair"])
@pytest.mark.parametrize("waits", ["recv", "sendall"])
def test_closing_wakes_who_waits(request: pytest.FixtureRequest, kind: str, waits: str) -> None:
    ours, _engine = request.getfixturevalue(kind)
    owner = Owner()
    stream = ExecStream(ours, owner=owner)
    waiting = Background(lambda: stream.recv(1) if waits == "recv" else stream.sendall(bytes(10_000_000)))
    time.sleep(0.02)
    stream.close()
    assert isinstance(waiting.result(), OSError)
    assert ours.fileno() == -1
    assert owner.closed
    stream.close()
    stream.end_input()


@pytest.mark.parametrize("kind", ["pair", "tls_pair"])
def test_a_program_gets_all_and_gives_all(request: pytest.FixtureRequest, kind: str) -> None:
    ours, engine = request.getfixturevalue(kind)

    def serve() -> None:
        size = len(read_all(engine))
        engine.sendall(frame(ERR, b"warning") + frame(OUT, b"%d" % size))
        if isinstance(engine, ssl.SSLSocket):
            engine.unwrap()
        engine.close()

    serving = Background(serve)
    assert ExecStream(ours).finish(b"x" * 1_000_000, seconds=SECONDS) == (b"1000000", b"warning")
    serving.result()
    assert ours.fileno() == -1


def test_a_program_that_takes_too_long(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(TimeoutError):
        ExecStream(pair[0]).finish(b"x", seconds=0.02)
    assert pair[0].fileno() == -1


def test_a_program_that_ends_before_it_has_read_all(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, engine = pair
    engine.sendall(frame(OUT, b"enough"))
    engine.shutdown(socket.SHUT_WR)
    assert ExecStream(ours).finish(bytes(10_000_000), seconds=SECONDS) == (b"enough", b"")


# -- the relay ---------------------------------------------------------------------------------------


def test_a_port_that_is_open(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, engine = pair
    engine.sendall(frame(OUT, b"rea") + frame(OUT, b"dy\nhello"))
    stream = opened(ExecStream(ours), seconds=SECONDS)
    assert engine.recv(99) == b"\n"
    assert stream.recv(99) == b"hello"


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (frame(OUT, NO_BASH), "the image has no bash, which it needs where the container's port"),
        (frame(ERR, b"bash: line 2: type: cat: not found\n"), "the image has no cat, which it needs"),
        (
            frame(ERR, b"bash: connect: Connection refused\nbash: line 3: /dev/tcp/x: Connection refused\n"),
            "there is no way to the port in the container: bash: line 3: /dev/tcp/x: Connection refused",
        ),
        (frame(OUT, b"\x1b[2Jready?\n"), "container: \\x1b[2Jready?"),
        (b"", "the relay in the container ended without a word"),
    ],
)
def test_a_port_that_is_not_open(
    pair: tuple[socket.socket, socket.socket], told: bytes, message: str
) -> None:
    ours, engine = pair
    engine.sendall(told)
    engine.close()
    with pytest.raises(Unreachable) as caught:
        opened(ExecStream(ours), seconds=SECONDS)
    assert message in str(caught.value)
    assert ours.fileno() == -1


def test_an_image_without_bash_gets_a_remedy() -> None:
    assert "use an image with bash" in (no_way(NO_BASH.decode()).problems[0].hint or "")


def test_a_relay_that_does_not_answer(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(Unreachable, match="was not open within 0 s"):
        opened(ExecStream(pair[0]), seconds=0.02)
    assert pair[0].fileno() == -1


def test_a_stream_that_breaks_before_it_is_open(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, engine = pair
    engine.sendall(frame(OUT, b"ready\n")[:10])
    engine.close()
    with pytest.raises(Unreachable, match=r"the way into the container broke off: .*cut off"):
        opened(ExecStream(ours), seconds=SECONDS)


@contextmanager
def running(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The relay as an engine runs it, on this machine."""
    relaying = subprocess.Popen(
        relay(port), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    watchdog = threading.Timer(SECONDS, relaying.kill)
    watchdog.start()
    try:
        with relaying:
            yield relaying
    finally:
        watchdog.cancel()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        yield listener


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")


@needs_bash
@pytest.mark.network
@pytest.mark.processes
def test_the_relay_brings_everything_over_and_ends_with_the_server(server: socket.socket) -> None:
    data = os.urandom(500_000)
    with running(server.getsockname()[1]) as relaying:
        assert relaying.stdin is not None
        assert relaying.stdout is not None
        relaying.stdin.write(b"\n")
        assert relaying.stdout.read(6) == b"ready\n"
        far, _ = server.accept()
        with far:
            far.settimeout(SECONDS)
            sending = Background(lambda: far.sendall(data))
            got = b"".join(relaying.stdout.read(1) for _ in range(1))
            while len(got) < len(data):
                got += relaying.stdout.read(65536)
            assert got == data
            sending.result()
            relaying.stdin.write(b"question")
            assert far.recv(99) == b"question"
            far.sendall(b"answer")
        assert relaying.stdout.read(99) == b"answer"
        assert relaying.stdout.read(99) == b""  # though its input is still open
        assert relaying.wait(SECONDS) == 0


@needs_bash
@pytest.mark.network
@pytest.mark.processes
def test_the_relay_ends_with_our_side_and_tells_the_server(server: socket.socket) -> None:
    with running(server.getsockname()[1]) as relaying:
        assert relaying.stdin is not None
        assert relaying.stdout is not None
        relaying.stdin.write(b"\nlast words")
        assert relaying.stdout.read(6) == b"ready\n"
        far, _ = server.accept()
        with far:
            far.settimeout(SECONDS)
            relaying.stdin.close()
            assert read_all(far) == b"last words"  # a server would go on for nobody, else
        assert relaying.stdout.read(99) == b""


@needs_bash
@pytest.mark.network
@pytest.mark.processes
def test_the_relay_tells_of_a_port_where_nothing_listens(server: socket.socket) -> None:
    port = server.getsockname()[1]
    server.close()
    with running(port) as relaying:
        output, errors = relaying.communicate(b"\n")
    assert output == b""
    assert b"Connection refused" in errors


@needs_bash
@pytest.mark.processes
def test_the_relay_tells_of_an_image_without_cat(tmp_path: Path) -> None:
    relaying = subprocess.run(
        relay(1),
        executable=shutil.which("bash"),
        env={"PATH": str(tmp_path)},
        input=b"\n",
        capture_output=True,
        check=False,
        timeout=SECONDS,
    )
    assert "the image has no cat" in str(no_way(relaying.stderr))


def test_the_relay_is_for_ollama_s_port() -> None:
    assert relay(11434) == RELAY
    assert RELAY[0] == "bash"
    assert "/dev/tcp/127.0.0.1/11434" in RELAY[-1]


# -- many connections --------------------------------------------------------------------------------


class Plain:
    """A stream that is a socket, and nothing else."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.recv = sock.recv
        self.sendall = sock.sendall

    def end_input(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


class Far:
    """The other ends of what a tunnel dials."""

    def __init__(self) -> None:
        self._ends: queue.Queue[socket.socket] = queue.Queue()

    def dial(self) -> Plain:
        near, far = socket.socketpair()
        far.settimeout(SECONDS)
        self._ends.put(far)
        return Plain(near)

    def end(self) -> socket.socket:
        return self._ends.get(timeout=SECONDS)


def connect(tunnel: Tunnel) -> socket.socket:
    return socket.create_connection(("127.0.0.1", tunnel.port), timeout=SECONDS)


def is_over(sock: socket.socket) -> bool:
    """Whether the other side has ended it, with or without manners."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.network
def test_each_connection_has_a_stream_of_its_own() -> None:
    far = Far()
    with Tunnel(far.dial) as tunnel:
        ends = []
        for name in (b"one", b"two"):
            client = connect(tunnel)
            end = far.end()
            client.sendall(name)
            assert end.recv(99) == name
            ends.append((name, client, end))
        for name, client, end in ends:
            end.sendall(name)
            assert client.recv(99) == name
            client.close()
            assert end.recv(1) == b""
            end.close()
    assert tunnel.trouble is None


@pytest.mark.network
def test_much_goes_both_ways_unharmed() -> None:
    far = Far()
    data = os.urandom(1_000_000)
    with Tunnel(far.dial) as tunnel, connect(tunnel) as client, far.end() as end:
        work = [
            Background(lambda: client.sendall(data)),
            Background(lambda: end.sendall(data)),
        ]
        for side in (client, end):
            got = bytearray()
            while len(got) < len(data):
                got += side.recv(1 << 20)
            assert got == data
        for one in work:
            assert one.result() is None


@pytest.mark.network
def test_a_side_that_has_said_all_still_hears_the_other() -> None:
    far = Far()
    with Tunnel(far.dial) as tunnel:
        with connect(tunnel) as client, far.end() as end:
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            assert read_all(end) == b"question"
            end.sendall(b"answer")
            end.close()
            assert read_all(client) == b"answer"
        with connect(tunnel) as client, far.end() as end:
            end.sendall(b"bye")
            end.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"bye"
            client.sendall(b"last words")
            assert end.recv(99) == b"last words"


@pytest.mark.network
def test_a_stream_that_cannot_be_opened_ends_the_connection_and_is_told() -> None:
    far = Far()
    dials = iter((failing, far.dial))

    def dial() -> Plain:
        return next(dials)()

    with Tunnel(dial) as tunnel:
        with connect(tunnel) as client:
            assert is_over(client)
        assert str(tunnel.trouble) == "the image has no bash"
        with connect(tunnel) as client, far.end() as end:  # the next one is tried all the same
            end.sendall(b"hello")
            assert client.recv(99) == b"hello"
            assert tunnel.trouble is None


def failing() -> Plain:
    raise Unreachable("the image has no bash")


@pytest.mark.network
def test_a_stream_that_breaks_ends_the_connection_and_is_told(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, engine = pair
    with Tunnel(lambda: ExecStream(ours)) as tunnel, connect(tunnel) as client:
        engine.sendall(frame(OUT, b"half")[:10])
        engine.close()
        assert client.recv(99) == b"ha"
        assert is_over(client)
    assert str(tunnel.trouble) == "the engine's stream was cut off"


@pytest.mark.network
def test_closing_ends_everything() -> None:
    far = Far()
    before = threading.active_count()
    with Tunnel(far.dial) as tunnel:
        client = connect(tunnel)
        end = far.end()
        client.sendall(b"x")
        assert end.recv(1) == b"x"
    assert threading.active_count() == before
    assert is_over(client)
    assert is_over(end)
    client.close()
    end.close()
    with pytest.raises(ConnectionRefusedError):
        connect(tunnel)
    assert tunnel.trouble is None


@pytest.mark.network
def test_a_stream_that_opens_too_late_is_closed() -> None:
    far = Far()
    go = threading.Event()
    dialled = threading.Event()

    def slow() -> Plain:
        dialled.set()
        go.wait(SECONDS)
        return far.dial()

    with Tunnel(slow) as tunnel:
        client = connect(tunnel)
        assert dialled.wait(SECONDS)
        threading.Timer(0.05, go.set).start()
    with client, far.end() as end:
        assert is_over(end)
        assert is_over(client)
