from __future__ import annotations

import pytest

from modelforge import quants


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("q4_k_m", "Q4_K_M"),
        ("Q4_K_M", "Q4_K_M"),
        ("iq4_xs", "IQ4_XS"),
        ("fp16", "F16"),
        ("q8_0", "Q8_0"),
        ("mxfp4", "MXFP4"),
    ],
)
def test_names_are_read_in_any_case_and_written_as_llama_cpp_does(written: str, spelled: str) -> None:
    assert quants.canonical(written) == spelled


@pytest.mark.parametrize("word", ["instruct", "q4", "", "q9_0", "latest"])
def test_a_word_that_is_no_quant_is_none(word: str) -> None:
    assert quants.canonical(word) is None


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (7, "Q8_0"),
        (15, "Q4_K_M"),
        (17, "Q5_K_M"),
        (18, "Q6_K"),
        (30, "IQ4_XS"),
        (32, "BF16"),
        (38, "MXFP4"),
        (4, "MXFP4"),
        (1024 + 15, "Q4_K_M"),
        (999, None),
        (5, None),
    ],
)
def test_file_types_are_those_of_a_gguf(number: int, name: str | None) -> None:
    assert quants.from_file_type(number) == name


def test_every_quant_is_named_once_and_best_first() -> None:
    order = quants.names()
    assert len(set(order)) == len(quants.TABLE)
    assert [
        name
        for name in order
        if name in {"F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K"}
    ] == [
        "F16",
        "Q8_0",
        "Q6_K",
        "Q5_K_M",
        "Q4_K_M",
        "IQ4_XS",
        "Q3_K_M",
        "Q2_K",
    ]


def test_by_default_what_nothing_beats_from_q8_0_to_iq4_xs() -> None:
    assert quants.default_names() == ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "IQ4_XS")


@pytest.mark.parametrize(
    ("name", "others", "better"),
    [
        ("Q5_1", ["Q5_K_M", "Q8_0"], "Q5_K_M"),
        ("Q5_0", ["Q5_K_S", "Q4_K_M"], "Q5_K_S"),
        ("Q4_0", ["IQ4_XS", "Q8_0"], "IQ4_XS"),
        ("Q4_0", ["Q8_0", "F16"], None),
        ("Q4_1", ["q4_k_m"], "Q4_K_M"),
        ("Q3_K_S", ["IQ3_XS"], "IQ3_XS"),
        ("Q4_K_M", ["Q4_K_M", "Q4_K_S", "Q5_K_M"], None),
        ("Q9_X", ["Q8_0"], None),
    ],
)
def test_a_quant_is_beaten_by_one_that_is_no_larger_and_better(
    name: str, others: list[str], better: str | None
) -> None:
    assert quants.dominated_by(name, others) == better


def test_an_unknown_mix_is_ranked_by_its_bits() -> None:
    assert quants.loss("Q4_K_XL", 5.1) < quants.loss("Q4_K_M", 4.89)
    assert quants.loss("Q4_K_XL", 5.1) > quants.loss("Q5_K_M", 5.7)
    assert quants.loss("Q8_K_XL", 9.5) < quants.loss("Q8_0", 8.5)
    assert quants.below_floor("Q3_K_XL", 3.6)
    assert not quants.below_floor("Q4_K_XL", 5.1)
