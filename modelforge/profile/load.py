"""From a name to a `Profile`: read, merge, check everything, and only then build the record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from modelforge import resources
from modelforge.errors import Problem, ProfileProblem, did_you_mean
from modelforge.paths import UnfitPath, file_inside
from modelforge.profile import Profile
from modelforge.profile.checks import Finding, findings, target_findings
from modelforge.profile.find import profile_names, require, shipped_names
from modelforge.profile.lineage import lineage
from modelforge.profile.merge import (
    lineage_data,
    on_hardware,
    plain,
    rivals_in,
    unset_problems,
)
from modelforge.profile.names import model_name, tag_name
from modelforge.profile.schema import Body, Head, ProfileFile
from modelforge.profile.texts import read_files
from modelforge.profile.words import name_text, value_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelforge.profile.document import Document
    from modelforge.profile.merge import Merged
    from modelforge.profile.positions import KeyPath
    from modelforge.profile.texts import Files
    from modelforge.project import Project

__all__ = ["load_profile", "profile_names", "shipped_names"]

_DEFAULT_TEMPLATE = "modelfile.j2"
_HEAD = ("extends", "unset", "hardware")


def load_profile(project: Project, name: str) -> Profile:
    """The profile of that name: the project's own, else the shipped one.

    Raises:
        ProfileProblem: everything that is wrong with it, with what it extends, its overrides and its files.
        UsageProblem: there is no such profile.
    """
    source = require(project, name)
    line = lineage(project, name, source)
    if not line.documents:
        raise ProfileProblem(problems=line.problems)
    whole = lineage_data(line.documents)
    problems = [*line.problems, *_structure(line.documents, whole)]
    loader = _Loader(project=project, name=name, file=source.file, targets=_targets(whole), whole=line.whole)
    profile = loader.load(plain(whole))
    on_targets = {
        target: loader.load(on_hardware(whole, target), overriding=True) for target in _overridden(whole)
    }
    problems += loader.problems
    if problems or profile is None:
        from modelforge.profile.problems import in_order  # noqa: PLC0415 (only where something is wrong)

        raise ProfileProblem(problems=in_order(problems))
    overrides = {target: each for target, each in on_targets.items() if each is not None}
    return replace(profile, overrides=overrides)


class _Loader:
    """Checks merged data, for the profile itself and for each target, and collects what is wrong."""

    def __init__(
        self, *, project: Project, name: str, file: str, targets: tuple[str, ...], whole: bool
    ) -> None:
        self.problems: list[Problem] = []
        self._project = project
        self._name = name
        self._file = file
        self._targets = targets
        self._whole = whole  # nothing can be called missing while a parent is
        self._lacks = False

    def load(self, merged: Merged, *, overriding: bool = False) -> Profile | None:
        """The profile that the data makes, or None: then there are new problems."""
        files = read_files(merged)
        body, faults = _validated(merged, Body, ProfileFile)
        lacking = [problem for problem in faults if problem.kind == "missing"]
        if not self._whole or (overriding and self._lacks):
            faults = [problem for problem in faults if problem.kind != "missing"]
        self._lacks = self._lacks or bool(lacking)
        faults += files.problems
        faults += _placed(merged, findings(merged.data))
        faults += self._template(merged)
        faults += self._stem(merged)
        self.problems += faults
        return None if body is None or faults else self._profile(body, merged, files)

    def _template(self, merged: Merged) -> Iterator[Problem]:
        name = merged.data.get("template", _DEFAULT_TEMPLATE)
        if not isinstance(name, str) or name in {"", _DEFAULT_TEMPLATE}:
            return
        folders = (self._project.templates, resources.templates())
        reasons: list[UnfitPath] = []
        for folder in folders:
            try:
                file_inside(folder, name)
            except UnfitPath as error:
                reasons.append(error)
            else:
                return
        document, path = merged.locate(("template",))
        reason, wanted = reasons[0].reason, "the name of a file in the templates folder"
        known = [file.name for folder in folders if folder.is_dir() for file in folder.iterdir()]
        yield document.problem(
            path,
            f"'template' is {value_text(name)}, {reason}",
            kind="path",
            expected=reason.rpartition("expected ")[2] if "expected " in reason else wanted,
            hint=did_you_mean(name, known),
        )

    def _stem(self, merged: Merged) -> Iterator[Problem]:
        """The file's name is the model's, unless the profile names it."""
        if "name" in merged.data:
            return
        try:
            model_name(self._name)
        except ValueError as error:
            yield Problem(
                message=f"the file's name '{self._name}' is the model's name, expected {error}",
                kind="value",
                file=self._file,
                line=1,
                column=1,
                expected=str(error),
                hint="rename the file, or set name = …",
            )

    def _profile(self, body: Body, merged: Merged, files: Files) -> Profile:
        texts = files.texts
        licenses = (body.license,) if isinstance(body.license, str) else body.license or ()
        return Profile(
            name=self._name,
            model_name=body.name or self._name,
            file=self._file,
            root=self._project.root,
            description=body.description,
            template=body.template,
            system=texts.get("system_file", body.system),
            license=(texts["license_file"],) if "license_file" in texts else licenses,
            chat_template=texts.get("chat_template_file"),
            adapters=files.adapters,
            requires=body.requires,
            renderer=body.renderer,
            parser=body.parser,
            base=body.base,
            parameters=body.parameters,
            resolve=body.resolve,
            serve=body.serve,
            vars=body.vars,
            messages=body.messages,
            smoke=body.smoke,
            targets=self._targets,
            overrides={},
            origins=Origins(merged),
        )


class Origins(Mapping[str, str]):
    """For each dotted key where it was set: `profiles/coder.toml:14:1`. Worked out when first asked.

    An entry of a list is asked for by its number, `parameters.stop.0`; it is not listed.
    """

    def __init__(self, merged: Merged) -> None:
        self._merged = merged

    def __getitem__(self, key: str) -> str:
        above, _, last = key.rpartition(".")
        if last.isdecimal() and above in self._places and key not in self._places:
            return self._place((*above.split("."), int(last)))
        return self._places[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def _places(self) -> dict[str, str]:
        return dict(self._found((), self._merged.data))

    def _found(self, above: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for key, value in table.items():
            path = (*above, key)
            if isinstance(value, dict) and value and above != ("vars",):
                yield from self._found(path, value)
                continue
            yield ".".join(path), self._place(path)

    def _place(self, path: KeyPath) -> str:
        document, place = self._merged.locate(path)
        position = document.place(place)
        return f"{document.file}:{position.line}:{position.column}"


def _structure(documents: list[Document], whole: Merged) -> Iterator[Problem]:
    """What is wrong with each file by itself, and with how they fit together."""
    for document in documents:
        yield from _head(document, ())
        yield from rivals_in(document)
        yield from _hardware_tables(document)
    yield from unset_problems(documents, whole)
    yield from _placed(whole, target_findings(whole.data.get("hardware")))


def _head(document: Document, path: KeyPath) -> tuple[Problem, ...]:
    """What is wrong with the keys that do not outlive inheritance, in the file or in a target's overrides."""
    table = document.data["hardware"][path[1]] if path else document.data
    keys = [key for key in (_HEAD if not path else ("unset",)) if key in table]
    try:
        Head.model_validate({key: table[key] for key in keys})
    except ValidationError as error:
        from modelforge.profile.problems import placed  # noqa: PLC0415 (only where something is wrong)

        return placed(error, model=ProfileFile, locate=lambda inner: (document, (*path, *inner)))
    return ()


def _hardware_tables(document: Document) -> Iterator[Problem]:
    hardware = document.data.get("hardware")
    for name, table in hardware.items() if isinstance(hardware, dict) else ():
        path = ("hardware", name)
        if name == "targets":
            continue
        if not isinstance(table, dict):
            known = [key for key in ("targets",) if did_you_mean(name, [key])]
            yield document.problem(
                path,
                f"unknown key '{name}' in [hardware]",
                kind="unknown-key",
                on="key",
                expected="'targets', or a table of overrides for one target",
                hint=did_you_mean(name, known),
            )
            continue
        yield from _head(document, path)
        try:
            tag_name(name)
        except ValueError as error:
            message = f"{name_text(path)} is no name of hardware, expected {error}"
            yield document.problem(path, message, kind="value", on="key", expected=str(error))


def _validated(merged: Merged, model: type[Body], words: type[Body]) -> tuple[Body | None, list[Problem]]:
    try:
        return model.model_validate(merged.data), []
    except ValidationError as error:
        from modelforge.profile.problems import placed  # noqa: PLC0415 (only where something is wrong)

        return None, list(placed(error, model=words, locate=merged.locate))


def _placed(merged: Merged, found: Iterable[Finding]) -> Iterator[Problem]:
    for finding in found:
        document, path = merged.locate(finding.path)
        yield document.problem(
            path,
            finding.message,
            kind=finding.kind,
            on="key" if finding.on_key else "value",
            expected=finding.expected,
            hint=finding.hint,
        )


def _targets(whole: Merged) -> tuple[str, ...]:
    hardware = whole.data.get("hardware")
    targets = hardware.get("targets") if isinstance(hardware, dict) else None
    return tuple(target for target in targets if isinstance(target, str)) if isinstance(targets, list) else ()


def _overridden(whole: Merged) -> tuple[str, ...]:
    """Names of the targets that have overrides."""
    hardware = whole.data.get("hardware")
    if not isinstance(hardware, dict):
        return ()
    return tuple(name for name, table in hardware.items() if name != "targets" and isinstance(table, dict))
