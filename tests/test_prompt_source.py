"""Which of two chat templates a server takes. That servers do so: tests/live/test_dead_settings_live.py."""

from __future__ import annotations

import pytest

from modelforge.prompt_source import BUILT_IN, fields_of, has_own_format, takes_jinja
from modelforge.runtimes import recipe
from tests.prompt_sources import GO, JINJAS

TAKEN = {
    "plain": set(),
    "tools": {"plain", "prompt", "tools in a variable's name", "tools in a comment", "tools in a string"}
    | {"tools in text", "calls without tools"},
}
BOTH_WAYS = TAKEN["tools"] | {
    "tools",
    "tools of the root",
    "tools in a variable",
    "tools behind a raw string",
}


@pytest.mark.parametrize(
    ("jinja", "taken"),
    [*TAKEN.items(), ("calls alone", TAKEN["tools"]), ("tools both ways", BOTH_WAYS)],
)
def test_a_jinja_template_is_taken_that_can_do_more(jinja: str, taken: set[str]) -> None:
    assert {name for name in GO if takes_jinja(JINJAS[jinja], GO[name], "llama")} == taken


@pytest.mark.parametrize(
    ("jinja", "template"),
    [
        ("tools both ways, double quotes", "tools"),
        ("thinking", "plain"),
        ("thinking by a split", "plain"),
        ("tools and thinking", "tools"),
        ("all", "tools both ways"),
        ("all", "tools and thinking"),
    ],
)
def test_tools_and_thinking_are_weighed_together(jinja: str, template: str) -> None:
    assert takes_jinja(JINJAS[jinja], GO[template], "llama")


@pytest.mark.parametrize(
    ("jinja", "template"),
    [
        ("tools both ways", "tools both ways"),
        ("tools both ways", "insert and tools"),
        ("thinking", "thinking"),
        ("hidden thinking", "plain"),
        ("tools and thinking", "tools both ways"),
        ("tools and thinking", "tools and thinking"),
    ],
)
def test_a_template_that_can_do_as_much_is_kept(jinja: str, template: str) -> None:
    assert not takes_jinja(JINJAS[jinja], GO[template], "llama")


def test_what_is_not_certain_is_not_said() -> None:
    """Whether `.Thinking` counts depends on the tree of the template."""
    assert not takes_jinja(JINJAS["thinking"], GO["thinking outside a turn"], "llama")


def test_the_format_of_gpt_oss_is_never_passed_over() -> None:
    template = "<|start|>user<|message|>{{ .Prompt }}<|end|>"
    assert takes_jinja(JINJAS["all"], template, "llama")
    assert not takes_jinja(JINJAS["all"], template, "gptoss")
    assert takes_jinja(JINJAS["all"], "{{ .Prompt }}", "gptoss")


def test_a_model_without_a_jinja_template_keeps_its_own() -> None:
    assert not takes_jinja("", GO["plain"], "llama")


@pytest.mark.parametrize(
    ("template", "fields"),
    [
        ("{{ .Prompt }}", {"prompt"}),
        ("{{- .A.B -}}", {"a", "b"}),
        ("{{ $.Tools }}{{ $x := . }}{{ $x.Y }}", {"tools", "y"}),
        ('{{ "a}} .B" }}.C{{ `}} .D` }}', set()),
        ("{{/* .A }} */}}{{ .B }}", {"b"}),
        ("{{ .A", set()),
    ],
)
def test_fields_are_read_from_actions_alone(template: str, fields: set[str]) -> None:
    assert fields_of(template) == fields


@pytest.mark.parametrize("piece", ['"a"', '"', "`a`", "{{", "'", '{{ "', "{{/*"])
def test_a_template_that_never_ends_is_read_in_no_time(piece: str) -> None:
    assert fields_of("{{" + piece * 2000) == frozenset()


def test_formats_of_architectures_are_those_that_models_are_made_with() -> None:
    assert recipe._OWN_FORMATS.keys() == BUILT_IN
    assert has_own_format("gptoss")
    assert not has_own_format("llama")
