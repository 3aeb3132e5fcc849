"""Ollama's Go template for a model that brings its chat format in Jinja only.

Older servers know nothing of a GGUF's Jinja template; without a Go template they send the bare prompt. Here is
our own small set of the usual formats (data/chat/formats.toml). A format is taken only if the model's own
template, rendered, gives its text character by character; else the model's format is unknown, and that is said.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from modelforge.gguf import LongArray
from modelforge.resources import data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from modelforge.gguf import Header

Pair: TypeAlias = tuple[str, str]
Said: TypeAlias = tuple[str, str]
"""A role and what it says."""

_BOS = "\ue000bos\ue000"
_TODAY = "\ue000today\ue000"
_ISO_DATE = "%Y-%m-%d"  # what Ollama's {{ currentDate }} gives
_SYSTEM = "Answer with one short line."
_TURNS: tuple[Said, ...] = (
    ("user", "Name a colour."),
    ("assistant", "Blue."),
    ("user", "And another one?"),
    ("assistant", "Green."),
    ("user", "Thank you!"),
)
_LENGTHS = (1, 3, 5)
_TOKENS = "tokenizer.ggml.tokens"
_U64 = struct.Struct("<Q")
_STRINGS = struct.pack("<II", 9, 8)  # an array, of texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """What stands before and after each turn. `around` is set if the system text goes into a user turn.

    `lead` stands before the system text in its turn, `default` is the system turn's text where there is none;
    both are the model's own.
    """

    name: str
    mark: str
    user: Pair
    assistant: Pair
    stop: tuple[str, ...]
    prompt: str
    eos: str = ""
    system: Pair | None = None
    merge: str = ""
    around: Pair = ("", "")
    lead: str = ""
    default: str | None = None

    def text(self, system: str | None, turns: Sequence[Said]) -> str:
        """A conversation that ends with the user, as the model is to see it, without its begin-of-text token."""
        parts = [] if self.system is None else [self._system_turn(system)]
        merged = {"first": 0, "last": len(turns) - 1}.get(self.merge)
        for index, (role, said) in enumerate(turns):
            before, after = self.user if role == "user" else self.assistant
            inner = self.around[0] + system + self.around[1] if system and index == merged else ""
            parts.append(before + inner + said + after)
        return "".join(parts) + self.prompt

    def _system_turn(self, system: str | None) -> str:
        before, after = self.system or ("", "")
        if system is None:
            return "" if self.default is None else before + self.default + after
        return before + self.lead + system + after


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A format's name, its Go template, the texts that end an answer, and the one that stands behind each.

    `end` is "" where nothing does.
    """

    name: str
    template: str
    stop: tuple[str, ...]
    end: str


@dataclass(frozen=True, slots=True)
class _Render:
    """A model's own template with one spelling of the end-of-text token. None where it refuses."""

    template: Any
    eos: str
    known: dict[tuple[str | None, int], str | None] = field(default_factory=dict)

    def __call__(self, system: str | None, turns: int) -> str | None:
        """The conversation's first `turns` turns, without a begin-of-text token at the start."""
        if (system, turns) not in self.known:
            self.known[system, turns] = self._render(system, turns)
        return self.known[system, turns]

    def _render(self, system: str | None, turns: int) -> str | None:
        said = [("system", system)] if system is not None else []
        messages = [{"role": role, "content": text} for role, text in (*said, *_TURNS[:turns])]
        try:
            text = self.template.render(
                messages=messages, add_generation_prompt=True, bos_token=_BOS, eos_token=self.eos
            )
        except Exception:  # noqa: BLE001 (a foreign program: whatever it raises, it does not render)
            return None
        return str(text).removeprefix(_BOS).replace(_BOS, "<s>")


def choose(jinja: str, eos: str | None) -> Choice | None:
    """The format of a model, or None if it is none of ours.

    Args:
        jinja: the GGUF's `tokenizer.chat_template`.
        eos: its end-of-text token, None where that is not known.
    """
    marked = [form for form in formats() if form.mark in jinja]
    # a template that can do without today's date does so here; the others get it as a placeholder
    renders = [render for dated in (False, True) if marked and (render := _compiled(jinja, dated=dated))]
    return next((choice for render in renders if (choice := _first(marked, jinja, eos, render))), None)


def _first(
    marked: Sequence[Format], jinja: str, eos: str | None, render: Callable[[str], _Render]
) -> Choice | None:
    for form in marked:
        if eos is not None and form.eos not in {"", eos} and "eos_token" in jinja:
            continue
        fitted = _fitted(form, render(form.eos if eos is None else eos))
        if fitted is not None:
            end = form.assistant[1].strip()
            return Choice(name=form.name, template=go_template(fitted), stop=form.stop, end=end)
    return None


def is_imported(template: str) -> bool:
    """Whether a Go template is one that Ollama adds itself to a GGUF that brings the same format in Jinja."""
    return hashlib.sha256(template.encode()).hexdigest() in _table()["imported"]


def end_token(path: Path, header: Header) -> str | None:
    """The text of a GGUF's end-of-text token; None if it names none."""
    index = header.metadata.get("tokenizer.ggml.eos_token_id")
    tokens = header.metadata.get(_TOKENS)
    if isinstance(tokens, tuple) and isinstance(index, int) and index < len(tokens):
        return str(tokens[index])
    if not isinstance(tokens, LongArray) or not isinstance(index, int) or index >= tokens.length:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        return _token(whole, index)


def has_token(path: Path, header: Header, text: str) -> bool | None:
    """Whether a GGUF's vocabulary has the text as one token; None if it has no vocabulary, or is not there.

    Where the vocabulary is long, its bytes are searched, so a yes may be by chance; a no is certain.
    """
    tokens = header.metadata.get(_TOKENS)
    if isinstance(tokens, tuple):
        return text in tokens
    if not isinstance(tokens, LongArray):
        return None
    # the weights come last, so what is before them is all of the header
    end = header.file_bytes - sum(tensor.bytes for tensor in header.tensors)
    token = text.encode()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            at = _tokens_at(whole)
            return None if at is None else whole.find(_U64.pack(len(token)) + token, at, end) >= 0
    except (OSError, ValueError):
        return None


def _token(whole: mmap.mmap, index: int) -> str | None:
    """Walks the array of tokens, which a header leaves out for its size."""
    at = _tokens_at(whole)
    if at is None:
        return None
    for _ in range(index):
        at += 8 + _U64.unpack_from(whole, at)[0]
    (length,) = _U64.unpack_from(whole, at)
    return whole[at + 8 : at + 8 + length].decode(errors="replace")


def _tokens_at(whole: mmap.mmap) -> int | None:
    """Where the first token of the array begins."""
    key = _TOKENS.encode()
    at = whole.find(_U64.pack(len(key)) + key + _STRINGS)
    return None if at < 0 else at + 8 + len(key) + len(_STRINGS) + 8


@cache
def _table() -> Mapping[str, Any]:
    import tomli  # noqa: PLC0415 (only models from files need it)

    return tomli.loads(data("chat/formats.toml"))


@cache
def formats() -> tuple[Format, ...]:
    """Our own set, in order."""
    return tuple(_format(line) for line in _table()["format"])


def go_template(form: Format) -> str:
    """The format in Go's template language, over Ollama's `.Messages` and `.System`.

    Trim markers are left out: blanks and newlines belong to the format.
    """
    last = "{{ $last := eq (len (slice $.Messages $i)) 1 }}"
    turns = [
        *_system_branch(form),
        ('eq .Role "user"', form.user[0] + _merged_system(form) + "{{ .Content }}" + form.user[1]),
        ('eq .Role "assistant"', form.assistant[0] + "{{ .Content }}" + _unless_last(form.assistant[1])),
    ]
    branches = "{{ else ".join(f"if {test} }}}}{text}" for test, text in turns)
    asks = f'{{{{ if and $last (ne .Role "assistant") }}}}{form.prompt}{{{{ end }}}}' if form.prompt else ""
    head = _default_system(form) + ("{{ $system := .System }}" if form.merge == "first" else "")
    return f"{head}{{{{ range $i, $_ := .Messages }}}}{last}{{{{ {branches}{{{{ end }}}}{asks}{{{{ end }}}}"


def _system_branch(form: Format) -> list[Pair]:
    if form.system is None:
        return []
    lead = f"{{{{ if eq $i 0 }}}}{_with_date(form.lead)}{{{{ end }}}}" if form.lead else ""
    return [('eq .Role "system"', f"{form.system[0]}{lead}{{{{ .Content }}}}{form.system[1]}")]


def _default_system(form: Format) -> str:
    if form.system is None or form.default is None:
        return ""
    return f"{{{{ if not .System }}}}{form.system[0]}{_with_date(form.default)}{form.system[1]}{{{{ end }}}}"


def _merged_system(form: Format) -> str:
    before, after = form.around
    if form.merge == "first":
        return f'{{{{ if $system }}}}{before}{{{{ $system }}}}{after}{{{{ $system = "" }}}}{{{{ end }}}}'
    if form.merge == "last":
        return f"{{{{ if and $last $.System }}}}{before}{{{{ $.System }}}}{after}{{{{ end }}}}"
    return ""


def _unless_last(text: str) -> str:
    return f"{{{{ if not $last }}}}{text}{{{{ end }}}}" if text else ""


def _format(line: Mapping[str, Any]) -> Format:
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in line.items()}
    return Format(**{"prompt": line["assistant"][0], **lists})


def _fitted(form: Format, render: Callable[[str | None, int], str | None]) -> Format | None:
    """The format with the model's own system texts, if the model's template gives just what it gives."""
    fitted = _with_own_texts(form, render)
    if fitted is None:
        return None
    for turns in _LENGTHS:
        if render(None, turns) != fitted.text(None, _TURNS[:turns]):
            return None
        with_system = render(_SYSTEM, turns)
        # a template that refuses a system text, or drops it, has no opinion where it goes
        asked = with_system is not None and _SYSTEM in with_system
        if asked and with_system != fitted.text(_SYSTEM, _TURNS[:turns]):
            return None
    return fitted


def _with_own_texts(form: Format, render: Callable[[str | None, int], str | None]) -> Format | None:
    """Finds what the template puts before a system text, and in its place."""
    if form.system is None:
        return form
    tail = form.text(None, _TURNS[:1])
    plain = render(None, 1)
    if plain is None or not plain.endswith(tail):
        return None
    given = render(_SYSTEM, 1) or ""
    lead = _between(given, form.system[0], _SYSTEM + form.system[1] + tail) or ""
    default = _between(plain, form.system[0], form.system[1] + tail) if plain != tail else None
    if "{{" in lead + (default or ""):
        return None
    return replace(form, lead=lead, default=default)


def _with_date(text: str) -> str:
    return text.replace(_TODAY, "{{ currentDate }}")


def _between(text: str, before: str, after: str) -> str | None:
    if text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after):
        return text[len(before) : len(text) - len(after)]
    return None


def _compiled(jinja: str, *, dated: bool) -> Callable[[str], _Render] | None:
    """The template as transformers and llama.cpp set Jinja up; None if it is no Jinja."""
    from jinja2 import TemplateError  # noqa: PLC0415 (slow to import)
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    def refuse(message: str) -> str:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    if dated:
        environment.globals["strftime_now"] = lambda form: _TODAY if form == _ISO_DATE else refuse(form)
    try:
        template = environment.from_string(jinja)
    except TemplateError:
        return None
    return lambda eos: _Render(template, eos)
