"""What a template has written: read as a Modelfile, the profile's texts put back, problems placed in the template."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from modelforge import grammar
from modelforge.errors import Problem, TemplateProblem
from modelforge.modelfile import Modelfile, assemble, is_version
from modelforge.profile.schema import Parameters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from modelforge.grammar import Instruction
    from modelforge.opaque import Tokens

_ADDING = frozenset({"LICENSE", "MESSAGE", "ADAPTER"})
_FROM_HINT = "write: FROM [[ base ]]"


class Written:
    """A template's output. `sources` are the texts of all templates that took part, by file, the main one first."""

    def __init__(self, text: str, *, sources: Mapping[str, str], tokens: Tokens) -> None:
        self._source = grammar.Source(text, next(iter(sources)))
        self._sources = sources
        self._tokens = tokens
        self._found: tuple[Instruction, ...] = ()

    def modelfile(self, base: str) -> Modelfile:
        """The Modelfile, all texts exact.

        Raises:
            TemplateProblem: it is none, it is not FROM `base`, or a parameter is out of range.
        """
        try:
            return self._read(base)
        except TemplateProblem as error:
            raise TemplateProblem(problems=[self._placed(one) for one in error.problems]) from None

    def adapter(self, path: str, root: Path) -> Path:
        """The file that an ADAPTER names, which lies in the project.

        Raises:
            TemplateProblem: it does not, or is not there.
        """
        found = root / path
        if found.is_file() and found.resolve().is_relative_to(root.resolve()):
            return found
        one = next(one for one in self._found if one.word == "ADAPTER" and one.value == path)
        error = self._source.error(
            one.value_at,
            f"ADAPTER '{path}' is not a file of the project",
            hint="name a file relative to the project's root, or use adapters = […] in the profile",
        )
        raise TemplateProblem(problems=[self._placed(error.problems[0])])

    def left_out(self) -> Iterator[str]:
        """What of the profile the template does not use."""
        groups: dict[str, list[bool]] = {}
        for made in self._tokens.made.values():
            if made.label != "base":
                group, indexed, _ = made.label.partition("[")
                members = groups.setdefault(group, [])
                if indexed or isinstance(made, str) or (not made and group == "parameters.stop"):
                    members.append(made.label in self._tokens.used)
        for group, used in groups.items():
            if not all(used):
                count = f"{used.count(False)} of {len(used)} " if len(used) > 1 else ""
                yield f"the template leaves out {count}{group}"

    def replaced(self) -> Iterator[str]:
        """Instructions that have no effect because the same stands again further down."""
        last: dict[tuple[str, str], int] = {}
        for one in self._found:
            if one.word in _ADDING or (one.word, one.name) == ("PARAMETER", "stop"):
                continue
            what = one.word, one.name
            if what in last:
                yield f"the template writes {' '.join(what).strip()} more than once; the last one counts"
            last[what] = one.at

    def _read(self, base: str) -> Modelfile:
        raw = grammar.instructions(self._source)
        self._found = tuple(self._restored(one) for found in raw for one in self._expanded(found))
        for one in self._found:
            if one.word == "FROM" and one.value != base:
                message = f"FROM '{one.value}' is not the base that was picked, '{base}'"
                raise self._source.error(one.value_at, message, hint=_FROM_HINT)
        read = assemble(self._found, self._source)
        self._check_parameters(read)
        if read.requires is not None and not is_version(read.requires):
            self._fail("REQUIRES", f"REQUIRES '{read.requires}' is not a version", "a version such as 0.14.0")
        if "stop" not in read.parameters and "parameters.stop" in self._tokens.used:
            return replace(read, parameters={**read.parameters, "stop": ()})
        return read

    def _expanded(self, one: Instruction) -> tuple[Instruction, ...]:
        """The instruction once for each text of a list, where it takes a list."""
        takes_list = one.word in {"LICENSE", "ADAPTER"} or (one.word, one.name) == ("PARAMETER", "stop")
        listed = self._tokens.list_at(one.value) if takes_list else None
        return (one,) if listed is None else tuple(replace(one, value=str(text)) for text in listed)

    def _restored(self, one: Instruction) -> Instruction:
        """The instruction with its real text. Numbers stay as they are: a text there is an error to be named."""
        if one.word == "PARAMETER" and one.name != "stop":
            return one
        try:
            return replace(one, value=self._tokens.restore(one.value))
        except ValueError as error:
            hint = "write one line for each of its parts: [% for part in … %]"
            raise self._source.error(one.value_at, f"{one.word}: {error}", hint=hint) from None

    def _check_parameters(self, read: Modelfile) -> None:
        """Ranges, by the profile's own rules."""
        try:
            Parameters.model_validate(dict(read.parameters))
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            self._fail(name, f"PARAMETER {name} cannot be {read.parameters[name]}", first["msg"])

    def _fail(self, name: str, message: str, expected: str) -> None:
        one = next(one for one in reversed(self._found) if name in {one.word, one.name})
        raise self._source.error(one.value_at, message, expected=expected)

    # --- places ---

    def _placed(self, problem: Problem) -> Problem:
        """The problem at its place in a template, or, where that cannot be told, at its line of the output."""
        source, column = problem.source or "", problem.column or 1
        said = replace(
            problem,
            message=self._tokens.described(problem.message),
            source=self._tokens.described(source),
            column=len(self._tokens.described(source[: column - 1])) + 1,
        )
        place = self._place(source)
        if place is None:
            message = f"{said.message} (in line {problem.line} of what the template writes)"
            return replace(said, message=message, line=None, column=None)
        file, line, text = place
        kept = text[: column - 1] == source[: column - 1]
        return replace(said, file=file, line=line, source=text, column=column if kept else 1)

    def _place(self, written: str) -> tuple[str, int, str] | None:
        """File, line and text of the one template line that can have written this line, if it can be told."""
        best: list[tuple[str, int, str]] = []
        most = 0
        for file, text in self._sources.items():
            for number, line in enumerate(text.split("\n"), 1):
                literal = self._literal(line, written)
                if literal > most:
                    best, most = [], literal
                if literal == most > 0:
                    best.append((file, number, line))
        return best[0] if len(best) == 1 else None

    @staticmethod
    def _literal(line: str, written: str) -> int:
        """How many characters of a template line are literally in a written line; 0 if it cannot have written it."""
        pieces = re.split(r"\[\[.*?\]\]|\[%.*?%\]|\[#.*?#\]", line)
        if not re.fullmatch(".*".join(map(re.escape, pieces)), written):
            return 0
        return sum(len(piece.strip()) for piece in pieces)
