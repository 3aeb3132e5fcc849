"""The life of a server's container: made, started, waited for, watched, stopped and removed.

Its last lines are read while it runs, so that they are known even when the engine goes with it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from modelforge.display import visible
from modelforge.errors import ForgeError, Unreachable
from modelforge.runtimes.docker.engine import Declined
from modelforge.runtimes.docker.spec import MODELS, PORT, server_body
from modelforge.units import size_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from typing_extensions import Self

    from modelforge.runtimes.docker.claims import Claims
    from modelforge.runtimes.docker.engine import Engine, State
    from modelforge.runtimes.docker.spec import Spec

    T = TypeVar("T")

_PAUSE = 0.02
_SETTLE = 2.0
"""Seconds in which the engine, and the reader of its output, catch up with what has happened."""
_KEPT = 200
_SHOWN = 8
_LONGEST = 200
_KILLED = 137
_ACCESS_LOG = "[GIN"  # lines for each of our own calls, which say nothing
_NO_PROGRAM = ("executable file not found", "no such file or directory")


class Hopeless(Unreachable):
    """Waiting longer does not help."""


class ContainerEnded(Hopeless):
    """The server's container is not running any more, or its engine is gone."""


class Tail:
    """The last lines of a container's output, read in the background."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._rest = b""
        self._reader: threading.Thread | None = None

    def follow(self, engine: Engine, container: str) -> None:
        """Begins to read; ends with the container."""
        self._reader = threading.Thread(target=self._read, args=(engine, container), daemon=True)
        self._reader.start()

    def settle(self) -> None:
        """Waits a moment for the last words of a container that has ended."""
        if self._reader is not None:
            self._reader.join(_SETTLE)

    def feed(self, piece: bytes) -> None:
        """Takes what was written; the last line may be cut."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            text = visible(line.decode(errors="replace")).rstrip()
            if text and not text.startswith(_ACCESS_LOG):
                self._lines.append(text[:_LONGEST])

    def matching(self, *words: str) -> tuple[str, ...]:
        """The lines that hold one of the words."""
        return tuple(line for line in tuple(self._lines) if any(word in line for word in words))

    def words(self) -> str:
        """The last lines, for an error's hint; "" where there are none."""
        shown = list(self._lines)[-_SHOWN:]
        return "\n".join(["the container's last lines:", *(f"  {line}" for line in shown)]) if shown else ""

    def _read(self, engine: Engine, container: str) -> None:
        with suppress(
            ForgeError, Declined, OSError, ValueError
        ):  # the engine ends, or we close the connection
            for piece in engine.follow(container):
                self.feed(piece)


class Container:
    """A server in a container. A context manager: leaving it stops and removes the container.

    `worked` is for the owner to set: the server was asked for more than to look.
    """

    def __init__(self, engine: Engine, spec: Spec, claims: Claims) -> None:
        self.engine = engine
        self.spec = spec
        self.tail = Tail()
        self._claims = claims
        self._stack = ExitStack()
        self._id = ""
        self.worked = False

    def __enter__(self) -> Self:
        """Makes and starts it; it need not answer yet.

        Raises:
            Unreachable: the engine cannot make it, or the image has no Ollama.
        """
        try:
            token = self._stack.enter_context(self._claims.claim())
            self._stack.callback(self._remove)
            self._id = self.engine.create(
                server_body(self.spec, self._claims.labels(token)), f"modelforge-{token}"
            )
            self.engine.start(self._id)
            self.tail.follow(self.engine, self._id)
        except Declined as declined:
            self._stack.close()
            raise self._not_started(declined.words) from declined
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    @property
    def id(self) -> str:
        """The container's id."""
        return self._id

    @property
    def port(self) -> int:
        """The port of its API on the loopback of the engine's machine; 0 if the engine published none.

        Raises:
            ContainerEnded: it does not run any more.
        """
        return self.check().port

    def wait_for(self, answer: Callable[[], T], *, seconds: float) -> T:
        """What `answer` returns as soon as it does not raise `Unreachable` any more.

        Raises:
            Unreachable: the container ended, or there was no answer within `seconds`.
        """
        start = time.monotonic()
        while True:
            try:
                return answer()
            except Hopeless:
                raise
            except Unreachable as error:
                waited = time.monotonic() - start
                self.check()
                if error.__cause__ is None:  # something answers, and is no Ollama: waiting does not help
                    raise self._silent(str(error)) from error
                if waited > seconds:
                    raise self._silent(f"it did not answer within {seconds:.0f} s: {error}") from error
            time.sleep(_PAUSE)

    def settle(self) -> None:
        """Waits until it is seen why a call failed, if it is: it has ended, or something in it was killed for memory.

        The engine is told of either by the system, and knows it a moment after the connection broke off.

        Raises:
            ContainerEnded: it does not run any more.
        """
        end = time.monotonic() + _SETTLE
        while not self.check().out_of_memory and time.monotonic() < end:
            time.sleep(_PAUSE)

    def check(self) -> State:
        """How it is.

        Raises:
            ContainerEnded: it does not run any more; with the reason.
        """
        try:
            state = self.engine.state(self._id)
            if state is None or not state.running:
                self.tail.settle()
        except (Unreachable, Declined) as error:
            raise ContainerEnded(
                f"the Docker engine has gone: {error}", hint=self.tail.words() or None
            ) from error
        if state is None:
            raise ContainerEnded(
                "the server's container was removed by somebody", hint=self.tail.words() or None
            )
        if not state.running:
            raise ContainerEnded(self._end(state), hint=self._with_tail(self._remedy(state)))
        return state

    def memory_was_short(self) -> bool:
        """Whether the system killed something in it for memory."""
        with suppress(Unreachable, Declined):
            state = self.engine.state(self._id)
            return state is not None and state.out_of_memory
        return False

    def memory_hint(self) -> str:
        """What to do where the memory was not enough."""
        limit = size_text(self.spec.memory) if self.spec.memory else "all of the engine's"
        return f"its memory was {limit}: raise memory in [runtime.docker], or take a smaller candidate or num_ctx"

    def free(self) -> int | None:
        """Bytes free where the volume lies, as far as the image has a `df` to ask."""
        with suppress(Unreachable, Declined):
            done = self.engine.execute(self._id, ["df", "-Pk", MODELS])
            figures = done.stdout.splitlines()[-1].split() if done.code == 0 and done.stdout else []
            if len(figures) > 3 and figures[3].isdigit():  # noqa: PLR2004 (POSIX: the fourth is what is free)
                return int(figures[3]) << 10
        return None

    def _remove(self) -> None:
        """In order where its server was given work: else there is nothing to put in order, and it may not listen."""
        if self._id:
            with suppress(Unreachable, Declined):  # the engine is gone: the next command finds what it left
                self.engine.remove(self._id, at_once=not self.worked)

    def _end(self, state: State) -> str:
        if state.out_of_memory or state.code == _KILLED:
            how = "out of memory" if state.out_of_memory else "SIGKILL"
            return f"the server's container was killed ({how})"
        return f"the server's container ended with {state.code}" + (f": {state.words}" if state.words else "")

    def _remedy(self, state: State) -> str:
        return self.memory_hint() if state.out_of_memory else ""

    def _with_tail(self, hint: str) -> str | None:
        return "\n".join(filter(None, (hint, self.tail.words()))) or None

    def _silent(self, reason: str) -> Unreachable:
        port = PORT.partition("/")[0]
        hint = f"is {self.spec.name} an image with Ollama? It has to serve its API on port {port}"
        return Unreachable(
            f"The server in the container does not answer: {reason}", hint=self._with_tail(hint)
        )

    def _not_started(self, words: str) -> Unreachable:
        folded = words.casefold()
        if any(sign in folded for sign in _NO_PROGRAM) and "exec" in folded:
            hint = "take an image with Ollama, such as ollama/ollama"
            return Unreachable(f"The image has no Ollama that 'serve' could be given to: {words}", hint=hint)
        if "could not select device driver" in folded or "nvidia" in folded or "cdi" in folded:
            hint = "without GPUs: --gpus none; with them: modelforge doctor --runtime docker"
            return Unreachable(f"The engine cannot give the container GPUs: {words}", hint=hint)
        if "no space left" in folded:
            return Unreachable(
                f"The engine's disk is full: {words}", hint="make room there: docker system prune"
            )
        return Unreachable(
            f"The engine cannot start the container: {words}", hint="try it by hand: docker run"
        )
