"""Stop texts that can end no answer, since the model has no such text.

A stop text is looked for in what the model writes. An ordinary word may turn up in any answer, so no such stop text
is ever called dead; nor is a tag such as `</answer>`, which a prompt may ask for. Only the marks of chat formats
(`<|im_end|>`, `[/INST]`, `</s>`) come from the format alone: where neither the chat template nor the vocabulary has
one, nothing makes it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from modelforge import chat_templates
from modelforge.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from modelforge.gguf import Header

_PIPED = r"<\|[^\s<>|]+\|>|<｜[^\s<>｜]+｜>"
_BRACKETED = re.compile(r"<<?/?\w+>?>|\[\|?/?\w+\|?\]")
_OTHERS = ("<s>", "</s>", "<bos>", "<eos>", "<|turn>", "<turn|>")
"""Marks of models whose format is none of our own set."""
_JINJA = "tokenizer.chat_template"


def marks_in(text: str) -> tuple[str, ...]:
    """The marks of chat formats in a text, each once: `<|…|>` of any name, the others by their names."""
    return tuple(dict.fromkeys(_marks().findall(text)))


def dead_stops(
    stops: Sequence[str], texts: Sequence[str], path: Path, header: Header
) -> Iterator[tuple[str, str]]:
    """Each stop text that can end no answer, with what the model has instead ("" where that is not known).

    Nothing where the chat format or the vocabulary is not known.

    Args:
        stops: the model's stop texts.
        texts: all else that the model may take the text from: its own chat template, its prompts.
        path: the GGUF file.
        header: its header.
    """
    found = header.metadata.get(_JINJA)
    jinja = found if isinstance(found, str) else ""
    known = [text for text in (jinja, *texts) if text]
    suspects = {
        stop: [mark for mark in marks_in(stop) if not _there_is(mark, known, path, header)] for stop in stops
    }
    if not any(suspects.values()):
        return
    eos = chat_templates.end_token(path, header)
    choice = chat_templates.choose(jinja, eos) if jinja else None
    # a model's template may leave out what its format has: a turn for the system text, mostly
    format_has = {mark for stop in choice.stop for mark in marks_in(stop)} if choice else set()
    ends = marks_in(choice.end) if choice else ()
    for stop, missing in suspects.items():
        if not format_has.issuperset(missing):
            others = [mark for text in known for mark in marks_in(text)]
            yield stop, ends[0] if ends else eos or nearest(stop, others) or ""


def _there_is(mark: str, known: Sequence[str], path: Path, header: Header) -> bool:
    """Whether the model may make it, as far as can be told."""
    if any(mark in text or _makes(text, mark) for text in known):
        return True
    return chat_templates.has_token(path, header, mark) is not False


def _makes(text: str, mark: str) -> bool:
    """Whether a template may put the mark together, as `'<|' + role + '|>'` and `<|{{ .Role }}|>` do."""
    opening = re.match(r"\W+", mark)
    if opening is None:
        return False
    start = re.escape(opening[0])
    inside = r"\{[{%]|%s" if opening[0].startswith("[") else r"['\"]|\{|%s"
    return re.search(rf"{start}(?:{inside})|(['\"]){start}\1", text) is not None


@cache
def _marks() -> re.Pattern[str]:
    named = set(_OTHERS)
    for form in chat_templates.formats():
        pairs = [pair for pair in (form.system, form.user, form.assistant, form.around) if pair]
        for text in (*form.stop, form.eos, *(text for pair in pairs for text in pair)):
            named |= set(_BRACKETED.findall(text))
    longest_first = sorted(named, key=lambda mark: (-len(mark), mark))
    return re.compile("|".join([_PIPED, *map(re.escape, longest_first)]))
