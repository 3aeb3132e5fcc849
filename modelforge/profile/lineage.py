"""A profile's own file and all that it extends, oldest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelforge.errors import ProfileProblem, did_you_mean
from modelforge.profile.document import Document, read_document
from modelforge.profile.find import Source, find, known_names
from modelforge.profile.words import value_text

if TYPE_CHECKING:
    from modelforge.errors import Problem
    from modelforge.project import Project


@dataclass(kw_only=True, slots=True)
class Lineage:
    """The documents, oldest first, and what kept others from being read. `whole` is False if any are lacking."""

    documents: list[Document] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether everything that is extended could be read."""
        return not self.problems


def lineage(project: Project, name: str, source: Source) -> Lineage:
    """Follows `extends` from a profile's file to the end.

    A project's profile may extend the shipped one that it shadows, by their common name.
    """
    found = Lineage()
    chain = [name]
    sources = [source]
    while True:
        try:
            document = read_document(sources[-1].path, file=sources[-1].file, root=sources[-1].root)
        except ProfileProblem as error:
            found.problems += error.problems
            return found
        found.documents.insert(0, document)
        parent = document.data.get("extends")
        if not isinstance(parent, str) or not parent:
            return found
        problem = _next(project, parent, document, chain, sources)
        if problem is not None:
            found.problems.append(problem)
            return found


def _next(
    project: Project, parent: str, document: Document, chain: list[str], sources: list[Source]
) -> Problem | None:
    """Adds the parent to chain and sources, or tells why that cannot be."""
    source = find(project, parent, shipped_only=parent == chain[-1])
    chain.append(parent)
    if source is None and parent != chain[-2]:
        names = known_names(project)
        return document.problem(
            ("extends",),
            f"'extends' is {value_text(parent)}, but there is no such profile",
            kind="extends",
            expected="the name of a profile, its file's name without '.toml'",
            hint=did_you_mean(parent, names)
            or did_you_mean(parent.removesuffix(".toml"), names)
            or (f"there are: {', '.join(names)}" if names else None),
        )
    if source is None or source.path in {known.path for known in sources}:
        return document.problem(
            ("extends",),
            f"'extends' goes in a circle: {' → '.join(chain)}",
            kind="extends",
            expected="a profile that does not build on this one",
            hint="move what they share into a fragment that both extend: profiles/_shared.toml",
        )
    sources.append(source)
    return None
