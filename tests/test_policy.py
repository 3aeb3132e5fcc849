"""Which candidates are considered, and which is better."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from modelforge import policy
from tests import shapes
from tests.plans import candidate, profile

if TYPE_CHECKING:
    from modelforge.bases import Candidate


def eight(*quants: str) -> list[Candidate]:
    return [candidate(shapes.LLAMA_8B, "8b", quant) for quant in quants]


def gemma(quant: str, tag: str) -> Candidate:
    return replace(candidate(shapes.GEMMA3_12B, "12b", quant), ref=f"gemma3:{tag}")


def gpt(quant: str) -> Candidate:
    return candidate(shapes.GPT_OSS_20B, "20b", quant)


def order(found: list[Candidate], **tables: Any) -> list[str]:
    """The considered ones, best first, as `8b Q8_0`."""
    made = profile(**tables)
    dropped = policy.why_dropped(made, found)
    best = policy.by_quality(made, found)
    return [f"{one.size} {one.quant}" for one in best if one.ref not in dropped]


def why(found: list[Candidate], one: Candidate, **tables: Any) -> str:
    return policy.why_dropped(profile(**tables), found).get(one.ref, "")


def test_within_a_size_the_least_loss_is_best_whatever_the_order_they_come_in() -> None:
    quants = ("IQ4_XS", "Q5_K_M", "Q8_0", "Q4_K_M", "Q6_K", "Q4_K_S")
    assert order(eight(*quants)) == [
        f"8b {q}" for q in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "IQ4_XS")
    ]


def test_a_larger_size_at_the_floor_is_better_than_a_smaller_one_at_its_best() -> None:
    both = [*eight("Q4_K_M"), candidate(shapes.LLAMA_1B, "1b", "Q8_0")]
    assert order(both) == ["8b Q4_K_M", "1b Q8_0"]


def test_the_profiles_ladder_of_sizes_wins_over_parameters() -> None:
    both = [*eight("Q8_0"), candidate(shapes.LLAMA_1B, "1b", "Q8_0")]
    assert order(both, base={"sizes": ("1b", "8b")}) == ["1b Q8_0", "8b Q8_0"]


def test_what_another_beats_in_bytes_and_quality_is_dropped() -> None:
    old = eight("Q5_0", "Q5_1", "Q4_0", "Q4_1", "Q5_K_S", "IQ4_XS")
    assert order(old) == ["8b Q5_K_S", "8b IQ4_XS"]


def test_dominated_is_said_of_real_bytes_not_of_the_tables() -> None:
    small, large = eight("Q4_0", "IQ4_XS")
    weights = replace(large.shape.weights, file=small.shape.weights.file + 1)
    larger = replace(large, shape=replace(large.shape, weights=weights))
    assert why([small, large], small) == "dominated: IQ4_XS is no larger and better"
    assert why([small, larger], small) == ""


def test_gpt_oss_is_best_as_it_was_trained() -> None:
    assert order([gpt("Q8_0"), gpt("MXFP4"), gpt("F16")]) == ["20b MXFP4"]
    assert why([gpt("Q8_0"), gpt("MXFP4")], gpt("Q8_0")) == "dominated: MXFP4 is no larger and better"


def test_other_models_in_mxfp4_are_only_taken_if_listed() -> None:
    both = [*eight("Q4_K_M"), *eight("MXFP4")]
    assert order(both) == ["8b Q4_K_M"]
    assert order(both, base={"quants": ("MXFP4", "Q4_K_M")}) == ["8b Q4_K_M", "8b MXFP4"]


@pytest.mark.parametrize("tag", ["12b-it-qat", "12b-it-QAT-q4_0"])
def test_a_q4_0_that_was_trained_for_it_is_not_the_old_q4_0(tag: str) -> None:
    trained, old = gemma("Q4_0", tag), gemma("Q4_0", "12b-it-q4_0")
    others = [gemma("Q8_0", "q8"), gemma("Q4_K_M", "q4km"), gemma("IQ4_XS", "iq4")]
    assert why([*others, old], old).startswith("dominated: ")
    assert why([*others, trained], trained) == ""
    best = [one.ref for one in policy.by_quality(profile(), [*others, trained])]
    assert best.index(trained.ref) == best.index("gemma3:q8") + 1


def test_a_word_that_only_contains_qat_says_nothing() -> None:
    named = gemma("Q4_0", "12b-qatar")
    assert why([named, gemma("IQ4_XS", "iq4")], named).startswith("dominated: ")


def test_an_unknown_mix_is_ranked_by_its_bits_and_beaten_by_nothing() -> None:
    mix = replace(eight("Q4_K_M")[0], quant="UD-Q4_K_XL", ref="llama3:8b-ud")
    assert order([mix, *eight("Q8_0", "IQ4_XS")])[1] == "8b UD-Q4_K_XL"


def test_one_entry_in_a_list_is_found_only_where_it_is_enough() -> None:
    found = [*eight("Q8_0", "Q3_K_M"), candidate(shapes.LLAMA_1B, "1b", "Q8_0")]
    low, small = found[1], found[2]
    assert policy.listing(profile(), found, low) == '"Q3_K_M" in quants'
    assert policy.listing(profile(base={"sizes": ("8b",)}), found, small) == '"1b" in sizes'
    both = profile(base={"sizes": ("8b",), "quants": ("Q3_K_M",)})
    assert policy.listing(both, found, small) == ""
