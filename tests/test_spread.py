"""Whole layers over devices, in numbers that can be followed by hand."""

from __future__ import annotations

from itertools import combinations_with_replacement

from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelforge.spread import Load, Placed, Work, by_filling, by_memory, can_hold, most


def load(
    *budgets: int, layers: int = 6, size: int = 10, first: int = 5, further: int = 9, output: int = 1
) -> Load:
    count = len(budgets)
    work = Work(
        idle=(0,) * count,
        alone=(2,) * count,
        first=(first,) * count,
        further=(further,) * count,
        output=output,
    )
    return Load(
        weights=(size - 1,) * layers,
        kv=(1,) * layers,
        parts=(),
        work=work,
        received=0,
        transit=0,
        memory=budgets,
        budgets=budgets,
    )


def layers(placed: Placed | None) -> tuple[int, ...]:
    assert placed
    return placed.kv


def test_layers_lie_in_proportion_to_memory() -> None:
    assert layers(by_memory(load(100, 50, 50, layers=8))) == (4, 2, 2)


def test_the_last_device_is_filled_first_and_what_takes_the_rest_has_a_pipeline() -> None:
    found = by_filling(load(15, 35, 22))
    assert layers(found) == (1, 3, 2)
    assert found
    assert found.compute == (5, 9, 9)
    assert found.budgets == (15, 42, 29)
    assert found.fits


def test_the_first_devices_stay_empty_if_the_last_take_all() -> None:
    found = by_filling(load(30, 55, 22))
    assert layers(found) == (0, 4, 2)
    assert found
    assert found.compute == (0, 5, 9)
    assert found.budgets == (30, 55, 29)


def test_a_device_that_has_no_room_for_the_pipeline_leaves_a_layer_for_the_next() -> None:
    assert layers(by_filling(load(30, 44, 22))) == (1, 3, 2)


def test_the_last_device_may_have_the_output_alone() -> None:
    found = by_filling(load(20, 52, 11))
    assert layers(found) == (1, 4, 1)
    assert found
    assert found.compute == (5, 9, 1)
    assert found.fits


def test_layers_may_be_left_over() -> None:
    assert by_filling(load(14, 35, 22)) is None


def test_the_largest_number_that_fits_is_below_the_limit() -> None:
    assert most(9, lambda number: number <= 5) == 5
    assert most(9, lambda _number: True) == 8
    assert most(9, lambda _number: False) == 0


def split_exists(one: Load) -> bool:
    """By trying all: each device in turn has what it needs for the layers up to its end."""
    count = len(one.weights)
    for ends in combinations_with_replacement(range(count + 1), len(one.budgets) - 1):
        whole = [*ends, count]
        sizes = [end - start for start, end in zip([0, *whole[:-1]], whole, strict=True)]
        needs = [10 * size + one.work.piped(device, whole) for device, size in enumerate(sizes)]
        if all(need <= budget for need, budget in zip(needs, one.budgets, strict=True)):
            return True
    return False


@example(budgets=[52, 10, 2], first=2, further=2, output=0)  # only the last device has the output alone
@example(budgets=[62, 10, 2], first=2, further=2, output=0)
@hypothesis_settings(max_examples=120, deadline=None)
@given(
    budgets=st.lists(st.integers(0, 70), min_size=2, max_size=4),
    first=st.integers(2, 12),
    further=st.integers(2, 12),
    output=st.integers(0, 2),
)
def test_there_is_room_if_there_is_any_split_and_then_filling_finds_one(
    budgets: list[int], first: int, further: int, output: int
) -> None:
    one = load(*budgets, first=first, further=further, output=output)
    assert can_hold(one) == split_exists(one)
    if can_hold(one):
        found = by_filling(one)
        assert found
        assert found.fits
