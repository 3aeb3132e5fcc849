from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from modelforge.parameters import IGNORED, TYPES
from modelforge.profile.described import description
from modelforge.profile.schema import Base, Body, Expect, Parameters, ProfileFile, Resolve, Serve
from modelforge.profile.smoketests import OF_ANSWERS, OF_BOTH, OF_EMBEDDINGS

if TYPE_CHECKING:
    from modelforge.profile.tables import Table


def test_the_parameters_are_ollamas() -> None:
    assert set(Parameters.model_fields) == set(TYPES)
    assert set(Parameters.foreign) >= IGNORED
    assert not set(Parameters.foreign) & set(TYPES)


@pytest.mark.parametrize("model", [Base, Body, Expect, Parameters, ProfileFile, Resolve, Serve])
def test_every_key_is_explained(model: type[Table]) -> None:
    assert [name for name in model.model_fields if not description(model, name)] == []


def test_defaults_are_valid_and_absent_stays_absent() -> None:
    body = Body.model_validate({"base": {"model": "x"}})
    assert body.model_dump(exclude_unset=True) == {"base": {"model": "x"}}
    assert body.parameters.model_dump(exclude_none=True) == {}


@pytest.mark.parametrize(
    ("model", "key", "good", "bad"),
    [
        (Serve, "keep_alive", ["30m", "1h30m", "0", "-1", "-5m", "250ms"], ["5", "1d", "", "forever"]),
        (Resolve, "engine", ["0.32", "0.32.15", "0.33.0-rc2"], ["0", "v0.32", "x", "0.32."]),
        (Body, "requires", ["0", "0.14", "0.14.0", "1.0.0-rc1+x"], ["v1.0.0", "01.0", "1.0-rc1", ""]),
        (Base, "pattern", ["{size}-{quant}", "{quant}"], ["{", "{sise}", "plain", "{{size}}"]),
        (Resolve, "headroom", ["1GiB", "512 MB", "0"], ["1 gobyte", "-1GiB", ""]),
        (Expect, "tool_call", ["f", {"name": "f"}, {"name": "f", "arguments": {}}], ["", {}, {"name": 1}]),
        (
            Expect,
            "json_schema",
            [{"type": "object", "enum": [1]}, {}],
            [{"type": 3}, {"minimum": float("inf")}],
        ),
        (Expect, "regex", ["^a+$", ""], ["(", "a{99999999999}"]),
        (Parameters, "stop", [["a"], []], [[""], "a", [1]]),
        (Parameters, "num_ctx", [4, 131072], [3, 2**30, 4096.0, True]),
        (
            Body,
            "name",
            ["a", "A.b-c_1", "team/a", "host.com:5000/team/a"],
            ["", "a:b", "a/b/c/d", "-a", "ns.x/a"],
        ),
    ],
)
def test_values(model: type[Table], key: str, good: list[Any], bad: list[Any]) -> None:
    rest: dict[str, Any] = (
        {"base": {"model": "x"}} if model is Body else {"model": "x"} if model is Base else {}
    )
    for value in good:
        model.model_validate({**rest, key: value})
    for value in bad:
        with pytest.raises(ValidationError):
            model.model_validate({**rest, key: value})


def test_every_key_of_expect_is_of_answers_or_of_embeddings_or_of_both() -> None:
    keys = [field.alias or name for name, field in Expect.model_fields.items()]
    assert sorted((*OF_ANSWERS, *OF_EMBEDDINGS, *OF_BOTH)) == sorted(keys)
