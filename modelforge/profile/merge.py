"""How a profile takes over what it extends: tables merge, lists and values replace, `unset` removes.

Works on plain data, as TOML gives it, so that mistakes can be told where they stand in a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelforge.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from modelforge.errors import Problem
    from modelforge.profile.document import Document
    from modelforge.profile.positions import KeyPath

# The one that a file sets drops the other from what it extends; in one file they exclude each other.
RIVALS: tuple[tuple[KeyPath, tuple[KeyPath, ...]], ...] = (
    (("system",), (("system_file",),)),
    (("license",), (("license_file",),)),
    (("base", "tag"), (("base", "sizes"), ("base", "quants"), ("base", "variant"), ("base", "pattern"))),
)
# What a file says about itself alone.
OWN = ("extends", "unset", "name")


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """Data made of several layers. `layers` are the strongest first: a document, and where in it the layer is."""

    data: Mapping[str, Any]
    layers: tuple[tuple[Document, KeyPath], ...]

    def locate(self, path: KeyPath) -> tuple[Document, KeyPath]:
        """Which document gave what stands at a path, and where in that document."""
        while path:
            for document, prefix in self.layers:
                if has(document.data, (*prefix, *path)):
                    return document, (*prefix, *path)
            path = path[:-1]
        return self.layers[0]


def lineage_data(documents: Sequence[Document]) -> Merged:
    """A profile's data with all that it extends; the oldest document first, the profile's own last."""
    data: dict[str, Any] = {}
    for document in documents:
        for path in unset_paths(document.data):
            remove(data, path)
        data = merged(data, document.data)
        if document is not documents[-1]:
            for key in OWN:
                data.pop(key, None)
    return Merged(data=data, layers=tuple((document, ()) for document in reversed(documents)))


def plain(whole: Merged) -> Merged:
    """The profile without `[hardware]` and what is said about its file."""
    dropped = {"hardware", "extends", "unset"}
    return Merged(
        data={key: value for key, value in whole.data.items() if key not in dropped}, layers=whole.layers
    )


def on_hardware(whole: Merged, name: str) -> Merged:
    """The profile as it is for one target: `[hardware.NAME]` laid over it."""
    base, path = plain(whole), ("hardware", name)
    override = whole.data["hardware"][name]
    data = merged({}, base.data)
    for unset in unset_paths(override):
        remove(data, unset)
    data = merged(data, {key: value for key, value in override.items() if key != "unset"})
    own = tuple((document, path) for document, _ in whole.layers if has(document.data, path))
    return Merged(data=data, layers=(*own, *base.layers))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A new table: `above` over `below`. Nothing of either is changed."""
    result = _laid_over(_without_rivals(below, above), above)
    hardware, over = result.get("hardware"), above.get("hardware")
    if isinstance(hardware, dict) and isinstance(over, dict):
        for name, table in over.items():
            under = _get(below, ("hardware", name))
            if isinstance(table, dict) and isinstance(under, dict):
                hardware[name] = _laid_over(_without_rivals(under, table), table)
    return result


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = {
        key: _laid_over({}, value) if isinstance(value, dict) else value for key, value in below.items()
    }
    for key, value in above.items():
        under = result.get(key)
        if isinstance(value, dict):
            result[key] = _laid_over(under if isinstance(under, dict) else {}, value)
        else:
            result[key] = value
    return result


def _without_rivals(below: Mapping[str, Any], above: Mapping[str, Any]) -> Mapping[str, Any]:
    result: dict[str, Any] = _laid_over({}, below)
    for one, others in RIVALS:
        if has(above, one):
            for other in others:
                remove(result, other)
        elif any(has(above, other) for other in others):
            remove(result, one)
    return result


def rivals_in(document: Document) -> Iterator[Problem]:
    """Keys that exclude each other, set side by side in one file or one target's overrides."""
    hardware = document.data.get("hardware")
    names = (
        [name for name in hardware if isinstance(hardware[name], dict)] if isinstance(hardware, dict) else []
    )
    tables: list[KeyPath] = [(), *(("hardware", name) for name in names)]
    for table in tables:
        for one, others in RIVALS:
            for other in others:
                if has(document.data, (*table, *one)) and has(document.data, (*table, *other)):
                    yield document.problem(
                        (*table, *other),
                        f"'{one[-1]}' and '{other[-1]}' exclude each other",
                        kind="conflict",
                        on="key",
                        hint="a tag pins one candidate: remove one of the two"
                        if one[0] == "base"
                        else "remove one of the two",
                    )


def unset_problems(documents: Sequence[Document], whole: Merged) -> Iterator[Problem]:
    """Entries of `unset` that remove nothing."""
    for index, document in enumerate(documents):
        inherited = lineage_data(documents[:index]).data if index else {}
        yield from _idle(document, (), inherited)
    hardware = whole.data.get("hardware")
    base = plain(whole).data
    for name in hardware if isinstance(hardware, dict) else ():
        for document, _ in whole.layers:
            yield from _idle(document, ("hardware", name), base)


def _idle(document: Document, table: KeyPath, inherited: Mapping[str, Any]) -> Iterator[Problem]:
    entries = _get(document.data, (*table, "unset"))
    if not entries:
        return
    from modelforge.profile.positions import key_parts  # noqa: PLC0415 (seldom used)

    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        path = key_parts(entry) if isinstance(entry, str) else ()
        if path == () or (path and has(inherited, path)):
            continue
        yield document.problem(
            (*table, "unset", index),
            f"'{entry}' is not inherited, so there is nothing to unset",
            kind="unset",
            expected="the dotted name of an inherited key",
            hint=did_you_mean(entry, dotted(inherited)),
        )


def unset_paths(table: Mapping[str, Any]) -> Iterator[KeyPath]:
    """The keys that a table's `unset` names, as paths; what is not valid there is left out."""
    entries = table.get("unset")
    if not entries:
        return
    from modelforge.profile.positions import key_parts  # noqa: PLC0415 (seldom used)

    for entry in entries if isinstance(entries, list) else ():
        path = key_parts(entry) if isinstance(entry, str) else None
        if path:
            yield path


def dotted(data: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """All keys as dotted names, tables and what is in them."""
    for key, value in data.items():
        yield f"{above}{key}"
        if isinstance(value, dict):
            yield from dotted(value, f"{above}{key}.")


def has(data: object, path: KeyPath) -> bool:
    """Whether there is something at a path."""
    return _get(data, path, missing := object()) is not missing


def remove(data: dict[str, Any], path: KeyPath) -> None:
    """Removes what stands at a path; nothing if there is nothing."""
    table = _get(data, path[:-1])
    if isinstance(table, dict):
        table.pop(path[-1], None)


def _get(data: object, path: KeyPath, default: object = None) -> Any:  # noqa: ANN401 (plain TOML data)
    for part in path:
        known = isinstance(data, dict) and part in data
        if not known and not (isinstance(data, list) and isinstance(part, int) and part < len(data)):
            return default
        data = data[part]  # type: ignore[index]
    return data
