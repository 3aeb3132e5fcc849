from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelforge.runtimes import Standing, Turn
from modelforge.runtimes.standing import differences, merged, same_parameters
from tests.fakes import some_request, some_standing

BASE = some_standing(
    weights=("sha256:aa",),
    system="base system",
    template="base template",
    license=("A",),
    parameters={"stop": ("x",), "num_ctx": 512, "top_k": 3},
    messages=(Turn(role="user", content="hi"),),
    renderer="r",
    parser="p",
    requires="0.1.0",
    manifest="sha256:ff",
)


def merge(**request: Any) -> Standing:
    return merged(BASE, some_request(**request), ())


def test_what_is_not_set_is_inherited() -> None:
    assert merge() == replace(BASE, manifest="")


def test_parameters_merge_by_key_and_stop_replaces() -> None:
    assert merge(parameters={"num_ctx": 8, "stop": ("y", "z")}).parameters == {
        "stop": ("y", "z"),
        "num_ctx": 8,
        "top_k": 3,
    }


def test_an_empty_stop_list_clears() -> None:
    assert merge(parameters={"stop": ()}).parameters == {"num_ctx": 512, "top_k": 3}


def test_licences_add_up_and_the_rest_replaces() -> None:
    turns = (Turn(role="assistant", content="yes"),)
    made = merge(
        license=("A", "B"), system="mine", template="t", messages=turns, renderer="x", requires="0.2.0"
    )
    assert made.license == ("A\nA\nB",)
    assert (made.system, made.template, made.messages) == ("mine", "t", turns)
    assert (made.renderer, made.parser, made.requires) == ("x", "p", "0.2.0")


def test_adapters_come_after_the_bases_weights() -> None:
    assert merged(BASE, some_request(), ["sha256:bb"]).weights == ("sha256:aa", "sha256:bb")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"system": "base systen"}, "system differs at character 11: wanted 'm', got 'n'"),
        ({"system": ""}, "system differs at character 1: wanted 'base system', got nothing"),
        (
            {"system": "base"},
            "system differs at character 5: wanted ' system', got its end after 4 characters",
        ),
        ({"weights": ()}, "weights: wanted aa, got none"),
        ({"license": ("B",)}, "license differs at character 1: wanted 'A', got 'B'"),
        ({"parameters": {"num_ctx": 512, "top_k": 3}}, "parameter stop: wanted ['x'], got nothing"),
        ({"messages": ()}, "messages: wanted 1, got 0"),
        (
            {"messages": (Turn(role="user", content="h\u00a0"),)},
            "message 1 differs at character 2: wanted 'i', got '\\xa0'",
        ),
        ({"renderer": ""}, "renderer differs at character 1: wanted 'r', got nothing"),
    ],
)
def test_a_difference_is_told_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    assert differences(BASE, replace(BASE, **change)) == (sentence,)


def test_manifests_and_shown_defaults_are_no_differences() -> None:
    assert differences(BASE, replace(BASE, manifest="other")) == ()
    assert differences(replace(BASE, template="{{ .Prompt }}"), replace(BASE, template="")) == ()
    assert differences(replace(BASE, license=("a", "b")), replace(BASE, license=("a\nb",))) == ()


def test_every_difference_is_told() -> None:
    assert len(differences(BASE, some_standing(weights=BASE.weights))) == 10


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"num_ctx": 8192}, {"num_ctx": 8192.0}, True),
        ({"temperature": 0.1}, {"temperature": 0.1}, True),
        ({"temperature": 0.1}, {"temperature": 0.10000000149}, False),
        ({"seed": 2**53 + 1}, {"seed": 2**53}, True),
        ({"use_mmap": True}, {"use_mmap": 1}, False),
        ({"stop": ()}, {}, True),
        ({"stop": ("a",)}, {"stop": ("a", "b")}, False),
        ({"num_ctx": 1}, {}, False),
    ],
)
def test_parameters_compare_as_a_server_keeps_them(
    one: dict[str, Any],
    other: dict[str, Any],
    same: bool,  # noqa: FBT001
) -> None:
    assert same_parameters(one, other) is same
    assert same_parameters(other, one) is same
