from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from modelforge.profile.positions import Position, key_parts, positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelforge.profile.positions import KeyPath

NASTY = '''# a comment with [brackets] and = signs
"top level" = 1
a.b . 'c d' = "x" # not "here"
"qu\\u006fted.key" = \'\'\'
[not.a.header]
key = 'no'\'\'\'\'
fence = """one " two "" and \\""" and \\\\"""
ends = """quotes""\"""
empty = ""
also_empty = """"""
when = 1979-05-27 07:32:00 # a date with a blank
1.5 = 2.5

[ spaced . "out" ]
list = [ # comment ] here
  1, [2, "]"], { x = 1, y.z = [ { w = "}" } ] },
]
[table.below.above]
k = true
[table]
k = -inf
[[smoke]]
name = "a#b"
[smoke.expect]
contains = ["def ", 'x']
[[smoke]]
[[smoke.messages]]
role = "user"
[[smoke.messages]]
role = "system"
'''


def leaves(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_every_path_of_a_nasty_document_is_found(end: str) -> None:
    text = NASTY.replace("\n", end)
    assert set(positions(text)) == set(leaves(tomli.loads(text)))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(("top level",), (2, 1, 11, 2, 15, 1), id="quoted key"),
        pytest.param(("a", "b", "c d"), (3, 7, 5, 3, 15, 3), id="dotted key"),
        pytest.param(("a",), (3, 1, 1, 3, 1, 1), id="table made by a dotted key"),
        pytest.param(("quoted.key",), (4, 1, 17, 4, 21, 3), id="multi-line value ends with its line"),
        pytest.param(("when",), (11, 1, 4, 11, 8, 19), id="value with a blank, comment left out"),
        pytest.param(("1", "5"), (12, 3, 1, 12, 7, 3), id="digits are names"),
        pytest.param(("spaced", "out"), (14, 12, 5, 14, 12, 5), id="table"),
        pytest.param(("spaced", "out", "list", 1, 1), (16, 10, 3, 16, 10, 3), id="entry of a list"),
        pytest.param(
            ("spaced", "out", "list", 2, "y", "z", 0, "w"), (16, 35, 1, 16, 39, 3), id="inline table"
        ),
        pytest.param(("table",), (20, 2, 5, 20, 2, 5), id="own header wins over an earlier [table.below]"),
        pytest.param(("smoke", 1), (26, 3, 5, 26, 3, 5), id="entry of an array of tables"),
        pytest.param(("smoke", 1, "messages", 1, "role"), (30, 1, 4, 30, 8, 8), id="nested array of tables"),
    ],
)
def test_places(path: KeyPath, expected: tuple[int, ...]) -> None:
    found = positions(NASTY)[path]
    assert (
        found.line,
        found.column,
        found.width,
        found.value_line,
        found.value_column,
        found.value_width,
    ) == expected


def test_columns_count_characters_and_leave_a_byte_order_mark_out() -> None:
    assert positions("\ufeff'äß' = 'ö'\n")["äß",] == Position(
        line=1, column=1, width=4, value_line=1, value_column=8, value_width=3
    )


def test_only_a_newline_ends_a_line() -> None:
    found = positions("a = '\u2028\x85'\nb = 1")["b",]
    assert (found.line, found.column) == (2, 1)


def test_nesting_as_deep_as_the_parser_allows() -> None:
    text = "a = " + "[" * 390 + "]" * 390
    tomli.loads(text)
    assert len(positions(text)) == 390


@pytest.mark.parametrize(
    "broken", ["a = ", "a = [1,", "[a", "a = 'x", "= 1", '"\\q" = 1', "a = {b", 'x = """y', "]"]
)
def test_what_is_no_toml_is_no_error(broken: str) -> None:
    assert ("first",) in positions("first = 1\n" + broken)


@given(st.text(alphabet="ab.=[]{},\"'\\#\n 1-", max_size=60))
@settings(max_examples=50, deadline=None)
def test_whatever_the_parser_takes_is_found(text: str) -> None:
    found = positions(text)
    try:
        data = tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError):
        return
    assert set(found) == set(leaves(data))


names = st.one_of(st.text("abcz019_-", min_size=1, max_size=4), st.text(max_size=4))
scalars = st.one_of(
    st.integers(-5, 5).map(str), st.booleans().map(lambda b: str(b).lower()), st.text(max_size=8)
)


def basic(text: str) -> str:
    return '"' + "".join(f"\\U{ord(char):08x}" if not char.isalnum() else char for char in text) + '"'


def long(text: str) -> str:
    """A multi-line string; single quotes inside it stay as they are, those that could end it are escaped."""
    return '"""' + re.sub(r'"(?="|$)', r'\\"', text.replace("\\", "\\\\")) + '"""'


def written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{basic(key)} = {written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + ", # ]\n".join(written(inner) for inner in value) + "\n]"
    if isinstance(value, str) and value[:1].isalpha():
        return basic(value)
    return (
        long("".join(char for char in value if char.isprintable())) if isinstance(value, str) else str(value)
    )


trees = st.recursive(
    st.one_of(st.integers(), st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=8,
)


tables = st.dictionaries(names, trees, min_size=1)


@given(st.dictionaries(names, st.one_of(trees, st.lists(tables, min_size=1)), max_size=4))
@settings(max_examples=8, deadline=None)
def test_generated_documents(document: dict[str, Any]) -> None:
    lines = []
    for key, value in document.items():
        if isinstance(value, dict):
            lines += [f"[{basic(key)}]", *(f"{basic(k)} = {written(v)}" for k, v in value.items())]
        elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            for entry in value:
                lines += [f"[[{basic(key)}]]", *(f"{basic(k)} = {written(v)}" for k, v in entry.items())]
        else:
            lines.insert(0, f"{basic(key)} = {written(value)}")
    text = "\n".join(lines)
    assert set(positions(text)) == set(leaves(tomli.loads(text)))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("parameters.stop", ("parameters", "stop")),
        ('vars . "a.b"', ("vars", "a.b")),
        ("a b", None),
        ("", None),
        ("a.", None),
    ],
)
def test_key_parts(text: str, parts: tuple[str, ...] | None) -> None:
    assert key_parts(text) == parts
