from __future__ import annotations

from tests.oracle.speed_page import Row, found, replaced, section

PAGE = "# Accuracy\n\nWords.\n\n## Other\n\nMore words.\n"


def some_section(speed: float) -> str:
    row = Row(
        model="Llama 3.2 1B",
        quant="F16",
        context=1024,
        filled=False,
        read=1 << 31,
        estimate=(5.0, 20.0),
        speeds={"embedded": speed, "0.32.15": 21.0},
    )
    return section(rows=[row], cores=2, bandwidths=[40e9, 50e9], others=0.04)


def test_a_row_tells_what_is_in_the_range() -> None:
    assert (
        "| Llama 3.2 1B F16, 1024 tokens of context | 2.00 | 5.0 … 20.0 | 10.0 | 21.0 | 1 of 2 | 43 … 90 % |"
        in some_section(10.0)
    )


def test_only_that_part_of_the_page_is_written_anew() -> None:
    first = replaced(PAGE, some_section(10.0))
    assert first == PAGE + "\n" + some_section(10.0)
    assert found(first) == some_section(10.0)
    assert replaced(first, some_section(12.0)) == PAGE + "\n" + some_section(12.0)
    before = "# Accuracy\n\n" + some_section(10.0) + "\n## Other\n"
    assert replaced(before, some_section(12.0)) == "# Accuracy\n\n" + some_section(12.0) + "\n## Other\n"


def test_a_page_without_it_stays_as_it_is() -> None:
    assert found(PAGE) == ""
    assert replaced(PAGE, "") == PAGE
