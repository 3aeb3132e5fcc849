"""A way to a port inside a container whose published ports are not ours.

That is so on another machine's engine, and for us in a container beside it. A program in the container, started by
the engine's `exec`, copies between its standard streams and the port; the engine carries these streams over the
connection by which it is reached anyway. `Tunnel` listens on our loopback and opens one such stream for each
connection.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

from modelforge.display import visible
from modelforge.errors import Unreachable
from modelforge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from modelforge.runtimes.docker.exec_stream import ExecStream

PORT = 11434
_BLOCK = MIB
"""Bytes at once: weights of many GB go through here."""
_WORDS = 4096
"""Bytes of an error at once."""
_READY = b"ready\n"
_PATIENCE = 2.0
"""Seconds that closing waits for the threads. They are daemons; what hangs does not keep us."""
# Two cats, and each ends the other: what the port sends ends with the port's side; our side's end kills the other
# cat, which closes the connection and so tells the server that nobody listens any more. A cat that breaks because
# the server has closed (status not 0) leaves the other to bring the last words over. The script waits for a line,
# because the SDK reads ahead and would lose what comes before the stream is in our hands; `ready` tells a port that
# is open from one that is not. `<&4`, as the shell gives a job in the background no input of its own.
# One limit is the engine's: two seconds after the program's end it drops what was not taken of its output. A client
# that stops reading for longer while the server closes loses the rest, and sees it by HTTP's own lengths.
_SCRIPT = """\
read -r _ || exit 1
type cat >/dev/null || exit 127
exec 4<&0 0</dev/null 3<>/dev/tcp/127.0.0.1/{port} || exit 1
echo ready
exec 2>/dev/null
cat <&3 & down=$!
(trap 'kill $cat' TERM; cat <&4 & cat=$!; wait $cat && kill $down) >&3 & up=$!
wait $down
kill $up"""


def relay(port: int) -> tuple[str, ...]:
    """The command, for an exec with standard input and without a terminal, that `opened` takes over."""
    return ("bash", "-c", _SCRIPT.format(port=port))


RELAY = relay(PORT)


class Duplex(Protocol):
    """A stream in both directions. One thread may receive while another sends."""

    def recv(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""

    def sendall(self, data: bytes | memoryview, /) -> None:
        """Sends all of it."""

    def end_input(self) -> None:
        """Tells the other side that no more will be sent. What it still says can be received."""

    def close(self) -> None:
        """Ends both directions, from any thread; who waits in `recv` or `sendall` waits no more."""


class NoRelay(Unreachable):
    """The image lacks what the relay is made of: trying again does not help."""


def opened(stream: ExecStream, *, seconds: float) -> ExecStream:
    """Waits until the relay in the container has its port; the stream is then a connection to it.

    Args:
        stream: of an exec of `relay(port)`. It is closed where this fails.
        seconds: how long that may take.

    Raises:
        Unreachable: with the reason: no bash in the image, nothing listens, no answer in time.
    """
    until = time.monotonic() + seconds
    words = b""
    try:
        with suppress(BrokenPipeError):  # it has ended; why, is still to be read
            stream.sendall(b"\n")
        while words != _READY:
            size = len(_READY) - len(words) if _READY.startswith(words) else _WORDS
            more = stream.recv(size, until=until)
            if not more:
                raise no_way(words + stream.errors)
            words += more
    except BaseException as error:
        stream.close()
        if isinstance(error, TimeoutError):
            message = f"the port in the container was not open within {seconds:.0f} s"
            raise Unreachable(f"{message}, through the Docker engine") from error
        if isinstance(error, OSError):
            raise Unreachable(f"the way into the container broke off: {error}") from error
        raise
    return stream


def no_way(words: bytes | str) -> Unreachable:
    """The error for a relay that did not start, by what the engine, the shell or nobody says of it."""
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    lines = [visible(line.strip()) for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else "the relay in the container ended without a word"
    for program in ("bash", "cat"):
        if f'"{program}"' in text or f"{program}: not found" in text:
            return NoRelay(
                f"the image has no {program}, which it needs where the container's port is out of reach from here",
                hint=f"use an image with {program}, as ollama/ollama is, or an engine on this machine",
            )
    return Unreachable(f"there is no way to the port in the container: {last}")


# -- many connections --------------------------------------------------------------------------------


class Tunnel:
    """Listens on our loopback, and joins each connection with a stream of its own. A context manager.

    `port` is where it listens. `trouble` is why a stream could not be opened, or broke off, None once another was
    opened: all that the client sees of it is the end of its connection.
    """

    def __init__(self, dial: Callable[[], Duplex]) -> None:
        self._dial = dial
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._threads: set[threading.Thread] = set()
        self._open = False
        self._sockets = ExitStack()
        self._bell: socket.socket | None = None
        self.port = 0
        self.trouble: Exception | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
            listener.setblocking(False)
            bell, ear = (stack.enter_context(end) for end in socket.socketpair())
            self._sockets = stack.pop_all()
        self._bell, self._open = bell, True
        self.port = listener.getsockname()[1]
        self._start(self._accept, listener, ear)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._bell is None:
            return
        with self._lock:
            self._open = False
            links, threads = tuple(self._links), tuple(self._threads)
        self._bell.send(b"!")
        for link in links:
            link.end()
        until = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._sockets.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            try:
                work(*arguments)
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=run, daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _accept(self, listener: socket.socket, ear: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(ear, selectors.EVENT_READ)
            while ear not in {key.fileobj for key, _ in selector.select()}:
                try:
                    client, _ = listener.accept()
                except BlockingIOError:  # it has gone again
                    continue
                except OSError as error:  # no more files may be open, most likely
                    self.trouble = error
                    time.sleep(0.1)
                    continue
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client:
            client.setblocking(True)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                far = self._dial()
            except Exception as error:  # noqa: BLE001 (whatever it is, it is told by who asks for it)
                self.trouble = error
                return
            self.trouble = None
            link = _Link(client, far)
            with self._lock:
                self._links.add(link)
                is_late = not self._open
            if is_late:
                link.end()
            try:
                link.run()
            finally:
                self.trouble = link.trouble or self.trouble
                with self._lock:
                    self._links.discard(link)


class _Link:
    """A connection and its stream."""

    def __init__(self, client: socket.socket, far: Duplex) -> None:
        self._client = client
        self._far = far
        self._is_over = False
        self.trouble: Exception | None = None

    def run(self) -> None:
        """Copies both ways until both have ended."""
        upward = threading.Thread(target=self._up, daemon=True)
        upward.start()
        try:
            self._down()
        finally:
            upward.join()
            self._far.close()

    def end(self) -> None:
        """Ends both sides, from any thread."""
        self._is_over = True
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)
        self._far.close()

    def _up(self) -> None:
        block = memoryview(bytearray(_BLOCK))
        # An error here is the client's going, or the stream's end, which `_down` finds after the last words.
        with suppress(OSError):
            while size := self._client.recv_into(block):
                self._far.sendall(block[:size])
        self._far.end_input()

    def _down(self) -> None:
        while True:
            try:
                data = self._far.recv(_BLOCK)
            except OSError as error:
                self.trouble = None if self._is_over else error
                return self.end()
            try:
                if not data:
                    return self._client.shutdown(socket.SHUT_WR)
                self._client.sendall(data)
            except OSError:  # the client has gone
                return self.end()
