"""From tokens to nodes. Rules: Go's text/template/parse/parse.go."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelforge.gotemplate.functions import FUNCTIONS
from modelforge.gotemplate.lexer import Token, line_of, tokens
from modelforge.gotemplate.nodes import (
    Action,
    Branch,
    Call,
    Chain,
    Command,
    Dot,
    Function,
    Jump,
    Literal,
    Pipe,
    Text,
    Variable,
)
from modelforge.gotemplate.problem import problem_at

if TYPE_CHECKING:
    from modelforge.gotemplate.lexer import Kind
    from modelforge.gotemplate.nodes import Node, Operand
    from modelforge.gotemplate.problem import GoTemplateProblem

_CONSTANTS = {"true": True, "false": False, "nil": None}
_BRANCHES = frozenset({"if", "with", "range"})
_JUMPS = frozenset({"break", "continue"})
_ENDS = frozenset({"end", "else"})
_KEYWORDS = _BRANCHES | _JUMPS | _ENDS | {"define", "block", "template"}
_OCTAL = re.compile(r"[+-]?0\d+")
_GO_ONLY = re.compile(r"\\(?:[0-7]{3}|.)", re.DOTALL)
_DEEPEST = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A template's nodes, and those of the templates that it defines, by name."""

    nodes: tuple[Node, ...]
    defined: dict[str, tuple[Node, ...]]


def parse(source: str) -> Parsed:
    """Parses a template.

    Raises:
        GoTemplateProblem: it is none.
    """
    parser = _Parser(source, list(tokens(source)))
    nodes, end = parser.block()
    if end is not None:
        raise parser.problem(f"unexpected {{{{ {end.text} }}}}", end)
    return Parsed(nodes=tuple(nodes), defined=parser.defined)


@dataclass(slots=True)
class _Parser:
    """A place among the tokens. `variables` are those that are known there; `loops` counts ranges around it."""

    source: str
    tokens: list[Token]
    at: int = 0
    variables: list[str] = field(default_factory=lambda: ["$"])
    loops: int = 0
    depth: int = 0
    defined: dict[str, tuple[Node, ...]] = field(default_factory=dict)

    def problem(self, message: str, token: Token) -> GoTemplateProblem:
        """What is wrong, at the place of a token."""
        return problem_at(message, self.source, token.at)

    # -- nodes --------------------------------------------------------------------------------------

    def block(self) -> tuple[list[Node], Token | None]:
        """Nodes up to an `end` or `else`, which is given, or to the end of all."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.problem(f"more than {_DEEPEST} blocks in each other", self._peek())
        nodes: list[Node] = []
        while self.at < len(self.tokens):
            token = self._next()
            if token.kind == "text":
                nodes.append(Text(text=token.text))
                continue
            word = self._peek()
            if word.kind == "word" and word.text in _ENDS:
                self._next()
                self.depth -= 1
                return nodes, word
            node = self._action(word)
            if node is not None:
                nodes.append(node)
        self.depth -= 1
        return nodes, None

    def _action(self, word: Token) -> Node | None:
        if word.kind != "word" or word.text not in _KEYWORDS:
            pipe = self._pipe("close", may_declare=True)
            return Action(pipe=pipe)
        self._next()
        if word.text in _BRANCHES:
            return self._branch(word)
        if word.text in _JUMPS:
            if not self.loops:
                raise self.problem(f"{{{{ {word.text} }}}} outside of a range", word)
            self._expect("close", word.text)
            return Jump(word=word.text)
        return self._named(word)

    def _branch(self, word: Token) -> Branch:
        known = len(self.variables)
        pipe = self._pipe("close", may_declare=True, ranging=word.text == "range")
        self.loops += word.text == "range"
        body, end = self.block()
        self.loops -= word.text == "range"
        otherwise: list[Node] = []
        if end is not None and end.text == "else":
            otherwise = self._otherwise(word)
        elif end is None:
            raise self.problem(f"{{{{ {word.text} }}}} has no {{{{ end }}}}", word)
        else:
            self._expect("close", "end")
        del self.variables[known:]
        return Branch(word=word.text, pipe=pipe, body=tuple(body), otherwise=tuple(otherwise))

    def _otherwise(self, word: Token) -> list[Node]:
        """What stands behind an `else`, up to the `end` of the branch."""
        token = self._peek()
        chained = {"if": {"if"}, "with": {"with"}, "range": set()}[word.text]
        if token.kind == "word" and token.text in chained:
            self._next()
            return [self._branch(token)]  # which takes the one `end` for both
        self._expect("close", "else")
        nodes, end = self.block()
        if end is None or end.text != "end":
            raise self.problem(f"{{{{ {word.text} }}}} has no {{{{ end }}}}", word)
        self._expect("close", "end")
        return nodes

    def _named(self, word: Token) -> Call | None:
        """`define`, `block` or `template`."""
        name = self._expect("string", word.text)
        called = str(self._constant(name))
        if word.text == "define":
            self._expect("close", word.text)
            self._define(called, word)
            return None
        pipe = None if self._peek().kind == "close" else self._pipe("close")
        if pipe is None:
            self._expect("close", word.text)
        if word.text == "block":
            if pipe is None:
                raise self.problem("{{ block }} needs a value for its template", word)
            self._define(called, word)
        return Call(name=called, pipe=pipe, line=line_of(self.source, word.at))

    def _define(self, name: str, word: Token) -> None:
        outer, self.variables = self.variables, ["$"]
        loops, self.loops = self.loops, 0
        nodes, end = self.block()
        if end is None or end.text != "end":
            raise self.problem(f"{{{{ {word.text} }}}} has no {{{{ end }}}}", word)
        self._expect("close", "end")
        self.variables, self.loops = outer, loops
        self.defined[name] = tuple(nodes)

    # -- pipelines ----------------------------------------------------------------------------------

    def _pipe(self, end: str, *, may_declare: bool = False, ranging: bool = False) -> Pipe:
        first = self._peek()
        names, sets = self._targets(ranging=ranging) if may_declare else ((), False)
        self.variables += names  # Go counts them from here on, those that are only set too; running tells
        commands = [self._command(end)]
        while self._peek().text == "|":
            self._next()
            if self._peek().kind == "close":  # Go takes a pipe with nothing behind it
                break
            commands.append(self._command(end))
            if isinstance(commands[-1].operands[0], Literal):
                raise self.problem("a pipeline goes on with what takes no argument", first)
        self._expect(
            "close" if end == "close" else "sign", "a pipeline", text=None if end == "close" else end
        )
        return Pipe(commands=tuple(commands), declares=names, sets=sets, line=line_of(self.source, first.at))

    def _targets(self, *, ranging: bool) -> tuple[tuple[str, ...], bool]:
        """The variables before `:=` or `=`; none where there are none."""
        names, at = [], self.at
        while self.tokens[at].kind == "variable":
            names.append(self.tokens[at].text)
            after = self.tokens[at + 1]
            if after.text in {":=", "="}:
                self.at = at + 2
                return tuple(names), after.text == "="
            if after.text != "," or not ranging or len(names) > 1:
                break
            at += 2
        return (), False

    def _command(self, end: str) -> Command:
        first = self._peek()
        operands = [self._operand()]
        while True:
            token = self._peek()
            if token.kind == "close" or token.text == "|" or (end == ")" and token.text == ")"):
                break
            if not token.spaced:
                raise self.problem(f"unexpected {token.text!r}", token)
            operands.append(self._operand())
        return Command(operands=tuple(operands), line=line_of(self.source, first.at))

    def _operand(self) -> Operand:
        token = self._next()
        if token.kind == "dot":
            return Dot(fields=())
        if token.kind == "field":
            return Dot(fields=(token.text[1:], *self._fields()))
        if token.kind == "variable":
            self._known(token.text, token)
            return Variable(name=token.text, fields=self._fields())
        if token.text == "(" and token.kind == "sign":
            self.depth += 1
            if self.depth > _DEEPEST:
                raise self.problem(f"more than {_DEEPEST} parentheses in each other", token)
            pipe = self._pipe(")")
            self.depth -= 1
            fields = self._fields()
            return Chain(pipe=pipe, fields=fields) if fields else pipe
        if token.kind == "word" and token.text not in _KEYWORDS:
            return self._word(token)
        if token.kind in {"string", "char", "number"}:
            return Literal(value=self._constant(token))
        missing = token.kind == "close"
        raise self.problem("a value is missing" if missing else f"unexpected {token.text!r}", token)

    def _word(self, token: Token) -> Operand:
        if token.text in _CONSTANTS:
            return Literal(value=_CONSTANTS[token.text])
        if token.text not in FUNCTIONS:
            raise self.problem(f"there is no function {token.text}", token)
        return Function(name=token.text)

    def _fields(self) -> tuple[str, ...]:
        names = []
        while self._peek().kind == "field" and not self._peek().spaced:
            names.append(self._next().text[1:])
        return tuple(names)

    def _known(self, name: str, token: Token) -> None:
        if name not in self.variables:
            raise self.problem(f"there is no variable {name}", token)

    def _constant(self, token: Token) -> str | float:
        if token.text.startswith("`"):
            return token.text[1:-1].replace("\r", "")
        try:
            if token.kind == "number":
                return _number(token.text)
            text = ast.literal_eval(_python(token.text, quote=token.text[0]))
            return ord(text) if token.kind == "char" else str(text)
        except (ValueError, SyntaxError, TypeError):
            raise self.problem(f"{token.text} is no constant", token) from None

    # -- tokens -------------------------------------------------------------------------------------

    def _peek(self) -> Token:
        return self.tokens[min(self.at, len(self.tokens) - 1)]

    def _next(self) -> Token:
        token = self._peek()
        self.at += 1
        return token

    def _expect(self, kind: Kind, where: str, *, text: str | None = None) -> Token:
        token = self._next()
        if token.kind != kind or (text is not None and token.text != text):
            raise self.problem(f"unexpected {token.text!r} in {where}", token)
        return token


def _number(text: str) -> float:
    clean = text.replace("_", "")
    if _OCTAL.fullmatch(clean):
        return int(clean, 8)
    try:
        return int(clean, 0)
    except ValueError:
        return float(clean)


def _python(quoted: str, quote: str) -> str:
    """A quoted text of Go as one of Python, which knows the same escapes but for those that it alone has."""

    def checked(found: re.Match[str]) -> str:
        if len(found[0]) == 2 and found[0][1] not in f"abfnrtvxuU\\{quote}":  # noqa: PLR2004 (a backslash and a letter)
            raise ValueError(found[0])
        return found[0]

    return _GO_ONLY.sub(checked, quoted)
