"""Names of Ollama models: `host/namespace/model:tag`, with the parts that Ollama fills in.

Rules: ollama types/model/name.go and internal/modelref, v0.32.15. Spelling is kept, but names that differ only
in case are the same name to a server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelforge.errors import UsageProblem

HOST = "registry.ollama.ai"
NAMESPACE = "library"
TAG = "latest"

PATTERNS = {
    "host": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    "namespace": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    "model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
}
_ALLOWED = {
    "host": "letters, digits, '_', '-', '.', ':'",
    "namespace": "letters, digits, '_', '-', at most 80",
    "model": "letters, digits, '_', '-', '.', at most 80",
    "tag": "letters, digits, '_', '-', '.', at most 80",
}
_HINT = "a model's name is [[HOST/]NAMESPACE/]MODEL[:TAG]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Name:
    """A model's full name, in the spelling that was given."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def short(self) -> str:
        """As Ollama lists it: with the tag, without the host and namespace that everybody has."""
        if self.host.casefold() != HOST:
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        if self.namespace.casefold() != NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """Equal for two names that a server takes for the same."""
        return self.short.casefold()

    @property
    def repository(self) -> str:
        """`key` without the tag: equal for all tags of one model."""
        return self.key.rpartition(":")[0]


def parse(text: str) -> Name:
    """Takes a name apart and fills in what is left out.

    Raises:
        UsageProblem: a part of it is empty, too long, has a character that Ollama refuses, or it is a tag
            that Ollama reserves.
    """
    name = _split(text)
    for part, pattern in PATTERNS.items():
        if not pattern.fullmatch(getattr(name, part)):
            message = (
                f"{text!r} is no model name: the {part} {getattr(name, part)!r} may have {_ALLOWED[part]}"
            )
            raise UsageProblem(message, hint=_HINT)
    if is_reserved(name.tag):
        hint = "Ollama reserves 'local', 'cloud' and '*-cloud'; choose another tag"
        raise UsageProblem(f"{text!r} has a tag that no model can have: {name.tag!r}", hint=hint)
    return name


def _split(text: str) -> Name:
    path, slash, last = text.partition("://")[2 if "://" in text else 0].rpartition("/")
    model, colon, tag = last.partition(":")
    host, _slash, namespace = path.rpartition("/")
    return Name(
        host=host or HOST,
        namespace=namespace if slash else NAMESPACE,
        model=model,
        tag=tag if colon else TAG,
    )


def key(text: str) -> str:
    """Equal for two names that a server takes for the same. Takes anything that a server may list."""
    return _split(text).key


def repository(text: str) -> str:
    """Equal for all tags of one model. Takes anything that a server may list."""
    return _split(text).repository


def canonical(text: str) -> str:
    """The name as Ollama lists it: `Coder` is `Coder:latest`, `registry.ollama.ai/library/x:y` is `x:y`.

    Raises:
        UsageProblem: it is no name.
    """
    return parse(text).short


def same(one: str, other: str) -> bool:
    """Whether a server takes both for one name."""
    return key(one) == key(other)


def has_tag(text: str) -> bool:
    """Whether the name says its tag, rather than leaving it to be `latest`."""
    return ":" in text.rpartition("/")[2]


def is_reserved(tag: str) -> bool:
    """Whether Ollama gives the tag a meaning of its own, so that no model should have it."""
    folded = tag.casefold()
    return folded in {"local", "cloud"} or folded.endswith("-cloud")


def valid_tag(tag: str) -> bool:
    """Whether a model can have this tag."""
    return PATTERNS["tag"].fullmatch(tag) is not None and not is_reserved(tag)
