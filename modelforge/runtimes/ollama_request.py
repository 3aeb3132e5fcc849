"""A rendered request as the fields of Ollama's create, and what cannot be asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelforge.errors import UsageProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelforge.render import Request

_EMPTY_HINT = "leave it out to inherit the base's, or build with --runtime embedded, which can take it away"


def request_body(request: Request) -> dict[str, Any]:
    """The fields that are set. An empty `stop` list is one: it clears the base's."""
    fields: dict[str, Any] = {
        "system": request.system,
        "template": request.template,
        "license": list(request.license),
        "parameters": dict(request.parameters),
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
        "renderer": request.renderer,
        "parser": request.parser,
        "requires": request.requires,
    }
    return {name: value for name, value in fields.items() if value}


def check_sendable(request: Request) -> None:
    """Refuses what Ollama would leave out or alter in silence.

    Raises:
        UsageProblem: an empty system or template, which would be the base's; half of a surrogate pair, which
            would become another character.
    """
    for field in ("system", "template"):
        if getattr(request, field) == "":
            raise UsageProblem(f"Ollama cannot empty the {field} of a base", hint=_EMPTY_HINT)
    for field, text in _texts(request):
        at = next((index for index, one in enumerate(text) if "\ud800" <= one <= "\udfff"), None)
        if at is not None:
            raise UsageProblem(
                f"{field} has half of a surrogate pair at character {at + 1} (U+{ord(text[at]):04X})",
                hint="it is no text that UTF-8 can carry: remove it",
            )


def _texts(request: Request) -> Iterator[tuple[str, str]]:
    for field in ("system", "template", "renderer", "parser", "requires"):
        yield field, getattr(request, field) or ""
    for number, text in enumerate(request.license, 1):
        yield f"license {number}", text
    for number, turn in enumerate(request.messages, 1):
        yield f"message {number}", turn.role + turn.content
    for name, value in request.parameters.items():
        for each in value if isinstance(value, tuple) else (value,):
            yield f"parameter {name}", str(each)
