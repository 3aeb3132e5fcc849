from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelforge.errors import UsageProblem
from modelforge.names import canonical, has_tag, parse, same, valid_tag

PART = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("coder", "coder:latest"),
        ("Coder:RTX-4090", "Coder:RTX-4090"),
        ("registry.ollama.ai/library/x:y", "x:y"),
        ("REGISTRY.ollama.ai/Library/x", "x:latest"),
        ("team/coder", "team/coder:latest"),
        ("hf.co/org/repo:Q4_K_M", "hf.co/org/repo:Q4_K_M"),
        ("127.0.0.1:5000/team/name:v1", "127.0.0.1:5000/team/name:v1"),
        ("https://registry.example.com/team/name", "registry.example.com/team/name:latest"),
        ("modelforge/weights:0123456789abcdef", "modelforge/weights:0123456789abcdef"),
    ],
)
def test_a_name_reads_as_ollama_lists_it(text: str, short: str) -> None:
    assert canonical(text) == short


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        "/a",
        "a//b",
        "a b",
        "-a",
        "a:b:c",
        "x@sha256:00",
        "team.x/a",
        "a" * 81,
        "ä",
        "a:b/c:",
        "a\n",
    ],
)
def test_what_ollama_refuses_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse(text)
    assert "no model name" in str(caught.value)
    assert caught.value.problems[0].hint == "a model's name is [[HOST/]NAMESPACE/]MODEL[:TAG]"


@pytest.mark.parametrize("tag", ["local", "cloud", "Cloud", "120b-cloud"])
def test_reserved_tags_are_refused(tag: str) -> None:
    assert not valid_tag(tag)
    with pytest.raises(UsageProblem, match="no model can have"):
        parse(f"coder:{tag}")


def test_tags() -> None:
    assert valid_tag("rtx-3060-12gb")
    assert valid_tag("cloudy")
    assert not valid_tag("a/b")
    assert not valid_tag("")
    assert has_tag("host:5000/a/b:c")
    assert not has_tag("host:5000/a/b")


def test_case_makes_no_difference() -> None:
    assert same("Coder", "coder:LATEST")
    assert not same("coder", "coder:q4")
    assert parse("Team/Coder:a").repository == parse("team/coder:B").repository


@given(PART, PART, PART)
@settings(max_examples=50, deadline=None)
def test_the_short_form_is_a_fixed_point(namespace: str, model: str, tag: str) -> None:
    if not valid_tag(tag):
        return
    short = canonical(f"{namespace}/{model}:{tag}")
    assert canonical(short) == short
