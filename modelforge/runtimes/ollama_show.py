"""What Ollama's show says about a model, as a `Standing` and as a GGUF `Header`.

The answer of /api/show was made for people. What is exact in it (ollama server/routes.go `GetModelInfo`,
server/images.go `Model.String`, the same in v0.24.0 and v0.32.15; tried on both):

- `system`, `messages`, `requires` are exact JSON strings. Of messages only role and content are shown.
- `parameters` has one line for each value in Go's `%#v`: strings quoted with escapes, so exact, in any order;
  numbers as floats in their shortest form (`1.048576e+06`), so exact up to 2^53. An empty `stop` list shows as
  no line at all, as if there was none.
- `license` joins all licences with a line feed; where one ends and the next begins is not told.
- `template` is, from 0.30 on, the GGUF's own Jinja template where that is what runs. The Go template stands in
  `modelfile`, whose TEMPLATE comes right behind the FROM, ADAPTER and DRAFT lines, in quotes, nothing escaped:
  its end is certain before a system prompt, else guessed from the instruction that follows. No template shows as
  `{{ .Prompt }}`, as one that says just that would.
- The weights' digests, renderer and parser stand in `modelfile` alone. Its text after TEMPLATE and SYSTEM,
  which hold anything, is only read where both end for certain.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelforge import ggml
from modelforge.gguf import LONG, Header, LongArray, Tensor
from modelforge.runtimes import Standing, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelforge.gguf import Value
    from modelforge.runtimes import ParameterValue

NO_TEMPLATE = "{{ .Prompt }}"
_VOCABULARY = "tokenizer.ggml.tokens"
_DIGEST = re.compile(r"sha256[-:]([0-9a-f]{64})$")
_PARAMETER = re.compile(r"(\S+) +(.*)")
_FILE_LINE = re.compile(r"(FROM|ADAPTER|DRAFT) ([^\n]*)\n")
_COMMENTS = re.compile(r"(?:#[^\n]*\n|\n)*")
_NEXT = re.compile(r"(?=SYSTEM |RENDERER |PARSER |PARAMETER |LICENSE |MESSAGE |\n?\Z)")
_QUOTED = (
    re.compile(rf'"""(.*?)"""\n{_NEXT.pattern}', re.DOTALL),
    re.compile(rf'"(.*?)"\n{_NEXT.pattern}', re.DOTALL),
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
_SHORT_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Modelfile:
    """What is only told in the Modelfile text: digests by instruction, and three values."""

    weights: tuple[str, ...]
    template: str
    renderer: str
    parser: str


def standing_of(show: Mapping[str, Any], manifest: str) -> Standing:
    """The standing of a model.

    Args:
        show: the answer of /api/show.
        manifest: the digest from the server's list.
    """
    system = show.get("system") or ""
    text = _read_modelfile(show.get("modelfile") or "", template=show.get("template") or "", system=system)
    return Standing(
        weights=text.weights,
        system=system,
        template="" if text.template == NO_TEMPLATE else text.template,
        license=(show["license"],) if show.get("license") else (),
        parameters=parse_parameters(show.get("parameters") or ""),
        messages=tuple(
            Turn(role=message.get("role", ""), content=message.get("content", ""))
            for message in show.get("messages") or ()
        ),
        renderer=text.renderer,
        parser=text.parser,
        requires=show.get("requires") or "",
        manifest=manifest,
    )


def parse_parameters(text: str) -> dict[str, ParameterValue]:
    """The parameters of show's text, typed; a name that comes several times is a list (`stop`)."""
    found: dict[str, list[ParameterValue]] = {}
    for line in text.split("\n"):
        match = _PARAMETER.fullmatch(line)
        if match:
            found.setdefault(match[1], []).append(_parse_value(match[2]))
    return {
        name: tuple(map(str, values)) if name == "stop" or len(values) > 1 else values[0]
        for name, values in found.items()
    }


def _parse_value(text: str) -> ParameterValue:
    if text.startswith('"') and text.endswith('"'):
        return _ESCAPE.sub(_unescape, text[1:-1])
    if text in {"true", "false"}:
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    return chr(int(code, 16)) if code else _SHORT_ESCAPES.get(match[4], match[4])


def _read_modelfile(text: str, *, template: str, system: str) -> _Modelfile:
    at = _skip(_COMMENTS, text, 0)
    files: dict[str, list[str]] = {"FROM": [], "DRAFT": [], "ADAPTER": []}
    while match := _FILE_LINE.match(text, at):
        digest = _DIGEST.search(match[2])
        if digest:
            files[match[1]].append(f"sha256:{digest[1]}")
        at = match.end()
    rest = text[at:]
    shown, rest = _take_template(rest.removeprefix("TEMPLATE "), template, system)
    if system:
        rest = rest.removeprefix(f"SYSTEM {quoted(system)}\n")
    renderer, rest = _take_line(rest, "RENDERER ")
    parser, rest = _take_line(rest, "PARSER ")
    return _Modelfile(
        weights=(*files["FROM"], *files["DRAFT"], *files["ADAPTER"]),
        template=shown,
        renderer=renderer,
        parser=parser,
    )


def _take_template(rest: str, template: str, system: str) -> tuple[str, str]:
    """The template at the beginning of `rest`, and what comes behind it.

    It mostly is the one that show tells (`template`), so its end is known. Else Jinja runs, and the end is the
    first closing quote before the known SYSTEM, or before another instruction.
    """
    known = f"{quoted(template)}\n"
    if rest.startswith(known):
        return template, rest[len(known) :]
    if system and (at := rest.find(f"\nSYSTEM {quoted(system)}\n")) >= 0:
        return _unquoted(rest[:at]), rest[at + 1 :]
    line, _newline, after = rest.partition("\n")
    if not line.startswith('"') or (line.endswith('"') and _NEXT.match(after)):
        return _unquoted(line), after
    for pattern in _QUOTED:
        match = pattern.match(rest)
        if match:
            return match[1], rest[match.end() :]
    return line, after


def _take_line(rest: str, word: str) -> tuple[str, str]:
    if not rest.startswith(word):
        return "", rest
    line, _newline, after = rest[len(word) :].partition("\n")
    return line, after


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def quoted(text: str) -> str:
    """The text as Ollama writes it into a Modelfile: in quotes only where a blank or line would be lost."""
    if "\n" not in text and not text.startswith(" ") and not text.endswith(" "):
        return text
    return f'"""{text}"""' if '"' in text else f'"{text}"'


def _unquoted(text: str) -> str:
    for quote in ('"""', '"'):
        inner = text[len(quote) : -len(quote)]
        if text == quoted(inner):
            return inner
    return text


def needs_verbose(show: Mapping[str, Any]) -> bool:
    """Whether a plain show leaves out arrays that the header needs: all but the vocabulary's."""
    info = show.get("model_info") or {}
    return any(value in (None, []) and not key.startswith("tokenizer.") for key, value in info.items())


def header_of(show: Mapping[str, Any], size: int) -> Header:
    """The GGUF header as show tells it.

    `general.name` and the chat template are not told. A plain show leaves arrays out: the vocabulary then
    stands as a `LongArray` of the length that the embedding tensor has, other arrays do not stand at all.

    Args:
        show: the answer of /api/show.
        size: bytes of the model, for `file_bytes`. Where show tells of a projector, what is not the model's tensors is
            taken for it: its size is not told, and that is a few MB more.
    """
    tensors = tuple(_tensor(line) for line in show.get("tensors") or ())
    info: Mapping[str, Any] = show.get("model_info") or {}
    metadata = {key: _value(value) for key, value in info.items() if value is not None}
    embedding = next((one for one in tensors if one.name == "token_embd.weight"), None)
    if embedding and info.get(_VOCABULARY, "") is None:
        metadata[_VOCABULARY] = LongArray(type="str", length=embedding.dims[-1])
    rest = max(size - sum(tensor.bytes for tensor in tensors), 0)
    projector = rest if show.get("projector_info") and tensors else 0
    return Header(metadata=metadata, tensors=tensors, file_bytes=size - projector, projector_bytes=projector)


def _value(value: Any) -> Value:  # noqa: ANN401 (any JSON)
    if isinstance(value, list):
        kind = "str" if value and isinstance(value[0], str) else "i32"
        return tuple(value) if len(value) < LONG else LongArray(type=kind, length=len(value))
    scalar: bool | int | float | str = value
    return scalar


_TYPES = {kind.name: kind for kind in ggml.TYPES.values()}


def _tensor(line: Mapping[str, Any]) -> Tensor:
    """A line of the tensor table. A type that nobody here knows counts as 4 bytes an element: never too few."""
    dims = tuple(int(dim) for dim in line["shape"])
    kind = _TYPES.get(str(line["type"]).upper())
    elements = math.prod(dims)
    size = elements * 4 if kind is None else _blocks(dims, kind.block) * kind.bytes
    return Tensor(name=line["name"], dims=dims, type=kind.name if kind else str(line["type"]), bytes=size)


def _blocks(dims: Sequence[int], block: int) -> int:
    return -(-dims[0] // block) * math.prod(dims[1:]) if dims else 0
