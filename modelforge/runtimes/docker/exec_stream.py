"""The streams of a program that an engine runs by `exec`, over the connection that the engine gave up for them.

There is no SDK here, only the socket below it. Output comes in pieces, each with a header that tells stdout from
stderr (Docker Engine API, "Stream format").
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from functools import partial
from select import POLLIN, POLLOUT, poll
from typing import TYPE_CHECKING, Protocol, TypeVar

from modelforge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_BLOCK = MIB
_HEADER = struct.Struct(">BxxxL")
_STDERR = 2
_KEPT = 16 * 1024
"""Bytes of standard error that are kept: the last."""


class Closable(Protocol):
    """What is to be kept as long as a stream, and closed with it."""

    def close(self) -> None:
        """Lets go of it."""


class ExecStream:
    """The streams of a program that an engine has started: its input, its output, and what it says on stderr.

    Args:
        sock: the connection after the engine's `101 Switching Protocols`, plain or TLS. It becomes ours.
        owner: what closes `sock` when it is collected, such as the SDK's response. It becomes ours, too.
        early: what was read from `sock` already, beyond the response's headers.
    """

    def __init__(self, sock: socket.socket, *, owner: Closable | None = None, early: bytes = b"") -> None:
        self._sock = sock
        self._owner = owner
        self._read = memoryview(early)
        self._left = 0
        self._is_stderr = False
        self._errors = bytearray()
        self._open = True
        self._has_ended = False
        # OpenSSL allows one call at a time, so that no call may wait: the waiting is ours, outside the lock.
        self._sock.setblocking(False)
        self._calling = threading.Lock()
        self._receiving = threading.Lock()
        self._sending = threading.Lock()

    @property
    def errors(self) -> bytes:
        """The last of what the program has said on its standard error, as far as it was received."""
        return bytes(self._errors)

    def recv(self, size: int, *, until: float | None = None) -> bytes:
        """At most `size` bytes of the program's standard output; none at its end.

        Args:
            size: of bytes, above 0.
            until: the `time.monotonic()` at which to give up; None for never.

        Raises:
            TimeoutError: nothing came until then.
            OSError: the connection broke off.
        """
        with self._receiving:
            while True:
                while not self._left:
                    if not self._next_piece(until):
                        return b""
                data = self._some(self._left if self._is_stderr else min(size, self._left), until)
                if not data:
                    raise ConnectionResetError("the engine's stream was cut off")
                self._left -= len(data)
                if not self._is_stderr:
                    return data
                self._errors += data
                del self._errors[:-_KEPT]

    def sendall(self, data: bytes | memoryview) -> None:
        """Sends all of `data` to the program's standard input.

        Raises:
            OSError: the connection broke off, or the program has ended.
        """
        rest = memoryview(data)
        with self._sending:
            while rest:
                rest = rest[self._patiently(partial(self._sock.send, rest), POLLOUT) :]

    def end_input(self) -> None:
        """Ends the program's standard input. Its output can still be received."""
        with self._sending, suppress(OSError):  # the other side may have ended before
            if self._has_ended:
                return
            self._has_ended = True
            if not isinstance(self._sock, ssl.SSLSocket):
                self._sock.shutdown(socket.SHUT_WR)
                return
            rest = memoryview(self._patiently(self._goodbye, POLLOUT))
            while rest:  # below TLS
                rest = rest[self._patiently(partial(socket.socket.send, self._sock, rest), POLLOUT) :]

    def close(self) -> None:
        """Ends the connection, from any thread, and with it the program's input. Twice does no harm."""
        with self._calling, suppress(OSError):
            self._open = False
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes the others
        # The number of a closed socket may be another's at once, so nobody may wait for it any more.
        with self._receiving, self._sending, suppress(OSError):
            self._sock.close()
            if self._owner is not None:
                self._owner.close()

    def finish(self, data: bytes = b"", *, seconds: float | None = None) -> tuple[bytes, bytes]:
        """Gives the program all of its input and takes all of its output; closes the stream.

        Args:
            data: for its standard input, which then ends.
            seconds: how long the output may take; None for as long as it takes.

        Returns:
            Standard output, and the last of standard error.

        Raises:
            TimeoutError: it took longer.
            OSError: the connection broke off.
        """
        until = None if seconds is None else time.monotonic() + seconds
        feeder = threading.Thread(target=self._feed, args=(data,), daemon=True)
        feeder.start()  # a program may speak before it has read everything
        try:
            output = b"".join(iter(lambda: self.recv(_BLOCK, until=until), b""))
        finally:
            self.close()
            feeder.join()
        return output, self.errors

    def _feed(self, data: bytes) -> None:
        with suppress(OSError):  # it need not read all
            self.sendall(data)
            self.end_input()

    def _goodbye(self) -> bytes:
        """What ends our direction of a TLS connection and no more (`close_notify`), ready to be sent.

        `unwrap` sends it and reads on at once, and the connection is lost where it meets data then, and not the
        other side's goodbye. So it speaks into a socket from which nothing comes.
        """
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            number = self._sock.fileno()
            real = os.dup(number)
            try:
                os.dup2(near.fileno(), number, inheritable=False)
                with suppress(ssl.SSLWantReadError):
                    self._sock.unwrap()  # type: ignore[attr-defined]
            finally:
                os.dup2(real, number, inheritable=False)
                os.close(real)
            near.shutdown(socket.SHUT_WR)
            return far.recv(_BLOCK)

    def _next_piece(self, until: float | None) -> bool:
        """Reads a header; whether there was one."""
        header = b""
        while len(header) < _HEADER.size:
            more = self._some(_HEADER.size - len(header), until)
            if not more:
                if header:
                    raise ConnectionResetError("the engine's stream was cut off")
                return False
            header += more
        kind, self._left = _HEADER.unpack(header)
        self._is_stderr = kind == _STDERR
        return True

    def _some(self, size: int, until: float | None) -> bytes:
        """At most `size` of the next bytes of the connection; none at its end."""
        if not self._read:
            self._read = memoryview(self._patiently(self._receive, POLLIN, until))
        data, self._read = self._read[:size], self._read[size:]
        return bytes(data)

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(_BLOCK)
        except ssl.SSLZeroReturnError:  # the other side's goodbye, where ours was said first
            return b""

    def _patiently(self, call: Callable[[], T], event: int, until: float | None = None) -> T:
        """Makes a call again and again until it does not have to wait for the other side."""
        while True:
            with self._calling:
                if not self._open:  # what a TLS socket receives after its shutdown is not deciphered
                    raise ConnectionAbortedError("closed")
                try:
                    return call()
                except BlockingIOError:
                    wanted = event
                except ssl.SSLWantReadError:
                    wanted = POLLIN
                except ssl.SSLWantWriteError:
                    wanted = POLLOUT
                number = self._sock.fileno()
            left = None if until is None else max(0.0, until - time.monotonic()) * 1000
            waiting = poll()
            waiting.register(number, wanted)
            if not waiting.poll(left):
                raise TimeoutError
