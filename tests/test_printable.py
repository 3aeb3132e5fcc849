"""Which characters Modelfile text keeps. tests/live/test_modelfile_live.py asks real servers for every one."""

from __future__ import annotations

import unicodedata

import pytest

from modelforge.printable import dropped_positions, without_dropped


def test_letters_marks_numbers_punctuation_symbols_and_the_blank_are_kept() -> None:
    known_to_every_python = [
        char for char in map(chr, range(0x20000)) if unicodedata.ucd_3_2_0.category(char) not in {"Cn", "Cs"}
    ]
    kept = {char for char in known_to_every_python if unicodedata.category(char)[0] in "LMNPS"}
    assert set(without_dropped("".join(known_to_every_python))) == kept | set(" \t\r\n")


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("a b\t\r\n", []),
        ("a\x00b\x7f", [1, 3]),
        ("\u00a0é\u200d", [0, 2]),
        ("\U0001fae0", []),  # new in Unicode 14.0, which Python 3.10 does not know
        ("\U0002ebf0\u0378", [0, 1]),  # new in Unicode 15.1; never assigned
    ],
)
def test_positions(text: str, positions: list[int]) -> None:
    assert dropped_positions(text) == positions
