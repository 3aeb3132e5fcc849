from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelforge.display import columns, left, right, shorten, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain – ä 日 👍🏽", "plain – ä 日 👍🏽", id="letters"),
        pytest.param("a\nb\tc\r", "a\\nb\\tc\\r", id="whitespace"),
        pytest.param("\x1b[31m\x00\x9b", "\\x1b[31m\\x00\\x9b", id="control"),
        pytest.param("\u202eevil\u2066", "\\u202eevil\\u2066", id="turned"),
        pytest.param("a\u2028b\ud800", "a\\u2028b\\ud800", id="separators"),
        pytest.param("👩‍💻", "👩‍💻", id="joined"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_what_is_to_be_kept_is_kept() -> None:
    assert visible("a\n\tb\x07", keep="\n\t") == "a\n\tb\\x07"


@pytest.mark.parametrize(
    ("text", "wide"),
    [("abc", 3), ("日本", 4), ("e\u0301", 1), ("", 0)],
    ids=["ascii", "wide", "combining", "empty"],
)
def test_columns(text: str, wide: int) -> None:
    assert columns(text) == wide
    assert columns(left(text, 6)) == columns(right(text, 6)) == 6


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters()), st.integers(1, 40))
def test_shortened_text_fits_and_cannot_act(text: str, width: int) -> None:
    shown = shorten(text, width)
    assert columns(shown) <= width
    assert not [char for char in shown if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}]
