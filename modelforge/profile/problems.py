"""What is wrong with a file, in words: validation errors become problems with a place and a way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from modelforge.errors import did_you_mean
from modelforge.profile.described import description
from modelforge.profile.document import Document
from modelforge.profile.tables import Table
from modelforge.profile.words import name_text, table_text, value_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from modelforge.errors import Problem
    from modelforge.profile.positions import KeyPath

    Locate: TypeAlias = Callable[[KeyPath], tuple[Document, KeyPath]]

_KINDS = {"literal_error": "choice", "value_error": "value", "finite_number": "range"}
_PLAIN = {bool: "true or false", int: "an integer", float: "a number", str: "a string", type(None): "nothing"}
_SEVERAL = {bool: "booleans", int: "integers", float: "numbers", str: "strings"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fault:
    """A validation error on its way to words.

    `path` is its place in the data, without pydantic's labels for the members of a union. `choice` is the
    length of the path at which a union was entered, None if there was none. `wanted` is the type there.
    """

    error: ErrorDetails
    path: KeyPath
    owner: type[Table]
    wanted: Any
    choice: int | None


def problems_of(
    error: ValidationError, *, file: str, text: str, model: type[Table] | None = None
) -> tuple[Problem, ...]:
    """A problem for each thing that pydantic found in the data of one file.

    Args:
        error: what validating against `model` raised.
        file: the file's path as people read it.
        text: the file's text.
        model: the format; unknown keys are compared with its keys. Default: the table of the error's title.
    """
    document = Document(file=file, root=Path(), text=text, data={})
    return placed(error, model=model or _titled(error.title), locate=lambda path: (document, path))


def _titled(title: str) -> type[Table]:
    tables = [Table]
    for table in tables:
        if table.__name__ == title:
            return table
        tables.extend(table.__subclasses__())
    return Table


def placed(error: ValidationError, *, model: type[Table], locate: Locate) -> tuple[Problem, ...]:
    """A problem for each thing that pydantic found in data that several files may have given.

    Args:
        error: what validating against `model` raised.
        model: the format; unknown keys are compared with its keys.
        locate: tells for a path in the validated data in which document it stands, and under which path.
    """
    faults = [_traced(details, model) for details in error.errors(include_url=False)]
    return tuple(_problem(fault, model, locate) for fault in _without_doubles(faults))


def expectation(wanted: object, value: object = None) -> str:
    """What a type asks for: `an integer from 4 to 16777216`, `one of 'on', 'off'`, `a list of strings`.

    That it may not be empty is said only to who gave an empty `value`.
    """
    bare, limits = _unwrapped(wanted)
    members = _members(bare)
    if len(members) > 1:
        return " or ".join(dict.fromkeys(expectation(member, value) for member in members))
    after = " that is not empty" if value in ("", []) and limits.get("min_length") else _range_text(limits)
    origin = get_origin(bare)
    if origin is Literal:
        choices = get_args(bare)
        return (
            f"'{choices[0]}'" if len(choices) == 1 else "one of " + ", ".join(f"'{each}'" for each in choices)
        )
    if origin is tuple:
        inner, _ = _unwrapped(get_args(bare)[0])
        return f"a list of {_SEVERAL.get(inner, 'tables')}" + after
    return _PLAIN.get(bare, "a table") + after


def _range_text(limits: Mapping[str, Any]) -> str:
    low, high, above = limits.get("ge"), limits.get("le"), limits.get("gt")
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    if above is not None:
        return f" above {_number(above)}" + ("" if high is None else f" and at most {_number(high)}")
    if low is not None:
        return f", {_number(low)} or more"
    return ""


def _number(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else str(limit)


def _unwrapped(wanted: object) -> tuple[Any, Mapping[str, Any]]:
    """A type without `Annotated` and `| None`, and its limits."""
    limits: dict[str, Any] = {}
    while True:
        if get_origin(wanted) is Annotated:
            wanted, *metadata = get_args(wanted)
            limits = _limits(metadata) | limits
            continue
        members = _members(wanted)
        if len(members) != 1 or members[0] is wanted:
            return wanted, limits
        wanted = members[0]


def _limits(metadata: Iterable[object]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in metadata:
        if isinstance(each, FieldInfo):
            found |= _limits(each.metadata)
        found |= {
            key: value
            for key in ("ge", "le", "gt", "min_length")
            if (value := getattr(each, key, None)) is not None
        }
    return found


def _members(wanted: object) -> tuple[object, ...]:
    if get_origin(wanted) in (Union, UnionType):
        return tuple(member for member in get_args(wanted) if member is not type(None))
    return (wanted,)


def _traced(details: ErrorDetails, model: type[Table]) -> _Fault:
    """Follows an error's place through the types, to the type that was wanted there."""
    path: KeyPath = ()
    owner, choice = model, None
    wanted: Any = model
    labels = details["loc"]
    for index, part in enumerate(labels):
        wanted, _ = _unwrapped(wanted)
        if len(_members(wanted)) > 1:  # this part is pydantic's name for a member, no key
            choice = len(path) if choice is None else choice
            wanted = _chosen(wanted, labels[index + 1 :])
            continue
        path = (*path, part)
        if _is_table(wanted):
            owner, wanted = wanted, _field_type(wanted, str(part))
        else:
            wanted = _inner(wanted)
    return _Fault(error=details, path=path, owner=owner, wanted=wanted, choice=choice)


def _chosen(union: object, rest: tuple[int | str, ...]) -> object:
    """The member of a union in which the rest of a place lies; the union where the place ends at it."""
    if not rest:
        return union
    bare = [_unwrapped(member)[0] for member in _members(union)]
    fitting = [
        each for each in bare if (get_origin(each) is tuple if isinstance(rest[0], int) else _is_table(each))
    ]
    return fitting[0] if fitting else Any


def _inner(wanted: object) -> object:
    """The type of what a list or a table of any names holds."""
    arguments = get_args(wanted)
    if get_origin(wanted) is tuple:
        return arguments[0]
    return arguments[1] if get_origin(wanted) is Mapping else Any


def _is_table(wanted: object) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, Table)


def _fields(model: type[Table]) -> dict[str, FieldInfo]:
    """A table's fields by the names that a file has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _field_type(model: type[Table], name: str) -> Any:  # noqa: ANN401 (a type form)
    field = _fields(model).get(name)
    return Any if field is None else field.rebuild_annotation()


def _without_doubles(faults: list[_Fault]) -> Iterator[_Fault]:
    """Of the errors that a union's members have, only those of the member that was meant, or one for all."""
    entered = {fault.path[: fault.choice] for fault in faults if _is_inside(fault)}
    seen: set[KeyPath] = set()
    for fault in faults:
        union = fault.path[: fault.choice]
        if fault.choice is None or _is_inside(fault):
            yield fault
        elif union not in entered | seen:
            seen.add(union)
            yield fault


def _is_inside(fault: _Fault) -> bool:
    """Whether the error lies inside a member of a union, which then is the one that was meant."""
    return fault.choice is not None and len(fault.path) > fault.choice


def _problem(fault: _Fault, model: type[Table], locate: Locate) -> Problem:
    kind = fault.error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(fault, model, locate)
    if kind == "missing":
        return _missing(fault, locate)
    document, path = locate(fault.path)
    value = fault.error["input"]
    expected = str(fault.error["ctx"]["error"]) if kind == "value_error" else expectation(fault.wanted, value)
    return document.problem(
        path,
        f"{name_text(path)} is {value_text(value)}, expected {expected}",
        kind=_KINDS.get(kind, "type" if kind.endswith("_type") else "range"),
        expected=expected,
        hint=did_you_mean(value, choices)
        if isinstance(value, str) and (choices := _choices(fault.wanted))
        else None,
    )


def _choices(wanted: object) -> tuple[str, ...]:
    bare, _ = _unwrapped(wanted)
    return tuple(
        choice for member in _members(bare) if get_origin(member) is Literal for choice in get_args(member)
    )


def _missing(fault: _Fault, locate: Locate) -> Problem:
    document, table = locate(fault.path[:-1])
    key = str(fault.path[-1])
    where = table_text(table)
    expected = expectation(fault.wanted)
    written = f"{key} = …" if expected != "a table" else f"{key} = {{ … }}" if where else f"[{key}]"
    about = description(fault.owner, key)
    return document.problem(
        table,
        f"{where} has no '{key}'" if where else f"there is no '{key}'",
        kind="missing",
        on="key",
        expected=expected,
        hint=f"add {written}" + (f": {about}" if about else ""),
    )


def _unknown_key(fault: _Fault, model: type[Table], locate: Locate) -> Problem:
    document, path = locate(fault.path)
    key = str(path[-1])
    where = table_text(path[:-1])
    return document.problem(
        path,
        f"unknown key '{key}'" + (f" in {where}" if where else ""),
        kind="unknown-key",
        on="key",
        hint=fault.owner.foreign.get(key)
        or _belongs(key, fault.owner, model)
        or did_you_mean(key, _fields(fault.owner)),
    )


def _belongs(key: str, owner: type[Table], root: type[Table]) -> str | None:
    """Where a known key that stands in the wrong table has its place."""
    for name, table in _tables(owner).items():
        if key in _fields(table):
            return f"'{key}' belongs in '{name}'" if owner is not root else f"'{key}' belongs in [{name}]"
    if key in _fields(root):
        return f"'{key}' belongs at the top of the file, before the first [table]"
    homes = (name for name, table in _tables(root).items() if table is not owner and key in _fields(table))
    home = next(homes, None)
    return f"'{key}' belongs in [{home}]" if home else None


def _tables(model: type[Table]) -> dict[str, type[Table]]:
    found = {}
    for name, field in _fields(model).items():
        for member in _members(_unwrapped(field.annotation)[0]):
            if isinstance(member, type) and issubclass(member, Table):
                found[name] = member
    return found


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, by its place."""
    once = dict.fromkeys(problems)
    return sorted(once, key=lambda problem: (problem.file or "", problem.line or 0, problem.column or 0))
