"""What a Go template is made of, as Go's text/template/parse/node.go has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Text that stands as it is."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Literal:
    """A constant: text, number, truth value, or None for `nil`."""

    value: str | float | bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """`.` and the fields behind it: `.A.B`."""

    fields: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """`$name` and the fields behind it; `$` is all the data."""

    name: str
    fields: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """A function's name."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """The fields of what a pipeline in parentheses gives."""

    pipe: Pipe
    fields: tuple[str, ...]


Operand: TypeAlias = "Literal | Dot | Variable | Function | Chain | Pipe"


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """An operand, or a function and its arguments."""

    operands: tuple[Operand, ...]
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipe:
    """Commands, each given what the last one gave; `declares` are variables that take the result, `sets` old ones."""

    commands: tuple[Command, ...]
    declares: tuple[str, ...] = ()
    sets: bool = False
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """A pipeline whose result is written, unless a variable takes it."""

    pipe: Pipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """`if`, `with` or `range`."""

    word: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """Another template in its place: `template` or `block`."""

    name: str
    pipe: Pipe | None
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Jump:
    """`break` or `continue`."""

    word: str


Node: TypeAlias = "Text | Action | Branch | Call | Jump"
