"""What a profile may call its model, and what a target: names that Ollama takes, less those that builds need."""

from __future__ import annotations

from modelforge.errors import UsageProblem
from modelforge.names import PATTERNS, has_tag, is_reserved, parse, valid_tag
from modelforge.profile.rules import RESERVED, any_case, rule

_OURS = "modelforge"
_EXPECTED_NAME = "a model's name such as 'coder' or 'team/coder', of letters, digits, '_', '-', '.'"
_HOST, _NAMESPACE, _MODEL = (PATTERNS[part].pattern for part in ("host", "namespace", "model"))
_BEFORE_NAME = rf"(?:(?:{_HOST})?/)?{_NAMESPACE}"
_OUR_NAMESPACE = rf"(?:[^/]*/)?{any_case(_OURS)}"
_EXPECTED_TAG = "a name of at most 80 letters, digits, '_', '-', '.', that begins with one of the first three"


@rule(pattern=rf"^(?!{_OUR_NAMESPACE}/[^/]*$)(?:{_BEFORE_NAME}/)?{_MODEL}$")
def model_name(text: str) -> str:
    """The name again: `model`, `namespace/model` or `host/namespace/model`, without a tag.

    Raises:
        ValueError: with what was expected.
    """
    if has_tag(text):
        raise ValueError("a model's name without a tag: the tag is the hardware's name, or 'latest'")
    try:
        name = parse(text)
    except UsageProblem:
        raise ValueError(_EXPECTED_NAME) from None
    if "://" in text:
        raise ValueError(_EXPECTED_NAME)
    if name.namespace.casefold() == _OURS:
        raise ValueError(f"a name outside of '{_OURS}/', where builds keep their own models")
    return text


@rule(pattern=rf"^(?!{_OUR_NAMESPACE}$){_BEFORE_NAME}$")
def namespace_name(text: str) -> str:
    """The namespace again: what stands before a model's name, with its host or without.

    Raises:
        ValueError: with what was expected.
    """
    try:
        model_name(f"{text}/model")
    except ValueError:
        raise ValueError("a namespace such as 'team' or 'registry.example.com/team'") from None
    return text


@rule(pattern=rf"^(?!(?:{RESERVED})$){PATTERNS['tag'].pattern}$")
def tag_name(text: str) -> str:
    """The tag again.

    Raises:
        ValueError: with what was expected.
    """
    if is_reserved(text):
        raise ValueError("a name that Ollama does not keep for itself ('local', 'cloud', '*-cloud')")
    if not valid_tag(text):
        raise ValueError(_EXPECTED_TAG)
    return text
