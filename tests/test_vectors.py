"""Checks of embeddings, and the arithmetic under them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modelforge.checks import Check, check_vectors
from modelforge.checks.vectors import Vectors, cosine
from modelforge.profile.schema import Expect
from tests.fakes import ON_GPU, some_embeddings

if TYPE_CHECKING:
    from modelforge.runtimes import Placement

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SCALES = st.floats(min_value=1e-100, max_value=1e100)
NEAR = {"closer_to": "a paraphrase", "than": "another subject"}


def pairs(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[list[float], list[float]]]:
    """Two vectors of one length, neither of them all zeros."""
    vectors = st.integers(min_value=1, max_value=8).flatmap(
        lambda length: st.tuples(*[st.lists(numbers, min_size=length, max_size=length)] * 2)
    )
    return vectors.filter(lambda pair: any(pair[0]) and any(pair[1]))


# -- the cosine --------------------------------------------------------------------------------------


@given(pairs(NUMBERS))
def test_it_is_symmetric_and_from_minus_one_to_one_however_large_the_numbers(
    pair: tuple[list[float], list[float]],
) -> None:
    one, other = pair
    assert -1 <= cosine(one, other) <= 1
    assert cosine(one, other) == cosine(other, one)


@given(pairs(st.floats(min_value=-1e3, max_value=1e3)), SCALES)
def test_it_is_of_the_direction_alone(pair: tuple[list[float], list[float]], scale: float) -> None:
    one, other = pair
    assume(min(max(map(abs, one)), max(map(abs, other))) > 1e-3)
    longer = [number * scale for number in one]
    assert cosine(longer, other) == pytest.approx(cosine(one, other), abs=1e-9)
    assert cosine([-number for number in one], other) == pytest.approx(-cosine(one, other), abs=1e-12)


@given(pairs(NUMBERS))
def test_a_vector_is_nearest_to_itself(pair: tuple[list[float], list[float]]) -> None:
    one, other = pair
    assert cosine(one, one) == pytest.approx(1, abs=1e-12)
    assert cosine(one, other) <= cosine(one, one) + 1e-12


@given(st.floats(min_value=0, max_value=math.pi), SCALES)
def test_it_is_the_cosine_of_the_angle_between_them(angle: float, scale: float) -> None:
    turned = [scale * math.cos(angle), scale * math.sin(angle)]
    assert cosine([1.0, 0.0], turned) == pytest.approx(math.cos(angle), abs=1e-12)


@pytest.mark.parametrize("size", [1.7e308, 1e200, 1e-200, 5e-324])
def test_no_size_overflows_or_vanishes(size: float) -> None:
    assert cosine([size, size], [size, 0.0]) == pytest.approx(math.sqrt(0.5))
    assert cosine([size, 0.0], [0.0, 1.0]) == 0


# -- the checks --------------------------------------------------------------------------------------


def checks(
    expect: dict[str, Any],
    *vectors: tuple[float, ...],
    placement: Placement | None = ON_GPU,
    here: bool = True,
) -> tuple[Check, ...]:
    judged = Vectors(reply=some_embeddings(*vectors), placement=placement, here=here)
    return check_vectors(Expect.model_validate(expect), judged)


def only(expect: dict[str, Any], *vectors: tuple[float, ...], **given: Any) -> Check:
    (check,) = checks(expect, *vectors, **given)
    return check


def test_a_vector_of_the_length_passes() -> None:
    check = only({"dimensions": 3}, (1.0, 0.0, 2.0))
    assert (check.verdict, check.expected, check.got) == ("passed", "3", "3 numbers")


def test_the_nearer_text_passes_and_both_similarities_are_told() -> None:
    check = only(NEAR, (1.0, 0.0), (3.0, 1.0), (1.0, 3.0))
    assert (check.kind, check.verdict) == ("closer_to", "passed")
    assert check.expected == '"a paraphrase" than "another subject"'
    assert check.got == "0.95 against 0.32"


@pytest.mark.parametrize(
    ("near", "far", "got"),
    [
        pytest.param((1.0, 3.0), (3.0, 1.0), "0.32 against 0.95", id="farther"),
        pytest.param((2.0, 2.0), (1.0, 1.0), "0.71 against 0.71", id="as-far"),
        pytest.param((-1.0, 0.0), (0.0, 1.0), "-1.00 against 0.00", id="opposite"),
        pytest.param((1.0, 0.1), (1.0, 0.0999), "0.99504 against 0.99505", id="told-apart"),
    ],
)
def test_a_text_that_is_not_nearer_fails(near: tuple[float, ...], far: tuple[float, ...], got: str) -> None:
    check = only(NEAR, (1.0, 0.0), near, far)
    assert (check.verdict, check.got) == ("failed", got)


ZEROS = (0.0, -0.0)


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        pytest.param((1.0, 2.0, 3.0), "3 numbers", id="longer"),
        pytest.param((1.0,), "1 number", id="shorter"),
        pytest.param((), "the vector of the prompt is empty", id="empty"),
        pytest.param(ZEROS, "the vector of the prompt is all zeros", id="zeros"),
        pytest.param((math.nan, 1.0), "NaN or inf in the vector of the prompt: 1 of 2 numbers", id="nan"),
        pytest.param((math.inf, -math.inf), "NaN or inf in the vector of the prompt: 2 of 2", id="inf"),
    ],
)
def test_what_is_no_vector_of_the_length_never_passes(vector: tuple[float, ...], words: str) -> None:
    check = only({"dimensions": 2}, vector)
    assert check.verdict == "failed"
    assert check.got.startswith(words)


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        pytest.param((ZEROS, (1.0, 0.0), (0.0, 1.0)), "the vector of the prompt is all zeros", id="prompt"),
        pytest.param(((1.0, 0.0), ZEROS, (0.0, 1.0)), "the vector of 'closer_to' is all zeros", id="near"),
        pytest.param(((1.0, 0.0), (1.0, 0.0), ZEROS), "the vector of 'than' is all zeros", id="far"),
        pytest.param(
            ((1.0, 0.0), (1.0, math.nan), (0.0, 1.0)), "NaN or inf in the vector of 'closer_to'", id="nan"
        ),
        pytest.param(((1.0, 0.0), (1.0, 0.0), ()), "the vector of 'than' is empty", id="empty"),
        pytest.param(
            ((1.0, 0.0), (1.0, 0.0), (1.0,)), "vectors of 1, 2 numbers cannot be compared", id="lengths"
        ),
    ],
)
def test_what_cannot_be_compared_never_passes(vectors: tuple[tuple[float, ...], ...], words: str) -> None:
    check = only(NEAR, *vectors)
    assert check.verdict == "failed"
    assert check.got.startswith(words)


def test_each_key_has_its_check_and_the_prompt_alone_has_the_length() -> None:
    expect = {"max_seconds": 1, "loaded_on": "gpu", **NEAR, "max_vram": "1KiB", "dimensions": 2}
    found = checks(expect, (1.0, 0.0), (1.0, 0.1), (0.0, 1.0))
    assert [(check.kind, check.verdict) for check in found] == [
        ("dimensions", "passed"),
        ("closer_to", "passed"),
        ("max_seconds", "passed"),
        ("loaded_on", "passed"),
        ("max_vram", "passed"),
    ]


def test_how_fast_and_where_is_judged_on_the_plans_hardware_alone() -> None:
    expect = {"dimensions": 1, "max_seconds": 0.1, "loaded_on": "cpu"}
    assert [check.got for check in checks(expect, (1.0,))] == ["1 number", "0.2 s", "gpu"]
    assert [check.verdict for check in checks(expect, (1.0,))] == ["passed", "failed", "failed"]
    elsewhere = checks(expect, (1.0,), here=False)
    assert [check.verdict for check in elsewhere] == ["passed", "skipped", "skipped"]
    unknown = checks({"dimensions": 1, "loaded_on": "cpu"}, (1.0,), placement=None)
    assert [check.verdict for check in unknown] == ["passed", "skipped"]


def test_long_texts_are_shown_short() -> None:
    check = only({"closer_to": "a" * 900, "than": "\x1b[2J"}, (1.0,), (1.0,), (-1.0,))
    assert len(check.expected) < 160
    assert check.expected.endswith('than "\\\\x1b[2J"')
