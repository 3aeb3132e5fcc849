"""Checks of how fast an answer came and where the model lay: only the plan's own hardware can be judged so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge.checks.outcome import Unknown, Wrong
from modelforge.units import parse_size, seconds_text, size_text

if TYPE_CHECKING:
    from typing import TypeAlias

    from modelforge.checks.vectors import Vectors
    from modelforge.runtimes import ChatReply, Placement

    Came: TypeAlias = "Answer | Vectors"

# Enough of it on a GPU to call it there: some servers count the token embeddings, which may stay in RAM.
_MOSTLY = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What is judged. `here`: it came from the hardware that the plan is for. `num_predict`: its limit in tokens."""

    reply: ChatReply
    placement: Placement | None
    here: bool
    num_predict: int


def min_tokens_per_second(wanted: float, answer: Answer) -> str:
    """While answering, at least so fast."""
    speed = answer.reply.tokens_per_second
    if speed is None:
        raise Unknown("the runtime did not measure it")
    return _judged(f"{speed:.1f} tok/s", good=speed >= wanted)


def max_seconds(wanted: float, came: Came) -> str:
    """The whole answer, or all vectors of a test; loading not counted."""
    return _judged(seconds_text(came.reply.seconds), good=came.reply.seconds <= wanted)


def max_first_token_seconds(wanted: float, answer: Answer) -> str:
    """The first token, loading not counted."""
    seconds = answer.reply.first_token_seconds
    return _judged(seconds_text(seconds), good=seconds <= wanted)


def loaded_on(wanted: str, came: Came) -> str:
    """Where the model lies."""
    where = where_loaded(_known(came))
    return _judged(where, good=where == wanted)


def max_vram(wanted: str, came: Came) -> str:
    """How much of GPU memory it takes."""
    vram = _known(came).vram
    try:
        limit = parse_size(wanted)
    except ValueError as error:
        raise Wrong(f"'{wanted}' is not {error}") from None
    return _judged(size_text(vram), good=vram <= limit)


def where_loaded(placement: Placement) -> str:
    """`gpu`, `cpu`, or how much of it is on the GPU: `43 % gpu`."""
    if placement.vram <= 0:
        return "cpu"
    share = placement.vram / max(placement.bytes, placement.vram)
    return "gpu" if share >= _MOSTLY else f"{100 * share:.0f} % gpu"


def _known(came: Came) -> Placement:
    if came.placement is None:
        raise Unknown("the runtime cannot tell where the model lies")
    return came.placement


def _judged(got: str, *, good: bool) -> str:
    if not good:
        raise Wrong(got)
    return got
