"""The Jinja sandbox in which a Modelfile template runs.

Its delimiters are `[[ ]]`, `[% %]` and `[# #]`, so that the Go template of a pasted Modelfile passes untouched. It
reads templates from given folders only, gives the same output every time, and refuses to alter a profile's texts
(see `opaque`). As in all of Jinja, CRLF and CR in a template's own text become LF.
"""

from __future__ import annotations

import functools
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from jinja2 import (
    BaseLoader,
    BytecodeCache,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
)
from jinja2.compiler import CodeGenerator, Frame
from jinja2.sandbox import ImmutableSandboxedEnvironment

from modelforge.errors import Problem, TemplateProblem, did_you_mean
from modelforge.opaque import Text, TextList, Tokens, Untouchable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from jinja2 import Environment, nodes
    from jinja2.bccache import Bucket
    from jinja2.exceptions import TemplateRuntimeError
    from jinja2.runtime import Context

OUTPUT_LIMIT = 64 << 20
"""Most characters that a template may write."""
_LARGEST_EXPONENT = 1000
_MOST_COMPILED = 64

_ON_TEXTS = frozenset({"default", "d", "string", "length", "count"})
_ON_LISTS = _ON_TEXTS | {
    *("first", "last", "list", "join", "map", "select", "reject", "selectattr", "rejectattr", "sort"),
    *("unique", "reverse", "batch", "slice", "groupby", "items", "dictsort", "min", "max"),
} - {"string"}
_NOT_THE_SAME_TWICE = ("random",)
_RAW_HINT = "text with [[ ]], [% %] or [# #] of its own goes between [% raw %] and [% endraw %]"


class _Refused(Exception):
    """Something that a template may not do. Becomes a TemplateProblem once its place is known."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class _Missing(UndefinedError):
    """A name that is not there, with the names that are."""

    def __init__(self, name: str, known: Sequence[str] | None, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.known = known


# --- the sandbox -----------------------------------------------------------------------------------------


def _label(value: object) -> str:
    return value.label if isinstance(value, Text) else "texts of the profile"


class _Undefined(StrictUndefined):
    """A name that does not exist: any use is an error that knows the nearest name."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: object = None,
        name: str | None = None,
        exc: type[TemplateRuntimeError] | None = None,
    ) -> None:
        super().__init__(hint, obj, name, exc or UndefinedError)
        if name is not None and exc is None:
            self._undefined_exception = functools.partial(_Missing, name, _names_in(obj))  # type: ignore[assignment]


def _names_in(obj: object) -> list[str] | None:
    """The names in what stands before the dot; None where there is no such thing."""
    if isinstance(obj, SimpleNamespace):
        return list(vars(obj))
    return [key for key in obj if isinstance(key, str)] if isinstance(obj, dict) else None


class _Generator(CodeGenerator):
    """Jinja's compiler, but `~` joins by the environment."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 (Jinja's name)
        self.write("environment.concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Compiled(BytecodeCache):
    """What templates compile to: one that is rendered for several targets compiles once."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Nothing for a template that is another by now: the bucket looks at its checksum."""
        if bucket.key in self._known:
            bucket.bytecode_from_string(self._known[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Called for each that was compiled."""
        if len(self._known) >= _MOST_COMPILED:
            self._known.clear()
        self._known[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja with Modelfile-proof delimiters, confined, repeatable, and unable to alter a `Text`."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "*", "%", "**", "-", "/", "//"})

    def __init__(self, loader: Loader, tokens: Tokens) -> None:
        super().__init__(
            block_start_string="[%",
            block_end_string="%]",
            variable_start_string="[[",
            variable_end_string="]]",
            comment_start_string="[#",
            comment_end_string="#]",
            trim_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
            undefined=_Undefined,
            finalize=_finalize,
            loader=loader,
            bytecode_cache=_COMPILED,
        )
        self.tokens = tokens
        self.globals.pop("lipsum")
        filters = {name: do for name, do in self.filters.items() if name not in _NOT_THE_SAME_TWICE}
        self.filters = {name: self._guarded(name, do) for name, do in filters.items()}
        for name in ("lower", "upper"):
            self.tests[name] = self._guarded(name, cast("Callable[..., object]", self.tests[name]))

    def _guarded(self, name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        """The filter, but refusing to change a text of the profile."""

        @functools.wraps(do)
        def guarded(*args: object, **named: object) -> object:
            value, *others = args[1:] if hasattr(do, "jinja_pass_arg") else args
            if self.tokens.carried_by(value) and name not in _ON_TEXTS:
                raise Untouchable(_label(value), f"'{name}'")
            if name not in _ON_LISTS and self.tokens.carried_in([value, *others, *named.values()]):
                raise Untouchable(_label(""), f"'{name}'")
            return self.tokens.joined(do(*args, **named))

        return guarded

    def getattr(self, obj: object, attribute: str) -> object:
        if isinstance(obj, Text) and attribute in obj.facts:
            return obj.facts[attribute]
        if self.tokens.carried_by(obj):
            raise Untouchable(_label(obj), f".{attribute}")
        return super().getattr(obj, attribute)

    def getitem(self, obj: object, argument: object) -> object:
        if isinstance(argument, str):
            return self.getattr(obj, argument) if isinstance(obj, Text) else super().getitem(obj, argument)
        if self.tokens.carried_by(obj):
            raise Untouchable(_label(obj), "taking a part")
        return super().getitem(obj, argument)

    def call(self, context: Context, obj: object, /, *args: object, **named: object) -> object:
        return self.tokens.joined(super().call(context, obj, *args, **named))

    def concat(self, parts: Iterable[str]) -> object:  # type: ignore[override]
        """How Jinja joins pieces of output, and (by way of `_Generator`) the operands of `~`."""
        return self.tokens.joined("".join(map(str, parts)))

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return self.concat([left, right])
        if self.tokens.carried_in([left, right]) and operator != "+":
            raise Untouchable(_label(left if self.tokens.carried_by(left) else right), f"'{operator}'")
        if operator == "*" and _repeated(left, right) > OUTPUT_LIMIT:
            raise _Refused(f"a text of more than {OUTPUT_LIMIT:,} characters")
        if operator == "**" and isinstance(right, int) and right > _LARGEST_EXPONENT:
            raise _Refused(f"an exponent above {_LARGEST_EXPONENT}")
        return super().call_binop(context, operator, left, right)


def _repeated(left: object, right: object) -> int:
    """How long `left * right` would be; 0 for numbers."""
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, (str, list, tuple)) and isinstance(times, int):
            return len(sequence) * times
    return 0


def _finalize(value: object) -> object:
    """What `[[ value ]]` writes."""
    if value is None:
        raise _Refused("this has no value here", "guard it: [% if system is not none %]…[% endif %]")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple, dict, SimpleNamespace)) and not isinstance(value, TextList):
        raise _Refused("this is a list or a table, not a text", "write its parts: [% for part in … %]")
    return value


# --- loading ---------------------------------------------------------------------------------------------


class Loader(BaseLoader):
    """Templates by name from a few folders, the first that has it. No name and no link leads out of them."""

    def __init__(self, folders: Sequence[Path], root: Path) -> None:
        self.folders = folders
        self.root = root
        self.sources: dict[str, str] = {}

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """See `jinja2.BaseLoader`; the file name given to Jinja is the template's place for people."""
        del environment
        place, text = self._read(template)
        self.sources[place] = text
        return text, place, lambda: True

    def list_templates(self) -> list[str]:
        """All names that can be loaded."""
        files = ((folder, file) for folder in self.folders for file in folder.rglob("*") if file.is_file())
        return sorted({file.relative_to(folder).as_posix() for folder, file in files})

    def _read(self, name: str) -> tuple[str, str]:
        if not name or name.startswith("/") or ".." in name.split("/") or re.search(r"[\\:\0]", name):
            raise _Refused(f"template '{name}' is not a name inside the templates folder")
        for folder in self.folders:
            path = folder / name
            if not path.is_file():
                continue
            if not path.resolve().is_relative_to(folder.resolve()):
                raise _Refused(f"template '{name}' is a link that leads out of its folder")
            return self._place(path), self._text(path, name)
        raise TemplateNotFound(name)

    def _text(self, path: Path, name: str) -> str:
        try:
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise _Refused(f"template '{name}' is not UTF-8 text") from None
        except OSError as error:
            raise _Refused(f"template '{name}' cannot be read: {error.strerror}") from None

    def _place(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


# --- running ---------------------------------------------------------------------------------------------


def run_template(name: str, *, loader: Loader, variables: Mapping[str, object], tokens: Tokens) -> str:
    """What a template writes, tokens in it.

    Raises:
        TemplateProblem: it is not there, does not parse, uses a name that does not exist, or does something
            that a template may not do; with its place.
    """
    try:
        template = _Sandbox(loader, tokens).get_template(name)
        output = "".join(_limited(template.generate(variables)))
    except Exception as error:  # a template can make any of them, and all are its author's to see
        raise _problem(error, loader, variables) from error
    if tokens.harmed_in(output):
        raise TemplateProblem(
            problems=[
                Problem(
                    message="the template changes a text of the profile",
                    kind=TemplateProblem.kind,
                    file=next(iter(loader.sources)),
                    hint=Untouchable.hint,
                )
            ]
        )
    return output


def _limited(pieces: Iterator[str]) -> Iterator[str]:
    length = 0
    for piece in pieces:
        length += len(str(piece))
        if length > OUTPUT_LIMIT:
            raise _Refused(f"the template writes more than {OUTPUT_LIMIT:,} characters")
        yield piece


def _problem(error: Exception, loader: Loader, variables: Mapping[str, object]) -> TemplateProblem:
    message, hint = str(error) or type(error).__name__, None
    if isinstance(error, TemplateNotFound):
        message = f"there is no template '{error.name}'"
        known = loader.list_templates()
        hint = did_you_mean(str(error.name), known) or f"there are: {', '.join(known) or 'none'}"
    elif isinstance(error, _Missing):
        known_names = list(variables) if error.known is None else error.known
        message = f"there is no '{error.name}' here"
        hint = did_you_mean(error.name, known_names) or f"there are: {', '.join(known_names)}"
        if not known_names:
            hint = "what stands before the dot is empty; names of your own go into the profile's [vars]"
    elif isinstance(error, TemplateSyntaxError):
        hint = _RAW_HINT
    elif isinstance(error, (_Refused, Untouchable)):
        hint = error.hint
    file, line = _place_of(error, loader)
    lines = loader.sources.get(file or "", "").split("\n")
    source = lines[line - 1] if line and line <= len(lines) else None
    problem = Problem(
        message=message, kind=TemplateProblem.kind, file=file, line=line, hint=hint, source=source
    )
    return TemplateProblem(problems=[problem])


def _place_of(error: Exception, loader: Loader) -> tuple[str | None, int | None]:
    """File and line in a template: of the syntax error, else of the last template line on the stack."""
    if isinstance(error, TemplateSyntaxError):
        return error.filename, error.lineno
    place: tuple[str | None, int | None] = None, None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in loader.sources:
            place = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    return place
