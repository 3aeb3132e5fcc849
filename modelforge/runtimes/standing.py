"""What a model has against what it should have: merging a request into its base, and telling the differences.

The merge follows Ollama's create (server/create.go, v0.24.0 and v0.32.15): parameters merge key by key, a `stop`
list replaces the base's and an empty one clears it, licences add up, anything else replaces what the base has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.runtimes import Standing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelforge.render import Request
    from modelforge.runtimes import ParameterValue, Turn

_SHOWN = 40
_DEFAULT_TEMPLATE = "{{ .Prompt }}"


def merged(base: Standing, request: Request, adapters: Sequence[str]) -> Standing:
    """What a model created FROM `base` with `request` has; its manifest is empty.

    Args:
        base: the base's standing.
        request: what is set over it.
        adapters: digests of the request's adapters, `sha256:<hex>`.
    """
    parameters = {**base.parameters, **request.parameters}
    if parameters.get("stop") == ():
        del parameters["stop"]
    license_text = "\n".join([*base.license, *request.license])
    return Standing(
        weights=(*base.weights, *adapters),
        system=request.system or base.system,
        template=request.template or base.template,
        license=(license_text,) if license_text else (),
        parameters=parameters,
        messages=request.messages or base.messages,
        renderer=request.renderer or base.renderer,
        parser=request.parser or base.parser,
        requires=request.requires or base.requires,
        manifest="",
    )


def differences(wanted: Standing, found: Standing) -> tuple[str, ...]:
    """What `found` has otherwise than `wanted`, a sentence each; manifests are not compared."""
    said = [
        _weights(wanted.weights, found.weights),
        _text("system", wanted.system, found.system),
        _text("template", _template(wanted.template), _template(found.template)),
        _text("license", "\n".join(wanted.license), "\n".join(found.license)),
        *_parameters(wanted.parameters, found.parameters),
        _messages(wanted.messages, found.messages),
        _text("renderer", wanted.renderer, found.renderer),
        _text("parser", wanted.parser, found.parser),
        _text("requires", wanted.requires.removeprefix("v"), found.requires.removeprefix("v")),
    ]
    return tuple(sentence for sentence in said if sentence)


def same_parameters(one: Mapping[str, ParameterValue], other: Mapping[str, ParameterValue]) -> bool:
    """Whether both say the same to a server: 1 is 1.0, but not true; no stop is an empty list of them."""
    return not _parameters(one, other)


def _template(text: str) -> str:
    """A server shows no template as one that only has the prompt."""
    return "" if text == _DEFAULT_TEMPLATE else text


def _weights(wanted: tuple[str, ...], found: tuple[str, ...]) -> str:
    if wanted == found:
        return ""
    return f"weights: wanted {_digests(wanted)}, got {_digests(found)}"


def _digests(digests: tuple[str, ...]) -> str:
    return " + ".join(digest.removeprefix("sha256:")[:12] for digest in digests) or "none"


def _text(field: str, wanted: str, found: str) -> str:
    if wanted == found:
        return ""
    at = next(
        (index for index, (one, other) in enumerate(zip(wanted, found, strict=False)) if one != other),
        min(len(wanted), len(found)),
    )
    return f"{field} differs at character {at + 1}: wanted {_part(wanted, at)}, got {_part(found, at)}"


def _part(text: str, at: int) -> str:
    """The text from shortly before `at` on, cut to what fits a line, its odd characters escaped."""
    if at >= len(text):
        return f"its end after {len(text)} characters" if text else "nothing"
    return ascii(text[at : at + _SHOWN]) + ("…" if len(text) > at + _SHOWN else "")


def _parameters(wanted: Mapping[str, ParameterValue], found: Mapping[str, ParameterValue]) -> list[str]:
    return [
        f"parameter {name}: wanted {_value(wanted.get(name))}, got {_value(found.get(name))}"
        for name in sorted({*wanted, *found})
        if not _same_value(wanted.get(name), found.get(name))
    ]


def _same_value(one: ParameterValue | None, other: ParameterValue | None) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return float(one) == float(other)  # a server keeps all numbers as 64-bit floats
    return (() if one is None else one) == (() if other is None else other)


def _value(value: ParameterValue | None) -> str:
    if value is None:
        return "nothing"
    return ascii(list(value) if isinstance(value, tuple) else value)


def _messages(wanted: tuple[Turn, ...], found: tuple[Turn, ...]) -> str:
    if len(wanted) != len(found):
        return f"messages: wanted {len(wanted)}, got {len(found)}"
    for number, (one, other) in enumerate(zip(wanted, found, strict=True), 1):
        said = _text(f"role of message {number}", one.role, other.role)
        said = said or _text(f"message {number}", one.content, other.content)
        if said:
            return said
    return ""
