"""Go templates: what Ollama makes of a conversation, held in tests/golden/gotemplate.json.

That file has what Go itself made of them, and tests/live/test_gotemplate_live.py asks both servers for the same.
"""

from __future__ import annotations

import json
import random
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelforge.go_prompt import go_prompt
from modelforge.gotemplate import GoTemplateProblem, Today, parse, run
from modelforge.modelfile import Turn

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "gotemplate.json").read_text(encoding="utf-8")
)
CONVERSATIONS = {
    name: tuple(Turn(role=role, content=content) for role, content in turns)
    for name, turns in GOLDEN["conversations"].items()
}
DAY = date(2026, 3, 1)
ASKED = (Turn(role="user", content="Hi"),)


def made(template: str, conversation: str) -> str | None:
    """The prompt; None where the template fails."""
    try:
        return go_prompt(template).text(CONVERSATIONS[conversation], DAY)
    except GoTemplateProblem:
        return None


def test_what_go_makes_of_templates() -> None:
    rows = [(row["template"], *text) for row in GOLDEN["templates"] for text in row["texts"].items()]
    assert len(rows) > 600
    for template, conversation, wanted in rows:
        assert made(template, conversation) == wanted, (template, conversation)


def test_dates_are_those_of_the_day() -> None:
    text = go_prompt("{{ currentDate }} {{ yesterdayDate }}{{ range .Messages }}{{ end }}").text(ASKED, DAY)
    assert text == "2026-03-01 2026-02-28"


def test_a_model_that_can_think_is_told_not_to() -> None:
    text = go_prompt("{{ if and .IsThinkSet (not .Think) }}/no_think{{ end }}{{ .Messages | len }}").text(
        ASKED, DAY
    )
    assert text == "/no_think1"


@pytest.mark.parametrize(
    ("template", "line", "said"),
    [
        ("a\n{{ .A", 2, "an action is not closed: '}}' is missing"),
        ("\n\n{{ if .A }}x", 3, "{{ if }} has no {{ end }}"),
        ("{{ range .A }}{{ else }}", 1, "{{ range }} has no {{ end }}"),
        ("x {{ end }}", 1, "unexpected {{ end }}"),
        ("{{ foo 1 }}", 1, "there is no function foo"),
        ("{{ $x }}", 1, "there is no variable $x"),
        ("{{ if }}{{ end }}", 1, "a value is missing"),
        ('{{ "abc }}', 1, 'a text is not closed: "abc }}'),
        ("{{ break }}", 1, "{{ break }} outside of a range"),
        ("{{ .A ? }}", 1, "unexpected '? }}' in an action"),
        ("{{ '' }}", 1, "a text is not closed: '' }}"),
        ('{{ "\\q" }}', 1, '"\\q" is no constant'),
        ('{{ define "x" }}', 1, "{{ define }} has no {{ end }}"),
        ("{{ " + "(" * 200 + "1" + ")" * 200 + " }}", 1, "more than 100 parentheses in each other"),
        ("{{ if 1 }}" * 200, 1, "more than 100 blocks in each other"),
    ],
)
def test_what_cannot_be_parsed_is_said_with_its_line(template: str, line: int, said: str) -> None:
    with pytest.raises(GoTemplateProblem) as caught:
        go_prompt(template)
    assert (str(caught.value), caught.value.line) == (said, line)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ range 2000000 }}{{ end }}", "a range of 2000000 is too long"),
        ("{{ range 300 }}{{ range 100 }}x{{ end }}{{ end }}", "it runs without end"),
        (
            '{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}',
            "templates call each other without end",
        ),
        (
            '{{ $x := "aaaaaaaaaaaaaaaa" }}{{ range 40 }}{{ $x = print $x $x }}{{ end }}',
            "it writes without end",
        ),
    ],
)
def test_a_template_that_never_ends_is_stopped(
    template: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelforge.gotemplate.execute._STEPS", 10_000)
    with pytest.raises(GoTemplateProblem, match=said):
        go_prompt(template + "{{ range .Messages }}{{ end }}").text(ASKED, DAY)


PIECES = (
    "{{ ",
    "{{- ",
    " }}",
    " -}}",
    "if ",
    "range ",
    "with ",
    "else",
    "end",
    ".A",
    "$x",
    ":= ",
    "| ",
    "(",
    ")",
    '"',
    "a",
    "1",
    "\n",
)


@given(st.integers(0, 2**32))
def test_whatever_a_text_is_it_is_parsed_or_refused(seed: int) -> None:
    drawn = random.Random(seed)
    source = "".join(drawn.choices(PIECES, k=drawn.randint(1, 20)))
    lines = [1]
    try:
        parsed = parse(source)
        run(parsed.nodes, parsed.defined, {"A": "x"}, Today(current="", yesterday=""))
    except GoTemplateProblem as problem:
        lines.append(problem.line)
    assert all(1 <= line <= source.count("\n") + 1 for line in lines)


@given(st.text())
def test_text_without_actions_stands_as_it_is(text: str) -> None:
    if "{{" not in text:
        assert go_prompt("{{ range .Messages }}{{ end }}" + text).text(ASKED, DAY) == text
