"""Ctrl-C and SIGTERM: each is a KeyboardInterrupt, and is remembered where code on the way makes something else of it.

pydantic does, for one, while it makes a validator: it has an error of its own then, that only tells of the interrupt.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_come: list[int] = []


def listen() -> None:
    """From here on both are heard. A Ctrl-C that is ignored, as `nohup` and a shell's `&` leave it, stays so."""
    _come.clear()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)


def has_come() -> bool:
    """Whether one of them has come since: an error that nobody expected is then its doing."""
    return bool(_come)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _come.append(number)
    raise KeyboardInterrupt
