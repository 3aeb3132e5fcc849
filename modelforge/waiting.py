"""Tells how long a wait lasts while who waits cannot: a server may be silent for minutes while it reads a model."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelforge.events import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelforge.events import Emit, Stage

TICK = 0.5
"""Seconds between two words."""


@contextmanager
def told(emit: Emit, *, stage: Stage, text: str, tick: float = TICK) -> Iterator[Callable[[], None]]:
    """Emits a `Progress` in seconds, again and again, from a thread, until the context ends.

    Nobody else may emit meanwhile. What it yields ends the telling before the context does.
    """
    over = threading.Event()
    start = time.monotonic()

    def tell() -> None:
        while not over.wait(tick):
            seconds = time.monotonic() - start
            emit(Progress(stage=stage, text=text, done=round(seconds), total=None, unit="s"))

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()

    def end() -> None:
        over.set()
        thread.join()

    try:
        yield end
    finally:
        end()
