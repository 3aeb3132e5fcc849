"""A conversation as Ollama's Go template of a model makes it into the text that the model sees.

What a template is given, how turns of one role become one, and how a template that knows only `.Prompt` is run once a
turn: ollama template/template.go `Execute` (v0.24.0 and v0.32.15). Without tools: what a model answers to them only
Ollama reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from modelforge.gotemplate import NoList, Parsed, Struct, Today, parse, run
from modelforge.gotemplate.nodes import Action, Branch, Call, Command, Dot, Pipe, Variable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from modelforge.gotemplate.nodes import Node, Operand
    from modelforge.modelfile import Turn

_RESPONSE = Action(pipe=Pipe(commands=(Command(operands=(Dot(fields=("Response",)),), line=1),), line=1))
_MESSAGE: Mapping[str, Any] = {
    "Thinking": "",
    "Images": NoList(),
    "ToolCalls": NoList(),
    "ToolName": "",
    "ToolCallID": "",
}


class _NoTools(NoList):
    """No tools: Ollama prints them as JSON."""

    __slots__ = ()
    text = "null"


@dataclass(frozen=True, kw_only=True, slots=True)
class GoPrompt:
    """A template that is ready to make prompts. `names` are all fields and variables in it, in small letters."""

    parsed: Parsed
    names: frozenset[str]

    def text(self, turns: Sequence[Turn], today: date) -> str:
        """The prompt for a conversation, the model's own system prompt and messages included.

        Raises:
            GoTemplateProblem: the template fails.
        """
        days = Today(current=today.isoformat(), yesterday=(today - timedelta(days=1)).isoformat())
        system, collated = _collated(turns)
        if "messages" not in self.names:
            return "".join(self._by_turns(collated, days))
        messages = [
            Struct({"Role": role, "Content": content, **_MESSAGE}) for role, content in collated
        ] or NoList()
        data = {"System": system, "Messages": messages, "Tools": _NoTools(), **_rest("")}
        return run(self.parsed.nodes, self.parsed.defined, data, days)

    def _by_turns(self, turns: Sequence[tuple[str, str]], days: Today) -> Iterator[str]:
        """For each question the template with `.System`, `.Prompt` and `.Response`; the last one up to `.Response`."""
        said = {"System": "", "Prompt": "", "Response": ""}
        for role, content in turns:
            full = {"system": said["Prompt"] or said["Response"], "user": said["Response"]}.get(role, "")
            if full:
                yield run(self.parsed.nodes, self.parsed.defined, {**_rest(""), **said}, days)
                said = dict.fromkeys(said, "")
            key = {"system": "System", "user": "Prompt", "assistant": "Response"}.get(role)
            if key:
                said[key] = content
        nodes, _ = _up_to_response(self.parsed.nodes, cut=False)
        yield run(nodes, {}, {**_rest(""), **said}, days, plain=True)


@lru_cache(maxsize=16)
def go_prompt(template: str) -> GoPrompt:
    """Reads a Go template as Ollama does.

    Raises:
        GoTemplateProblem: it is none.
    """
    parsed = parse(template)
    every = [parsed.nodes, *parsed.defined.values()]
    names = frozenset(name.lower() for nodes in every for name in _names(nodes))
    if not names & {"messages", "response"}:
        parsed = replace(parsed, nodes=(*parsed.nodes, _RESPONSE))
    return GoPrompt(parsed=parsed, names=names)


def _rest(response: str) -> dict[str, Any]:
    """What else a template may ask for. Our tests tell a model that can think not to, which is a setting too."""
    return {"Response": response, "Think": False, "ThinkLevel": "", "IsThinkSet": True}


def _collated(turns: Sequence[Turn]) -> tuple[str, list[tuple[str, str]]]:
    """All system texts as one, and the turns, those of one role after another made into one."""
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    collated: list[tuple[str, str]] = []
    for turn in turns:
        if collated and collated[-1][0] == turn.role:
            collated[-1] = (turn.role, f"{collated[-1][1]}\n\n{turn.content}")
        else:
            collated.append((turn.role, turn.content))
    return system, collated


def _names(nodes: Sequence[Node]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Branch):
            yield from _names_in(node.pipe)
            yield from _names(node.body)
            yield from _names(node.otherwise)
        elif isinstance(node, Action) or (isinstance(node, Call) and node.pipe):
            yield from _names_in(node.pipe) if node.pipe else ()


def _names_in(operand: Operand) -> Iterator[str]:
    if isinstance(operand, Pipe):
        for command in operand.commands:
            for one in command.operands:
                yield from _names_in(one)
    elif isinstance(operand, Dot):
        yield from operand.fields
    elif isinstance(operand, Variable):
        yield from (operand.name, *operand.fields)


def _up_to_response(nodes: Sequence[Node], *, cut: bool) -> tuple[tuple[Node, ...], bool]:
    """The nodes without those behind the first `.Response`, and whether there was one (`deleteNode`)."""
    kept: list[Node] = []
    for node in nodes:
        if cut:
            break
        if isinstance(node, Branch):
            body, cut = _up_to_response(node.body, cut=cut)
            otherwise, cut = _up_to_response(node.otherwise, cut=cut)
            kept.append(replace(node, body=body, otherwise=otherwise))
        elif isinstance(node, Action):
            pipe, cut = _pipe_up_to_response(node.pipe)
            if pipe is not None:
                kept.append(Action(pipe=pipe))
        else:
            kept.append(node)
    return tuple(kept), cut


def _pipe_up_to_response(pipe: Pipe) -> tuple[Pipe | None, bool]:
    """The same for a pipeline, which is gone where a command of it is."""
    cut, commands = False, []
    for command in pipe.commands:
        operands: list[Operand] = []
        for one in command.operands:
            if cut:
                break
            inner: Operand | None = one
            if isinstance(one, Pipe):
                inner, cut = _pipe_up_to_response(one)
            else:
                cut = isinstance(one, Dot) and "Response" in one.fields
            if inner is not None:
                operands.append(inner)
        if not operands:
            return None, cut
        commands.append(replace(command, operands=tuple(operands)))
    return replace(pipe, commands=tuple(commands)), cut
