"""What a smoke test can expect of an answer, or of embeddings: one function for each key of `expect`.

`texts`, `structured`, `code`, `vectors` and `limits` hold the functions. Each is given what the profile wants and
what came, returns in words what was got, or raises `Wrong` (failed) or `Unknown` (skipped).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from modelforge.checks import code, limits, structured, texts, vectors
from modelforge.checks.outcome import Unknown, Wrong, plain
from modelforge.checks.vectors import Vectors
from modelforge.display import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelforge.checks.limits import Answer, Came
    from modelforge.profile.schema import Expect

Verdict: TypeAlias = Literal["passed", "failed", "skipped"]

_OF_TEXT: dict[str, Callable[[Any, str], str]] = {
    "contains": texts.contains,
    "not_contains": texts.not_contains,
    "equals": texts.equals,
    "starts_with": texts.starts_with,
    "regex": texts.regex,
    "json": structured.is_json,
    "json_schema": structured.json_schema,
    "python": code.python,
}
_OF_VECTORS: dict[str, Callable[[Any, Vectors], str]] = {
    "dimensions": vectors.dimensions,
    "closer_to": vectors.closer_to,
}
# Those of time and tokens are given answers only: the profile's checks keep them from embeddings.
_OF_TARGET: dict[str, Callable[[Any, Any], str]] = {
    "min_tokens_per_second": limits.min_tokens_per_second,
    "max_seconds": limits.max_seconds,
    "max_first_token_seconds": limits.max_first_token_seconds,
    "loaded_on": limits.loaded_on,
    "max_vram": limits.max_vram,
}
_LIMIT_WORDS = {
    "min_tokens_per_second": "at least {} tok/s",
    "max_seconds": "at most {} s",
    "max_first_token_seconds": "at most {} s",
    "loaded_on": "on {}",
    "max_vram": "at most {}",
}
# A model that says nothing fails all other checks of its text, `not_contains` too.
_MAY_WANT_NOTHING = frozenset({"equals", "regex"})
OF_EMBEDDINGS = frozenset(_OF_VECTORS)
"""Kinds of checks that judge embeddings."""
KINDS = (*_OF_TEXT, "tool_call", *_OF_VECTORS, *_OF_TARGET)
_EXPECTED_SHOWN = 240


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One expectation and what came of it. `kind` is the key in `expect`; `expected`, `got` are for people."""

    kind: str
    verdict: Verdict
    expected: str
    got: str


def check_answer(expect: Expect, answer: Answer) -> tuple[Check, ...]:
    """All checks of `expect`, in the order of `KINDS`; `contains` and `not_contains` give one for each text.

    Where nothing is expected, the answer must at least not be empty (kind `answer`).
    """
    return _all_checks(expect, answer) or (_checked("answer", "an answer", answer),)


def check_vectors(expect: Expect, came: Vectors) -> tuple[Check, ...]:
    """All checks of an `expect` that asks for embeddings, in the order of `KINDS`."""
    return _all_checks(expect, came)


def _all_checks(expect: Expect, came: Came) -> tuple[Check, ...]:
    return tuple(_checked(kind, wanted, came) for kind in KINDS for wanted in _wanted(kind, expect))


def _wanted(kind: str, expect: Expect) -> Iterator[object]:
    value = getattr(expect, "json_" if kind == "json" else kind)
    if isinstance(value, tuple) and kind in {"contains", "not_contains"}:
        yield from value
    elif kind == "closer_to" and value is not None:
        yield value, expect.than or ""
    elif value is not None:
        yield value


def _checked(kind: str, wanted: object, came: Came) -> Check:
    expected = shorten(_in_words(kind, wanted), _EXPECTED_SHOWN)
    verdict: Verdict = "passed"
    if kind in _OF_TARGET and not came.here:
        got = "not judged: this is not the hardware that the plan is for"
        return Check(kind=kind, verdict="skipped", expected=expected, got=got)
    try:
        got = _outcome(kind, wanted, came)
    except Unknown as why:
        verdict, got = "skipped", str(why)
    except Wrong as wrong:
        verdict, got = "failed", str(wrong) + ("" if kind in _OF_TARGET else _cut_short(came))
    return Check(kind=kind, verdict=verdict, expected=expected, got=got)


def _outcome(kind: str, wanted: Any, came: Came) -> str:  # noqa: ANN401 (each key of expect has its type)
    if kind in _OF_TARGET:
        return _OF_TARGET[kind](wanted, came)
    if isinstance(came, Vectors):
        return _OF_VECTORS[kind](wanted, came)
    if kind == "tool_call":
        return structured.tool_call(wanted, came.reply.tool_calls)
    text = came.reply.text
    said_nothing = not text.strip() and not came.reply.tool_calls
    if said_nothing and kind not in _MAY_WANT_NOTHING:
        raise Wrong("the answer is empty")
    if kind == "answer":
        return "an answer"
    return _OF_TEXT[kind](wanted, text)


def _in_words(kind: str, wanted: object) -> str:
    if kind == "closer_to" and isinstance(wanted, tuple):
        return vectors.comparison_text(*wanted)
    if kind in _LIMIT_WORDS:
        return _LIMIT_WORDS[kind].format(f"{wanted:g}" if isinstance(wanted, float) else wanted)
    if isinstance(wanted, bool):
        return "yes" if wanted else "no"
    return wanted if isinstance(wanted, str) else json.dumps(plain(wanted), ensure_ascii=False, default=str)


def _cut_short(came: Came) -> str:
    """What a failed check adds where the answer did not end by itself."""
    if isinstance(came, Vectors) or came.reply.done_reason != "length":
        return ""
    if 0 < came.num_predict <= came.reply.output_tokens:
        return f"; the answer was cut at num_predict {came.num_predict}"
    return "; the answer was cut where the context was full"
