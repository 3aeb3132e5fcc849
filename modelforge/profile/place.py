"""Where `[hardware]` of a profile says something: the one table that a loaded profile has no origins for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.errors import ProfileProblem
from modelforge.profile.find import require
from modelforge.profile.lineage import lineage
from modelforge.profile.merge import lineage_data

if TYPE_CHECKING:
    from modelforge.errors import Problem
    from modelforge.profile import Profile
    from modelforge.profile.positions import KeyPath
    from modelforge.project import Project


def hardware_problem(project: Project, profile: Profile, path: KeyPath, problem: Problem) -> ProfileProblem:
    """The problem at the place of a key of `[hardware]`, in the profile or in what it extends."""
    documents = lineage(project, profile.name, require(project, profile.name)).documents
    document, at = lineage_data(documents).locate(path)
    kind = ProfileProblem.kind
    placed = document.problem(at, problem.message, kind=kind, hint=problem.hint)
    return ProfileProblem(problems=[placed])
