"""Fills the generated parts of the pages from the code, and writes the profile's schema: `make docs`.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; what is around it is written by hand.
"""  # noqa: INP001 (a script)

from __future__ import annotations

import inspect
import json
import re
import sys
import types
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import click
from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from modelforge import (
    advice,
    engines,
    fit,
    memory,
    policy,
    quants,
    resolve,
    resources,
    schemas,
    settings,
    speed,
)
from modelforge.cli import COMMANDS, cli
from modelforge.hardware import files, table
from modelforge.profile import schema
from modelforge.profile.described import description
from modelforge.project_file import DockerTable, HostTable, ProjectFile, RuntimeTable, TimeoutsTable
from modelforge.project_settings import ENVIRONMENT
from modelforge.units import GIB, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

DOCS = Path(__file__).parent
PAGES = (*sorted((DOCS / "reference").glob("*.md")), DOCS / "explanation" / "policy.md")
PART = re.compile(r"(<!-- generated: (?P<name>[\w. -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
BASIC = {str: "text", int: "integer", float: "number", bool: "`true` or `false`"}


def filled(text: str) -> str:
    """The page with its generated parts as the code has them now."""
    return PART.sub(lambda part: f"{part[1]}\n{generated(part['name'])}\n\n{part[3]}", text)


def generated(name: str) -> str:
    """One part by its name: that of a function below, or of a table's class."""
    parts: Mapping[str, Callable[[], str]] = {
        "commands": commands,
        "common flags": lambda: flags_table(common_flags()),
        "environment": environment,
        "hardware names": hardware_names,
        "foreign": foreign,
        "versions": versions,
        "built-in names": built_in_names,
        "quants": quant_table,
        "figures": figures,
        "speed": speeds,
    }
    return parts[name]() if name in parts else keys_table(TABLES[name])


TABLES: Mapping[str, type[BaseModel]] = {
    one.__name__: one
    for one in (
        *(
            schema.Head,
            schema.Body,
            schema.Base,
            schema.Parameters,
            schema.Resolve,
            schema.Serve,
            schema.Targets,
        ),
        *(schema.Message, schema.SmokeTest, schema.Expect),
        *(ProjectFile, RuntimeTable, DockerTable, HostTable, TimeoutsTable),
        *(files.HardwareFile, files.DeviceTable),
    )
}


# -- tables of TOML -----------------------------------------------------------------------------------


def keys_table(model: type[BaseModel]) -> str:
    """Every key of a TOML table: its type and range, its default, what it is for."""
    rows = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        words = (description(model, name) or "").replace('\\"', '"')
        kind = type_words(field.annotation, field.metadata)
        rows.append((f"`{key}`", kind, default_words(field), words))
    return markdown(("key", "type", "default", "for"), rows)


def type_words(annotation: Any, metadata: Sequence[object] = ()) -> str:  # noqa: ANN401 (any type at all)
    """A type as a reader of TOML thinks of it, with its range."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(inner[0], [*flat(inner[1:]), *metadata])
    if origin in {Union, types.UnionType}:
        kinds = [type_words(one) for one in inner if one is not type(None)]
        return expected(metadata) or ", or ".join(sorted(dict.fromkeys(kinds), key=len))
    if origin is Literal:
        return ", ".join(f"`{json.dumps(one)}`" for one in inner)
    if origin is tuple:
        entry = type_words(inner[0])
        plural = {"text": "texts", "table": "tables"}.get(entry)
        return (f"list of {plural}" if plural else f"list; each {entry}") + limits(metadata)
    if Mapping in {origin, annotation} or (
        isinstance(annotation, type) and issubclass(annotation, BaseModel)
    ):
        return "table"
    return expected(metadata) or BASIC[annotation] + limits(metadata)


def flat(metadata: Iterable[object]) -> list[object]:
    """What an Annotated carries, that of pydantic's Field included."""
    return [part for one in metadata for part in (one.metadata if isinstance(one, FieldInfo) else [one])]


def limits(metadata: Iterable[object]) -> str:
    """`, 1 to 1024`, `, above 0`."""
    found = {type(one): one for one in metadata}
    low, high = found.get(Ge), found.get(Le)
    if isinstance(low, Ge) and isinstance(high, Le):
        return f", {low.ge} to {high.le}"
    words = {Ge: "{} or more", Gt: "above {}", Le: "at most {}", Lt: "below {}"}
    told = [
        text.format(getattr(found[kind], kind.__name__.lower()))
        for kind, text in words.items()
        if kind in found
    ]
    return ", " + " and ".join(told) if told else ""


def expected(metadata: Iterable[object]) -> str:
    """What a validator says that it expects, in its own words: it is asked with something wrong."""
    for one in metadata:
        if not isinstance(one, AfterValidator):
            continue
        check: Any = one.func
        for wrong in ("", "(", "/", {"type": 7}, {"": 1}):
            try:
                check(wrong)
            except ValueError as error:
                return re.sub(r" \(.*\)$|: .*is not valid.*$", "", str(error))
            except (TypeError, AttributeError):
                continue
    return ""


def default_words(field: FieldInfo) -> str:
    """The default as TOML spells it; `–` where an absent key says nothing, `needed` where it has to be there."""
    if field.is_required():
        return "needed"
    value = field.default
    if value is None or value in ((), {}, "") or isinstance(value, BaseModel):
        return "–"
    return f"`{json.dumps(value)}`"


def foreign() -> str:
    """Parameters that people bring from elsewhere, and what is said of them."""
    known = schema.Parameters.foreign
    rows = []
    for words in sorted(set(known.values())):
        keys = sorted(key for key, of in known.items() if of == words)
        rows.append((", ".join(f"`{key}`" for key in keys), words))
    return markdown(("not a parameter", "what is said of it"), rows)


def versions() -> str:
    """Parameters that not every version of Ollama uses."""
    own = ", ".join(f"`{name}`" for name in sorted(engines.OWN_ENGINE))
    rows = [
        *(
            (f"`{name}`", f"before {version_words(since)}", "not known")
            for name, since in engines.SINCE.items()
        ),
        (
            "`draft_num_predict`",
            f"{version_words(engines.LLAMA_SERVER)} on",
            "used by models with draft layers alone",
        ),
        (
            ", ".join(f"`{name}`" for name in sorted(engines.UNREAD_BY_OWN_ENGINE)),
            version_words(engines.OWN_ENGINE_READ),
            f"not looked at for the architectures that have an engine of Ollama's own: {own}",
        ),
        ("`repeat_last_n = -1`", f"{version_words(engines.REFUSES_WHOLE_CONTEXT)} on", "fails every request"),
    ]
    return markdown(("parameter", "Ollama", "is"), rows)


def built_in_names() -> str:
    """Renderers and parsers by version: all of the first that was read, and what came with the next."""
    rows = []
    for word, names in (("renderer", engines.renderers), ("parser", engines.parsers)):
        before: frozenset[str] = frozenset()
        for version in engines.READ:
            found = names(version) or frozenset()
            listed = ", ".join(f"`{name}`" for name in sorted(found - before))
            rows.append((f"`{word}`", version_words(version), listed))
            before = found
    return markdown(("key", "since at least", "names"), rows)


def version_words(version: engines.Version) -> str:
    """`0.24`."""
    return ".".join(map(str, version))


# -- commands -----------------------------------------------------------------------------------------


def commands() -> str:
    """Every command: usage, words, arguments and own flags."""
    parts = []
    own_flags = {flag.name for flag in common_flags()}
    for name in COMMANDS:
        command = getattr(import_module(f"modelforge.cli.{COMMANDS[name][0]}"), f"{name}_command")
        context = click.Context(command, info_name=name, parent=click.Context(cli, info_name="modelforge"))
        usage = " ".join(command.collect_usage_pieces(context))
        flags = [one for one in options(command) if one.name not in own_flags]
        pieces = [f"## {name}", f"    modelforge {name} {usage}", inspect.cleandoc(command.help or "")]
        parts += [*pieces, flags_table(flags)] if flags else pieces
    return "\n\n".join(parts)


def common_flags() -> list[click.Option]:
    """The flags that every command takes."""
    return [one for one in options(cli) if one.name not in {"version", "help"}]


def options(command: click.Command) -> list[click.Option]:
    """The options of a command, without `--help`."""
    return [one for one in command.params if isinstance(one, click.Option)]


def flags_table(flags: Iterable[click.Option]) -> str:
    """A row for each flag."""
    return markdown(("flag", "does"), [(flag_words(one), flag_help(one)) for one in flags])


def flag_words(option: click.Option) -> str:
    """`-H`, `--hardware NAME` …: all spellings, with what they take."""
    names = ", ".join(f"`{name}`" for name in option.opts)
    if option.is_flag or option.count:
        return names
    choices = option.type.choices if isinstance(option.type, click.Choice) else ()
    takes = "\\|".join(map(str, choices)) or option.metavar or "TEXT"
    return f"{names} {takes}" + (" …" if option.multiple else "")


def flag_help(option: click.Option) -> str:
    """The help text, and the default where there is one that says something."""
    default = option.default
    tells = isinstance(default, str) and not option.is_flag
    return f"{option.help or ''}" + (f" Default: `{default}`." if tells else "")


# -- the rest -----------------------------------------------------------------------------------------


def environment() -> str:
    """The environment variables that stand for settings."""
    rows = []
    for variable, key, read in ENVIRONMENT:
        choices = getattr(read, "choices", ())
        rows.append((f"`{variable}`", f"`{key}`", ", ".join(f"`{one}`" for one in choices)))
    return markdown(("variable", "setting", "one of"), rows)


def hardware_names() -> str:
    """The named table."""
    rows = []
    for name in table.names():
        found = table.entry(name)
        if found is None:
            continue
        size = f"{'' if found.exact else '~'}{found.memory / GIB:.2f}".rstrip("0").rstrip(".")
        devices = f"{found.count} × " if found.count > 1 else ""
        rows.append((f"`{name}`", found.backend, f"{devices}{size}", f"{found.bandwidth / 10**9:.0f}"))
    return markdown(("name", "backend", "GiB", "GB/s"), rows)


def quant_table() -> str:
    """The quants, best first, the native ones last."""
    taken = quants.default_names()
    rows = []
    for one in sorted(quants.TABLE, key=lambda one: (one.native_only, one.loss)):
        rare = one.full or one.native_only
        beaten = None if rare else quants.dominated_by(one.name, taken)
        no = "if listed" if rare else f"beaten by {beaten}" if beaten else "below the floor"
        default = "yes" if one.name in taken else no
        loss = "–" if one.native_only else f"{one.loss:g}"
        rows.append((f"`{one.name}`", f"{one.bits:.2f}", loss, default, one.use))
    return markdown(("quant", "bits", "loss", "by default", "for"), rows)


def figures() -> str:
    """The numbers that decide."""
    native = ", ".join(f"{name}: {', '.join(sorted(of))}" for name, of in policy.NATIVE.items())
    rows = [
        ("floor", quants.FLOOR, "`quants`"),
        ("trained in a quant", native, "`quants`"),
        ("kept free on each device", size_text(settings.DEFAULT_HEADROOM), "`headroom`"),
        ("must be left of the budget", f"{size_text(fit.BAND)}, or 1/{fit.BAND_SHARE} of it", "–"),
        ("`num_ctx` where none is set", str(settings.DEFAULT_CONTEXT), "`num_ctx`"),
        ("one of several GPUs is enough up to", f"{memory.SINGLE_GPU_PERCENT} % of it", "–"),
        ("warned of as slow", f"below {resolve.SLOW:g} tok/s", "`min_tokens_per_second`"),
        ("shortest context that is advised", str(advice.LEAST_CONTEXT), "–"),
    ]
    return markdown(("what", "figure", "overruled by"), rows)


def speeds() -> str:
    """What each backend reaches."""
    rows = [
        (f"`{name}`", f"{reached:g}", f"{speed.SECONDS_PER_LAYER[name] * 1e6:.0f} µs")
        for name, reached in speed.REACHED.items()
    ]
    return markdown(("backend", "reached", "start of a layer"), rows)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)


def main() -> int:
    """Writes every page whose generated parts are stale, and the schema, and names them."""
    made = {page: filled(page.read_text(encoding="utf-8")) for page in PAGES}
    made[resources.profiles() / resources.PROFILE_SCHEMA] = schemas.text("profile")
    for page, fresh in made.items():
        if not page.exists() or page.read_text(encoding="utf-8") != fresh:
            page.write_text(fresh, encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(DOCS.parent)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
