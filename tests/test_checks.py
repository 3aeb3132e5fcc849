from __future__ import annotations

from typing import Any

import pytest

from modelforge.checks import KINDS, Check, check_answer
from modelforge.checks.limits import Answer, where_loaded
from modelforge.profile.schema import Expect
from modelforge.runtimes import ChatReply, Placement, ToolCall
from modelforge.units import GIB
from tests.fakes import ON_GPU, some_reply

FENCE = "```"
TWO_BLOCKS = f"{FENCE}python\nx = (\n{FENCE}\nor\n{FENCE}python\nx = 1\n{FENCE}"
HALF = Placement(bytes=2 * GIB, vram=GIB)


def checks(
    expect: dict[str, Any],
    reply: str | ChatReply,
    *,
    placement: Placement | None = ON_GPU,
    here: bool = True,
    num_predict: int = 512,
) -> tuple[Check, ...]:
    answer = reply if isinstance(reply, ChatReply) else some_reply(reply)
    judged = Answer(reply=answer, placement=placement, here=here, num_predict=num_predict)
    return check_answer(Expect.model_validate(expect), judged)


def only(expect: dict[str, Any], reply: str | ChatReply, **given: Any) -> Check:
    (check,) = checks(expect, reply, **given)
    return check


@pytest.mark.parametrize(
    ("expect", "reply"),
    [
        pytest.param({"contains": "def "}, "so: def f()", id="contains"),
        pytest.param({"not_contains": "Sure"}, "def f()", id="not-contains"),
        pytest.param({"equals": ""}, "\n", id="nothing-wanted"),
        pytest.param({"equals": "Paris"}, "  Paris\n", id="equals-but-for-blanks"),
        pytest.param({"starts_with": "Ahoy"}, "\n Ahoy there", id="starts-with"),
        pytest.param({"regex": r"(?m)^\d+$"}, "it is\n42\n", id="regex"),
        pytest.param({"json": True}, ' {"a": [1, null]} ', id="json"),
        pytest.param({"json": True}, f'{FENCE}json\n{{"a": 1}}\n{FENCE}', id="json-in-a-block"),
        pytest.param({"json": False}, "Paris", id="no-json"),
        pytest.param({"json_schema": {"type": "object", "required": ["a"]}}, '{"a": 1}', id="schema"),
        pytest.param({"python": True}, f"Sure!\n{FENCE}python\ndef f():\n    return 1\n{FENCE}", id="block"),
        pytest.param({"python": True}, f"1. so:\n   {FENCE}\n   x = 1\n   {FENCE}", id="indented-block"),
        pytest.param({"python": True}, "def f(a, b):\n    return a + b\n", id="bare-python"),
        pytest.param({"python": True}, f'{FENCE}py\nimport re\nre.compile("\\d")\n{FENCE}', id="bad-escape"),
        pytest.param(
            {"python": True}, f"{FENCE}python\nx = (\n{FENCE}\nor\n{FENCE}python\nx = 1\n{FENCE}", id="second"
        ),
        pytest.param({"python": False}, "Paris, of course", id="words-are-no-python"),
        pytest.param({"max_seconds": 1}, "x", id="max-seconds"),
        pytest.param({"max_first_token_seconds": 0.2}, "x", id="first-token"),
        pytest.param({"min_tokens_per_second": 50}, "x", id="speed"),
        pytest.param({"loaded_on": "gpu"}, "x", id="on-gpu"),
        pytest.param({"max_vram": "1KiB"}, "x", id="vram"),
        pytest.param({}, "x", id="nothing-expected"),
    ],
)
def test_what_passes(expect: dict[str, Any], reply: str) -> None:
    assert only(expect, reply).verdict == "passed"


@pytest.mark.parametrize(
    ("expect", "reply", "got"),
    [
        pytest.param(
            {"contains": "def add"}, "well\ndef  adds(a)", "not there; nearest: def  adds(a)", id="nearest"
        ),
        pytest.param(
            {"contains": "Paris"}, "it is PARIS", "only with other capitals at 1:7: PARIS", id="capitals"
        ),
        pytest.param(
            {"not_contains": "Sure"}, "ok\nSure! Here", "found at 2:1: Sure! Here", id="not-contains"
        ),
        pytest.param({"equals": "Paris"}, "Paris.", "differs from 1:6 on: .", id="equals"),
        pytest.param(
            {"equals": "a\nbc"}, "a\nb", "differs from 2:2 on: (the answer ends there)", id="equals-short"
        ),
        pytest.param({"starts_with": "Ahoy"}, "Hello there", "starts with Hello there", id="starts-with"),
        pytest.param({"regex": r"\d"}, "none", "no match", id="regex"),
        pytest.param({"json": True}, "Sure! {}", "not JSON at 1:1: Expecting value", id="json"),
        pytest.param({"json": True}, '{"a": NaN}', "not JSON: NaN is not JSON", id="json-nan"),
        pytest.param({"json": True}, "[" * 100_000, "not JSON", id="json-deep"),
        pytest.param(
            {"json": True},
            f'{FENCE}json\n{{"a": }}\n{FENCE}',
            "not JSON at 2:7: Expecting value",
            id="json-in-a-block",
        ),
        pytest.param({"json": False}, "[1]", "it is JSON", id="json-unwanted"),
        pytest.param(
            {"python": True}, f"a\n{FENCE}python\nx = \n{FENCE}", "not Python at 3:5: invalid", id="py"
        ),
        pytest.param(
            {"python": True}, f"{FENCE}js\nlet x\n{FENCE}", "no code block of Python", id="other-language"
        ),
        pytest.param({"python": True}, "Sure", "no code, only words", id="prose"),
        pytest.param({"python": True}, "x = 1\0", "not Python", id="null-byte"),
        pytest.param({"python": False}, "x = 1", "Python at 1:1", id="python-unwanted"),
        pytest.param({"contains": "x"}, " \n", "the answer is empty", id="empty"),
        pytest.param({"not_contains": "x"}, "", "the answer is empty", id="not-contains-empty"),
        pytest.param({"equals": "x"}, "", "the answer is empty", id="equals-empty"),
        pytest.param({}, "", "the answer is empty", id="nothing-expected-nothing-said"),
        pytest.param({"max_seconds": 0.1}, "x", "0.5 s", id="max-seconds"),
        pytest.param({"min_tokens_per_second": 60}, "x", "50.0 tok/s", id="speed"),
        pytest.param({"loaded_on": "cpu"}, "x", "gpu", id="loaded-on"),
        pytest.param({"max_vram": "512B"}, "x", "1000 B", id="vram"),
        pytest.param({"tool_call": "add"}, "x", "no tool was called", id="no-tool"),
    ],
)
def test_what_fails_and_what_is_told(expect: dict[str, Any], reply: str, got: str) -> None:
    check = only(expect, reply)
    assert check.verdict == "failed"
    assert check.got.startswith(got)
    assert len(check.got) <= 200


def test_a_failed_schema_names_the_place() -> None:
    schema = {"type": "object", "properties": {"tags": {"items": {"type": "string"}}}}
    check = only({"json_schema": schema}, '{"tags": ["a", 5]}')
    assert (check.verdict, check.got) == ("failed", "at $.tags[1]: 5 is not of type 'string'")


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"$ref": "http://schemas.example.com/x.json"}, id="elsewhere"),
        pytest.param({"$ref": "#"}, id="endless"),
    ],
)
def test_a_schema_that_cannot_be_applied_fails_and_fetches_nothing(schema: dict[str, Any]) -> None:
    check = only({"json_schema": schema}, "{}")
    assert check.verdict == "failed"
    assert "schema" in check.got


def test_each_text_of_contains_is_judged_by_itself() -> None:
    found = checks({"contains": ("a", "b"), "not_contains": ("c", "d")}, "a d")
    assert [(check.kind, check.expected, check.verdict) for check in found] == [
        ("contains", "a", "passed"),
        ("contains", "b", "failed"),
        ("not_contains", "c", "passed"),
        ("not_contains", "d", "failed"),
    ]


CALLED = some_reply(
    "", tool_calls=(ToolCall(name="add", arguments={"a": 1, "b": 2, "why": {"x": "y", "z": True}}),)
)


@pytest.mark.parametrize(
    ("wanted", "verdict"),
    [
        pytest.param("add", "passed", id="name"),
        pytest.param({"name": "add", "arguments": {"a": 1}}, "passed", id="some-arguments"),
        pytest.param({"name": "add", "arguments": {"why": {"x": "y"}}}, "passed", id="nested"),
        pytest.param({"name": "add", "arguments": {"b": 2.0}}, "passed", id="float"),
        pytest.param("sub", "failed", id="other-name"),
        pytest.param({"name": "add", "arguments": {"a": 2}}, "failed", id="other-value"),
        pytest.param({"name": "add", "arguments": {"a": True}}, "failed", id="true-is-not-1"),
        pytest.param({"name": "add", "arguments": {"c": 1}}, "failed", id="missing"),
    ],
)
def test_tool_calls(wanted: Any, verdict: str) -> None:
    check = only({"tool_call": wanted}, CALLED)
    assert check.verdict == verdict
    assert check.got == 'called add(a=1, b=2, why={"x": "y", "z": true})'


def test_an_answer_that_was_cut_says_so_in_what_failed() -> None:
    cut = some_reply('{"a": ', done_reason="length", output_tokens=16)
    assert only({"json": True}, cut, num_predict=16).got.endswith("; the answer was cut at num_predict 16")
    assert only({"json": True}, cut, num_predict=99).got.endswith(
        "; the answer was cut where the context was full"
    )
    assert only({"contains": "a"}, cut).verdict == "passed"


@pytest.mark.parametrize(
    "expect",
    [
        {"min_tokens_per_second": 1},
        {"max_seconds": 1},
        {"max_first_token_seconds": 1},
        {"loaded_on": "gpu"},
        {"max_vram": "8GiB"},
    ],
    ids=lambda expect: next(iter(expect)),
)
def test_what_depends_on_the_hardware_is_skipped_elsewhere(expect: dict[str, Any]) -> None:
    assert only(expect, "x", here=False).verdict == "skipped"


def test_what_the_runtime_cannot_tell_is_skipped() -> None:
    assert only({"loaded_on": "gpu"}, "x", placement=None).verdict == "skipped"
    assert only({"max_vram": "8GiB"}, "x", placement=None).verdict == "skipped"
    assert only({"min_tokens_per_second": 1}, some_reply(tokens_per_second=None)).verdict == "skipped"


def test_a_model_that_is_half_on_the_gpu_is_on_neither() -> None:
    assert where_loaded(HALF) == "50 % gpu"
    assert only({"loaded_on": "gpu"}, "x", placement=HALF).verdict == "failed"
    assert only({"loaded_on": "cpu"}, "x", placement=HALF).got == "50 % gpu"


def test_control_characters_of_an_answer_do_not_get_through() -> None:
    check = only({"starts_with": "x"}, "\x1b[2Jgone\u202e")
    assert check.got == "starts with \\x1b[2Jgone\\u202e"


def test_every_key_of_expect_has_its_check() -> None:
    keys = {field.alias or name for name, field in Expect.model_fields.items()}
    assert keys == {*KINDS, "than"}  # which is `closer_to`'s


def test_hostile_answers_are_judged_soon() -> None:
    long = "word " * 200_000
    assert only({"regex": "zzz"}, long).got == "no match in the first 50000 characters"
    assert only({"contains": "zzz"}, long).verdict == "failed"
    assert only({"python": True}, "(" * 100_000).verdict == "failed"
    assert only({"python": True}, FENCE + "\n" + "~~~\n" * 20_000).verdict == "failed"
