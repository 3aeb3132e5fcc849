"""JSON as Go writes it; the expected texts were printed by Go 1.26 and by real Ollama servers."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelforge.runtimes import gojson


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (4096, "4096"),
        (0.7, "0.7"),
        (1e-6, "0.000001"),
        (9.99e-7, "9.99e-7"),
        (1e-7, "1e-7"),
        (-2.5e-9, "-2.5e-9"),
        (5e-324, "5e-324"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (2**53 + 1, "9007199254740992"),
        (-1, "-1"),
    ],
)
def test_numbers_are_printed_as_go_prints_a_float64(value: float, text: str) -> None:
    assert gojson.number(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_a_number_that_json_has_not_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        gojson.number(value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<|im_end|>", r'"\u003c|im_end|\u003e"'),
        ("a & b", r'"a \u0026 b"'),
        ("\u2028\u2029", r'"\u2028\u2029"'),
        ('"\\/', r'"\"\\/"'),
        ("\b\f\n\r\t", r'"\b\f\n\r\t"'),
        ("\x01\x1f", r'"\u0001\u001f"'),
        ("\x7f\u00a0é😀", '"\x7f\u00a0é😀"'),
    ],
)
def test_texts_are_escaped_as_go_escapes_them(text: str, written: str) -> None:
    assert gojson.string(text) == written


def test_a_document_is_compact_and_ends_with_a_newline() -> None:
    value: gojson.Json = {"b": [True, None, "x"], "a": {"d": 1, "c": 0.5}}
    assert gojson.document(value) == b'{"b":[true,null,"x"],"a":{"d":1,"c":0.5}}\n'


def test_keys_of_a_map_are_sorted() -> None:
    params: gojson.Json = {"temperature": 0.7, "stop": ("<|im_end|>",), "num_ctx": 8192}
    expected = b'{"num_ctx":8192,"stop":["\\u003c|im_end|\\u003e"],"temperature":0.7}\n'
    assert gojson.document(params, sort_keys=True) == expected


def test_a_lone_surrogate_is_refused_rather_than_altered() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        gojson.document("\ud800")


@settings(max_examples=50, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_the_same_float(value: float) -> None:
    text = gojson.number(value)
    assert float(text) == value
    assert len(text) <= 25 or abs(value) >= 1e20
    assert ("e" in text) == (value != 0 and not 1e-6 <= abs(value) < 1e21)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(json_values)
def test_a_document_reads_back_as_the_same_value(value: gojson.Json) -> None:
    data = gojson.document(value, sort_keys=True)
    assert json.loads(data) == value
    assert not set(data) & set(b"<>&")
