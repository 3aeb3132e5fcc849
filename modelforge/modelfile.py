"""The Modelfile as a value: parse, format, and what its text cannot carry.

A model is made from the fields of a `Modelfile`, never from its text: the text of many a prompt does not survive
Ollama's parser. `losses` tells which, and is empty exactly where `as_ollama_reads(format_modelfile(x)) == x`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from modelforge import grammar
from modelforge.errors import TemplateProblem, did_you_mean
from modelforge.grammar import ROLES, TRIPLE, Instruction, Source
from modelforge.parameters import (
    IGNORED,
    TYPES,
    ParameterValue,
    as_ollama_takes,
    parse_value,
    value_text,
)
from modelforge.printable import dropped_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_BYTE_ORDER_MARK = "\ufeff"
_LABEL = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    r"v?(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)"
    rf"(?:-{_LABEL}(?:\.{_LABEL})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?)?"
)
_QUOTED_LINE_END = re.compile(r'"""[ \t]*(?:\r|\n)')


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One message of a conversation that belongs to a model."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """Something that Modelfile text would drop or alter: which instruction, and why, in words."""

    instruction: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Modelfile:
    """What a Modelfile says. None or empty: it does not say it. Texts are exact.

    `parameters` are typed, `stop` is a tuple. In text, LICENSE, MESSAGE, ADAPTER and PARAMETER stop add up; of
    any other instruction the last one counts.
    """

    from_: str
    system: str | None = None
    template: str | None = None
    license: tuple[str, ...] = ()
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    messages: tuple[Turn, ...] = ()
    adapters: tuple[str, ...] = ()
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None


def parse(text: str, *, file: str = "Modelfile") -> Modelfile:
    """The Modelfile that a text says, every character of its values kept.

    Raises:
        TemplateProblem: the first thing that is wrong, with its place in `file`.
    """
    source = Source(text.removeprefix(_BYTE_ORDER_MARK), file)
    return assemble(grammar.instructions(source), source)


def as_ollama_reads(text: str) -> Modelfile:
    """What `ollama create -f` makes of a text: characters dropped, floats narrowed, empty texts not set.

    Raises:
        TemplateProblem: Ollama's command refuses the text.
    """
    source = Source(text.removeprefix(_BYTE_ORDER_MARK), "Modelfile")
    found = [one for one in grammar.as_ollama_reads(source) if one.name not in IGNORED]
    read = assemble(found, source, value_of=as_ollama_takes)
    if read.requires is not None and not is_version(read.requires):
        raise source.error(0, f"REQUIRES '{read.requires}' is not a version")
    return replace(
        read,
        system=read.system or None,
        template=read.template or None,
        renderer=read.renderer or None,
        parser=read.parser or None,
        requires=read.requires and read.requires.removeprefix("v"),
        adapters=read.adapters[-1:],
    )


def is_version(text: str) -> bool:
    """Whether REQUIRES takes it: a semantic version such as `0.14.0`."""
    return _VERSION.fullmatch(text) is not None


def assemble(
    found: Sequence[Instruction],
    source: Source,
    *,
    value_of: Callable[[str, str], ParameterValue] = parse_value,
) -> Modelfile:
    """The Modelfile that instructions add up to.

    Raises:
        TemplateProblem: there is no FROM, or a parameter that Ollama does not have or of the wrong type.
    """
    values: dict[str, list[str]] = {word: [] for word in grammar.WORDS}
    for one in found:
        values[one.word].append(one.value)
        if one.word == "DRAFT":
            raise source.error(one.at, "DRAFT is not supported", hint="remove the line", width=len(one.word))
    if not values["FROM"] or not values["FROM"][-1]:
        raise source.error(0, "there is no FROM with a model", hint="write the line: FROM [[ base ]]")
    return Modelfile(
        from_=values["FROM"][-1],
        license=tuple(values["LICENSE"]),
        parameters=_parameters([one for one in found if one.word == "PARAMETER"], source, value_of),
        messages=tuple(Turn(role=one.name, content=one.value) for one in found if one.word == "MESSAGE"),
        adapters=tuple(values["ADAPTER"]),
        **{
            word.lower(): values[word][-1]
            for word in ("SYSTEM", "TEMPLATE", "RENDERER", "PARSER", "REQUIRES")
            if values[word]
        },
    )


def _parameters(
    found: Sequence[Instruction], source: Source, value_of: Callable[[str, str], ParameterValue]
) -> dict[str, ParameterValue]:
    values: dict[str, ParameterValue] = {}
    for one in found:
        if one.name not in TYPES:
            raise _unknown_parameter(one, source)
        try:
            value = value_of(one.name, one.value)
        except ValueError as error:
            message = f"PARAMETER {one.name} cannot be '{one.value}'"
            raise source.error(one.value_at, message, expected=str(error), width=len(one.value)) from None
        before = values.get(one.name)
        values[one.name] = before + value if isinstance(value, tuple) and isinstance(before, tuple) else value
    return values


def _unknown_parameter(one: Instruction, source: Source) -> TemplateProblem:
    ignored = one.name in IGNORED
    return source.error(
        one.name_at,
        f"Ollama ignores the parameter '{one.name}'" if ignored else f"unknown parameter '{one.name}'",
        expected=None if ignored else "one of " + ", ".join(TYPES),
        hint="remove the line" if ignored else did_you_mean(one.name, TYPES),
        width=len(one.name),
    )


# --- writing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """One instruction to write: its label in a `Loss`, its text ("" if it has none), why text cannot carry it."""

    label: str
    text: str
    reasons: tuple[str, ...]


def format_modelfile(modelfile: Modelfile) -> str:
    """The text of a Modelfile: one instruction after the other, LF between them.

    Where text cannot carry a value, a comment above the instruction says so; the value is still shown as it is.
    """
    lines = []
    for entry in _entries(modelfile):
        lines += [f"# {entry.label}: Modelfile text cannot carry this: {reason}" for reason in entry.reasons]
        if entry.text:
            lines.append(entry.text)
    return "\n".join(lines) + "\n"


def losses(modelfile: Modelfile) -> tuple[Loss, ...]:
    """All that the text of `format_modelfile` would lose on its way through `ollama create -f`."""
    return tuple(
        Loss(instruction=entry.label, reason=reason)
        for entry in _entries(modelfile)
        for reason in entry.reasons
    )


def _entries(modelfile: Modelfile) -> Iterator[_Entry]:
    yield _text_entry("FROM", modelfile.from_, may_be_empty=False)
    yield from _adapter_entries(modelfile.adapters)
    for word in ("TEMPLATE", "SYSTEM", "RENDERER", "PARSER"):
        text: str | None = getattr(modelfile, word.lower())
        if text is not None:
            yield _text_entry(word, text, may_be_empty=False)
    if modelfile.requires is not None:
        yield _requires_entry(modelfile.requires)
    for name, value in modelfile.parameters.items():
        yield from _parameter_entries(name, value)
    for turn in modelfile.messages:
        yield _message_entry(turn)
    for text in modelfile.license:
        yield _text_entry("LICENSE", text)


def _text_entry(label: str, text: str, *, may_be_empty: bool = True) -> _Entry:
    reasons = tuple(_text_reasons(text))
    if not text and not may_be_empty:
        reasons = ("an empty text means that it is inherited",)
    return _Entry(label=label, text=f"{label} {_quoted(text)}", reasons=reasons)


def _adapter_entries(adapters: Sequence[str]) -> Iterator[_Entry]:
    for number, path in enumerate(adapters, 1):
        entry = _text_entry("ADAPTER", path)
        reasons = ("only the last ADAPTER counts",) if number < len(adapters) else ()
        yield replace(entry, reasons=reasons + entry.reasons)


def _requires_entry(version: str) -> _Entry:
    entry = _text_entry("REQUIRES", version)
    if not is_version(version):
        return replace(entry, reasons=("it is not a version such as 0.14.0",))
    return replace(entry, reasons=("its leading v is dropped",)) if version.startswith("v") else entry


def _parameter_entries(name: str, value: ParameterValue) -> Iterator[_Entry]:
    label = f"PARAMETER {name}"
    if isinstance(value, tuple):
        for text in value:
            yield _text_entry(label, text)
        if not value:
            yield _Entry(label=label, text="", reasons=("there is no way to write an empty list",))
        return
    text = value_text(value)
    yield _Entry(
        label=label, text=f"{label} {_quoted(text)}", reasons=tuple(_value_reasons(name, value, text))
    )


def _value_reasons(name: str, value: ParameterValue, text: str) -> Iterator[str]:
    if TYPES.get(name, tuple) is tuple:
        yield "it is a list of texts" if name in TYPES else "Ollama does not have it"
        return
    try:
        back = as_ollama_takes(name, text)
    except ValueError as error:
        yield f"{text} is not {error}"
        return
    if back != value:
        yield f"{text} would become {value_text(back)}"


def _message_entry(turn: Turn) -> _Entry:
    label = f"MESSAGE {turn.role}"
    entry = _text_entry(label, turn.content)
    if turn.role in ROLES:
        return entry
    reasons = (f"its role is none of {', '.join(ROLES)}", *entry.reasons)
    return replace(entry, label=f"MESSAGE {ascii(turn.role)[1:-1]}", reasons=reasons)


def _quoted(text: str) -> str:
    """A text as a value. Bare on one line where it can be, else in triple quotes."""
    bare = text and text == text.strip() and not text.startswith('"') and not re.search(r"[\r\n]", text)
    return text if bare else f"{TRIPLE}{text}{TRIPLE}"


def _text_reasons(text: str) -> Iterator[str]:
    positions = dropped_positions(text)
    if positions:
        others = len(positions) - 1
        more = f" and {others} more character{'s' if others > 1 else ''}" if others else ""
        yield f"{_character(text, positions[0])}{more} would be dropped"
    quotes = _QUOTED_LINE_END.search(text)
    if quotes:
        yield f"{TRIPLE} at the end of line {Source(text, '').position(quotes.start())[0]} would end the text"


def _character(text: str, at: int) -> str:
    """`U+00A0 NO-BREAK SPACE at 3:7`: a character and its line and column in the text."""
    line, column = Source(text, "").position(at)
    name = unicodedata.name(text[at], "")
    return f"U+{ord(text[at]):04X} {name} at {line}:{column}".replace("  ", " ")
