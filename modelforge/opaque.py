"""Opaque texts: how a profile's texts pass through a template without being touched.

Written out, a `Text` is a token of ASCII letters and digits; asked about itself (truth, length, equality, `in`) it
is the real text. What a template writes holds tokens, and `Tokens.restore` puts the real texts in their place. So
no text of a profile is ever read as Jinja or as Modelfile text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Untouchable(Exception):
    """Something in a template that would change a text of the profile."""

    hint = "put text before and after it in the template, or change it in the profile"

    def __init__(self, label: str, how: str) -> None:
        super().__init__(f"{how} would change {label}: a profile's text reaches the model as it stands there")


class Text(str):
    """One text, or several pieces joined.

    `label` is the expression that a template's author writes for it, `facts` what it has besides.
    """

    __slots__ = ("facts", "label", "real")
    real: str
    label: str
    facts: Mapping[str, object]

    def __len__(self) -> int:
        return len(self.real)

    def __eq__(self, other: object) -> bool:
        return self.real == _real(other)

    def __ne__(self, other: object) -> bool:
        return self.real != _real(other)

    def __lt__(self, other: str) -> bool:
        return self.real < cast("str", _real(other))

    def __hash__(self) -> int:
        return hash(self.real)

    def __contains__(self, part: object) -> bool:
        return cast("str", _real(part)) in self.real

    def __iter__(self) -> Iterator[str]:
        raise Untouchable(self.label, "a loop over its characters")

    def __getitem__(self, index: object) -> str:
        raise Untouchable(self.label, "taking a part")

    def __format__(self, spec: str) -> str:
        if spec:
            raise Untouchable(self.label, f"the format '{spec}'")
        return str(self)


class TextList(tuple[Text, ...]):  # noqa: SLOT001 (a tuple cannot have slots of its own)
    """Several texts. Written out as a whole it is one token, so that an empty list can be written, too."""

    token: str
    label: str

    def __str__(self) -> str:
        return self.token


def _real_text(made: Text | TextList) -> str:
    return made.real if isinstance(made, Text) else str(tuple(text.real for text in made))


def _real(value: object) -> object:
    return value.real if isinstance(value, Text) else value


@dataclass(kw_only=True, slots=True)
class Tokens:
    """The opaque texts of one rendering. `nonce` (lower-case hex) makes tokens that no template's text holds.

    `used` collects the labels of the texts that were put back.
    """

    nonce: str
    made: dict[str, Text | TextList] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def text(self, label: str, real: str, facts: Mapping[str, object] | None = None) -> Text:
        """A new opaque text."""
        made = Text(self._next())
        made.real, made.label, made.facts = real, label, facts or {}
        self.made[str(made)] = made
        return made

    def texts(self, label: str, reals: Sequence[str]) -> TextList:
        """A new opaque list of opaque texts."""
        made = TextList(self.text(f"{label}[{number}]", real) for number, real in enumerate(reals))
        made.token, made.label = self._next(), label
        self.made[made.token] = made
        return made

    def joined(self, value: object) -> object:
        """The value; if it is a plain text with tokens in it, an opaque text again."""
        if not self.carried_by(value) or isinstance(value, Text):
            return value
        made = Text(value)
        made.real = self._pattern.sub(lambda match: _real_text(self.made[match[0]]), made)
        made.label, made.facts = self.described(str(made)), {}
        return made

    def _next(self) -> str:
        return f"{self.nonce}n{len(self.made)}e"

    @property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(f"{self.nonce}n[0-9]+e")

    def carried_by(self, value: object) -> bool:
        """Whether a text holds a token."""
        return isinstance(value, str) and self.nonce in str(value)

    def carried_in(self, value: object) -> bool:
        """Whether a list or table holds a token anywhere."""
        if isinstance(value, dict):
            return self.carried_in(list(value.values()))
        if isinstance(value, (list, tuple)):
            return any(self.carried_by(part) or self.carried_in(part) for part in value)
        return False

    def list_at(self, value: str) -> TextList | None:
        """The list whose token the value is, now used with all its texts."""
        found = self.made.get(value)
        if not isinstance(found, TextList):
            return None
        self.used |= {found.label, *(text.label for text in found)}
        return found

    def restore(self, value: str) -> str:
        """The value with the real texts in place of their tokens.

        Raises:
            ValueError: a list stands where one text is meant.
        """
        return self._pattern.sub(self._real_at, value)

    def _real_at(self, match: re.Match[str]) -> str:
        found = self.made[match[0]]
        if isinstance(found, TextList):
            raise ValueError(f"[[ {found.label} ]] is a list")  # noqa: TRY004 (nobody passed a wrong type)
        self.used.add(found.label)
        return found.real

    def described(self, text: str) -> str:
        """The text for people: `[[ system ]]` for each token."""
        return self._pattern.sub(lambda match: f"[[ {self.made[match[0]].label} ]]", text)

    def harmed_in(self, output: str) -> bool:
        """Whether a piece of a token stands there that is no whole token any more."""
        whole = len(self._pattern.findall(output))
        folded = output.lower()
        return any(folded.count(part) != whole for part in (self.nonce[:10], self.nonce[-10:]))
