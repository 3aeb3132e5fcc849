"""Runs a Go template. Rules: Go's text/template/exec.go."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelforge.gotemplate.functions import FUNCTIONS, OLLAMAS, Struct, is_true, text_of
from modelforge.gotemplate.nodes import (
    Action,
    Branch,
    Call,
    Chain,
    Dot,
    Function,
    Jump,
    Literal,
    Pipe,
    Text,
    Variable,
)
from modelforge.gotemplate.problem import GoTemplateProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelforge.gotemplate.functions import Today, Value
    from modelforge.gotemplate.nodes import Command, Node, Operand

_DEEPEST = 100
_LONGEST = 16 << 20
_STEPS = 100_000


class _Jumped(Exception):
    """A `break` or `continue` on its way to its range."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def run(
    nodes: Sequence[Node],
    defined: Mapping[str, Sequence[Node]],
    data: Mapping[str, Any],
    today: Today,
    *,
    plain: bool = False,
) -> str:
    """What a template writes for data; `plain`: with Go's own functions alone.

    Raises:
        GoTemplateProblem: it fails.
    """
    state = _State(defined=defined, today=today, plain=plain)
    state.walk(nodes, _Scope(data, [("$", data)]))
    # half of a character that a template cut: it goes to the model as JSON, which has the replacement character for it
    return "".join(state.out).encode(errors="surrogateescape").decode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a node sees: the dot, and variables as names and values, the innermost last."""

    dot: Value
    variables: list[tuple[str, Value]]

    def with_dot(self, dot: Value) -> _Scope:
        """The same variables around another dot."""
        return _Scope(dot, self.variables)


@dataclass(slots=True)
class _State:
    """A run: what it has written, and how far it may still go."""

    defined: Mapping[str, Sequence[Node]]
    today: Today
    plain: bool
    out: list[str] = field(default_factory=list)
    length: int = 0
    depth: int = 0
    steps: int = 0
    line: int = 1

    def walk(self, nodes: Iterable[Node], scope: _Scope) -> None:
        """Writes nodes, one after the other."""
        for node in nodes:
            self._step()
            if isinstance(node, Text):
                self._write(node.text)
            elif isinstance(node, Action):
                value = self._pipe(node.pipe, scope)
                if not node.pipe.declares:
                    self._write("<no value>" if value is None else text_of(value))
            elif isinstance(node, Branch):
                known = len(scope.variables)
                self._branch(node, scope)
                del scope.variables[known:]  # what a branch declares is gone behind it
            elif isinstance(node, Jump):
                raise _Jumped(node.word)
            else:
                self._call(node, scope)

    def _branch(self, node: Branch, scope: _Scope) -> None:
        if node.word == "range":
            self._range(node, scope)
            return
        value = self._pipe(node.pipe, scope)
        if is_true(value):
            self.walk(node.body, scope.with_dot(value) if node.word == "with" else scope)
        else:
            self.walk(node.otherwise, scope)

    def _range(self, node: Branch, scope: _Scope) -> None:
        names, value = node.pipe.declares, self._pipe(node.pipe, scope)
        known = len(scope.variables)
        self._check(not isinstance(value, int) or len(names) < 2, "a number cannot go over two variables")  # noqa: PLR2004
        pairs = self._pairs(value)
        if not pairs:
            self.walk(node.otherwise, scope)
            return
        for key, item in pairs:
            taken = {0: (), 1: (item,), 2: (key, item)}[len(names)]
            for name, one in zip(names, taken, strict=True):
                if node.pipe.sets:
                    self._set(name, one, scope)
                else:
                    scope.variables.append((name, one))
            try:
                self.walk(node.body, scope.with_dot(item))
            except _Jumped as jump:
                if jump.word == "break":
                    break
            finally:
                del scope.variables[known:]

    def _pairs(self, value: Value) -> list[tuple[Value, Value]]:
        if value is None:
            return []
        if isinstance(value, Mapping) and not isinstance(value, Struct):
            return [(key, value[key]) for key in sorted(value)]
        if isinstance(value, list | tuple):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            self._check(value <= _STEPS, f"a range of {value} is too long")
            return [(number, number) for number in range(value)]
        raise self._problem(f"range cannot go over {text_of(value)}")

    def _call(self, node: Call, scope: _Scope) -> None:
        self.line = node.line
        self._check(node.name in self.defined, f"there is no template {node.name!r}")
        self.depth += 1
        self._check(self.depth <= _DEEPEST, "templates call each other without end")
        data = self._pipe(node.pipe, scope) if node.pipe else None
        self.walk(self.defined[node.name], _Scope(data, [("$", data)]))
        self.depth -= 1

    # -- values -------------------------------------------------------------------------------------

    def _pipe(self, pipe: Pipe, scope: _Scope) -> Value:
        """A pipeline's value, which its variable gets."""
        value = self._piped(pipe, scope)
        for name in pipe.declares:
            if pipe.sets:
                self._set(name, value, scope)
            else:
                scope.variables.append((name, value))
        return value

    def _piped(self, pipe: Pipe, scope: _Scope) -> Value:
        given: tuple[Value, ...] = ()
        for command in pipe.commands:
            given = (self._command(command, scope, given),)
        return given[0]

    def _command(self, command: Command, scope: _Scope, given: tuple[Value, ...]) -> Value:
        self._step()
        self.line = command.line
        first, *rest = command.operands
        if isinstance(first, Function):
            return self._function(first.name, rest, scope, given)
        self._check(not rest and not given, "only a function takes arguments")
        self._check(not isinstance(first, Literal) or first.value is not None, "nil is nothing to write")
        return self._operand(first, scope)

    def _function(
        self,
        name: str,
        operands: Sequence[Operand],
        scope: _Scope,
        given: tuple[Value, ...],
    ) -> Value:
        self._check(
            not self.plain or name not in OLLAMAS, f"there is no function {name} where .Messages is not used"
        )
        if name in {"and", "or"}:
            return self._first(name, operands, scope, given)
        values = [*(self._operand(one, scope) for one in operands), *given]
        if name == "currentDate":
            return self.today.current
        if name == "yesterdayDate":
            return self.today.yesterday
        function = FUNCTIONS[name]
        try:
            inspect.signature(function).bind(*values)
        except TypeError:
            raise self._problem(f"{name} does not take {len(values)} arguments") from None
        try:
            value = function(*values)
        except ValueError as error:
            raise self._problem(f"{name}: {error}") from None
        self._check(not isinstance(value, str) or len(value) <= _LONGEST, "it writes without end")
        return value

    def _first(
        self,
        name: str,
        operands: Sequence[Operand],
        scope: _Scope,
        given: tuple[Value, ...],
    ) -> Value:
        """`and` and `or`: the first value that decides, else the last; what stands behind it is not looked at."""
        self._check(bool(operands or given), f"{name} needs an argument")
        value: Value = None
        for one in operands:
            value = self._operand(one, scope)
            if is_true(value) == (name == "or"):
                return value
        return given[0] if given else value

    def _operand(self, operand: Operand, scope: _Scope) -> Value:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Dot):
            return self._fields(scope.dot, operand.fields)
        if isinstance(operand, Variable):
            found = [value for name, value in scope.variables if name == operand.name]
            self._check(bool(found), f"there is no variable {operand.name}")
            return self._fields(found[-1], operand.fields)
        if isinstance(operand, Chain):
            return self._fields(self._piped(operand.pipe, scope), operand.fields)
        if isinstance(operand, Pipe):
            return self._piped(operand, scope)
        return self._function(operand.name, (), scope, ())

    def _fields(self, value: Value, fields: tuple[str, ...]) -> Value:
        for name in fields:
            if value is None and self.plain:
                return None
            self._check(value is not None, f"nil has no field {name}")
            self._check(isinstance(value, Mapping), f"{text_of(value)} has no field {name}")
            self._check(not isinstance(value, Struct) or name in value, f"there is no field {name}")
            value = value.get(name)
        return value

    def _set(self, name: str, value: Value, scope: _Scope) -> None:
        variables = scope.variables
        for index in range(len(variables) - 1, -1, -1):
            if variables[index][0] == name:
                variables[index] = (name, value)
                return
        raise self._problem(f"there is no variable {name}")

    # -- limits: a template may come from anywhere ---------------------------------------------------------------

    def _write(self, text: str) -> None:
        self.length += len(text)
        self._check(self.length <= _LONGEST, "it writes without end")
        self.out.append(text)

    def _step(self) -> None:
        self.steps += 1
        self._check(self.steps <= _STEPS, "it runs without end")

    def _check(self, holds: bool, message: str) -> None:  # noqa: FBT001 (a condition, like assert's)
        if not holds:
            raise self._problem(message)

    def _problem(self, message: str) -> GoTemplateProblem:
        return GoTemplateProblem(message, self.line)
