from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
import tomli
from pydantic import Field, ValidationError

from modelforge.profile.problems import expectation, problems_of
from modelforge.profile.tables import Rows, Table, Text
from modelforge.profile.words import value_text


class Part(Table):
    size: Annotated[int, Field(ge=0)]
    """how large it is"""
    kind: Literal["a", "b"] = "a"


class Whole(Table):
    parts: Rows[Part] = ()
    named: Mapping[str, Part] = {}
    one_or_many: Rows[Text] | Text | None = None
    switch: Literal["on", "off"] | Part | None = None
    share: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


def messages(text: str, model: type[Table] | None = Whole) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(tomli.loads(text))
    found = problems_of(caught.value, file="f.toml", text=text, model=model)
    return [f"{problem.line}:{problem.column} {problem.kind}: {problem.message}" for problem in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "named.x = { size = -1 }",
            ["1:20 range: 'size' is -1, expected an integer, 0 or more"],
            id="table of any names",
        ),
        pytest.param("[[parts]]\nkind = 'a'", ["1:3 missing: [[parts]] has no 'size'"], id="missing"),
        pytest.param(
            "[named.x]\nsise = 1",
            ["1:8 missing: [named.x] has no 'size'", "2:1 unknown-key: unknown key 'sise' in [named.x]"],
            id="two errors",
        ),
        pytest.param(
            "one_or_many = 1",
            ["1:15 type: 'one_or_many' is 1, expected a list of strings or a string"],
            id="neither",
        ),
        pytest.param(
            "one_or_many = ''",
            ["1:15 type: 'one_or_many' is \"\", expected a list of strings or a string that is not empty"],
            id="empty",
        ),
        pytest.param(
            "one_or_many = ['a', 1, 2]",
            [
                "1:21 type: an entry of 'one_or_many' is 1, expected a string",
                "1:24 type: an entry of 'one_or_many' is 2, expected a string",
            ],
            id="inside of a list",
        ),
        pytest.param(
            "switch = 'of'",
            ["1:10 choice: 'switch' is \"of\", expected one of 'on', 'off' or a table"],
            id="choice or table",
        ),
        pytest.param(
            "switch = { size = 1, kind = 'c', x = 1 }",
            [
                "1:29 choice: 'kind' is \"c\", expected one of 'a', 'b'",
                "1:34 unknown-key: unknown key 'x' in [switch]",
            ],
            id="inside of a table",
        ),
        pytest.param(
            "share = nan", ["1:9 range: 'share' is nan, expected a number above 0"], id="not finite"
        ),
        pytest.param(
            "parts = 1979-05-27",
            ["1:9 type: 'parts' is a date or time, expected a list of tables"],
            id="date",
        ),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert messages(text) == expected
    assert messages(text, model=None) == expected


def test_hints() -> None:
    text = "prats = []\nswitch = 'of'\n[[parts]]\n"
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(tomli.loads(text))
    hints = {problem.kind: problem.hint for problem in problems_of(caught.value, file="f", text=text)}
    assert hints == {
        "unknown-key": "did you mean 'parts'?",
        "choice": "did you mean 'off'?",
        "missing": "add size = …: how large it is",
    }


def test_a_long_value_is_cut() -> None:
    assert value_text("é" * 100) == '"' + "é" * 57 + '…"'
    assert value_text('a\n"') == r'"a\n\""'


def test_expectation_of_a_range() -> None:
    assert expectation(Annotated[float, Field(ge=0, le=1.5)]) == "a number from 0 to 1.5"
