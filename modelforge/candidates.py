"""Where the candidates of a profile's base are looked for: in the project, on the runtime, in a registry or the Hub.

A name without a host is what the runtime has; what it does not have is looked for in Ollama's library. A ladder of
sizes or quants, and a name with a host, are looked for in the registry, and on the runtime only where that has nothing
or the network is down: so a plan for other hardware is the same whichever runtime is at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.bases import Found
from modelforge.bases.local import encoders_passed_over, is_hub, is_local, is_registry, local_candidates
from modelforge.bases.projectors import refuse_projector
from modelforge.bases.served import NothingServed, served_candidates
from modelforge.bases.tags import is_ladder
from modelforge.errors import BaseProblem, Unreachable
from modelforge.names import HOST
from modelforge.registry import NotThere, reference_of

if TYPE_CHECKING:
    from modelforge.bases.registrysource import Source
    from modelforge.profile.schema import Base
    from modelforge.targets import Target, Work

_OFFLINE = "plan it once with a network, which keeps what a plan needs; or use a GGUF file, or a model that Ollama has"


def find(work: Work, target: Target) -> Found:
    """All candidates of a profile's base, and what has to be said of how they were found.

    Raises:
        UsageProblem: `base.model` is no name, or a file outside of the project.
        BaseProblem: there is no such model, or it cannot be planned for.
        Unreachable: it could only be in a registry that cannot be asked.
    """
    base, root, site = target.profile.base, target.profile.root, work.site
    if is_local(base.model, root):
        headers = site.cache / "headers"
        found = local_candidates(base, root=root, hashes=site.hashes, headers=headers)
        return Found(candidates=found, notes=encoders_passed_over(base, root=root, headers=headers))
    if is_hub(base.model):
        return _hugging_face(work, target)
    refuse_projector(base, "a model that brings its own encoder, if it has one")
    if not is_registry(base.model):
        return _named(work, target)
    host = reference_of(base.model, base.tag).host
    try:
        return _in_registry(base, work.source(host, insecure=base.insecure))
    except Unreachable as error:
        if not _is_down(error):
            raise
        return _without_registry(work, target, error, host=host)


def _in_registry(base: Base, source: Source) -> Found:
    from modelforge.bases.registries import registry_candidates  # noqa: PLC0415 (most bases are at hand)

    return registry_candidates(base, source)


def _is_down(error: Unreachable) -> bool:
    """Whether there was no answer at all, rather than one that puts us off."""
    from modelforge.http import CutOff, NoAnswer  # noqa: PLC0415 (slow to import; where there is an error, it is there)

    return isinstance(error, (NoAnswer, CutOff))


def _named(work: Work, target: Target) -> Found:
    """A name without a host."""
    if is_ladder(target.profile.base):
        return _from_ladder(work, target)
    try:
        return _served(work, target)
    except NothingServed as error:
        missing = error
    except Unreachable as error:
        return _without_runtime(work, target, error)
    try:
        return _in_library(work, target)
    except NotThere as error:
        raise _nowhere(missing, error) from None
    except Unreachable as error:
        raise _not_known(missing, error) from None


def _from_ladder(work: Work, target: Target) -> Found:
    """Several sizes or quants of a name: the runtime may have been given only what fitted it."""
    try:
        return _in_library(work, target)
    except NotThere as error:
        nowhere = error
    except Unreachable as error:
        if not _is_down(error):
            raise
        return _without_registry(work, target, error, host=HOST)
    try:
        return _served(work, target)
    except NothingServed as error:
        raise _nowhere(error, nowhere) from None


def _served(work: Work, target: Target) -> Found:
    """What the runtime has."""
    runtime = work.runtime(target.need)
    there = [entry.name for entry in runtime.list()]
    model = target.profile.base.model.partition("@")[0]
    return Found(candidates=served_candidates(target.profile.base, runtime.served(model), there=there))


def _in_library(work: Work, target: Target) -> Found:
    """What Ollama's library has. It is never asked over plain http."""
    return _in_registry(target.profile.base, work.source(HOST, insecure=False))


def _without_runtime(work: Work, target: Target, error: Unreachable) -> Found:
    """There is no runtime to be asked, which a plan does not need."""
    try:
        found = _in_library(work, target)
    except Unreachable as other:
        message = f"{error.problems[0].message} {_sentence(other)}"
        raise Unreachable(message, hint=error.problems[0].hint) from None
    note = f"the runtime cannot be asked for its models ({error.problems[0].message}); planned from {HOST}"
    return Found(candidates=found.candidates, notes=(*found.notes, note))


def _without_registry(work: Work, target: Target, error: Unreachable, *, host: str) -> Found:
    """The network is down; the runtime may have what was pulled before."""
    try:
        found = _served(work, target)
    except (NothingServed, Unreachable):
        message = f"'{target.profile.base.model}' cannot be looked for: {error.problems[0].message}"
        raise Unreachable(message, hint=error.problems[0].hint or _OFFLINE) from None
    note = f"the registry {host} cannot be reached ({error.problems[0].message}); planned with what the runtime has"
    return Found(candidates=found.candidates, notes=(note,))


def _hugging_face(work: Work, target: Target) -> Found:
    """What the Hub has; what the runtime pulled from there where the Hub cannot be asked from here.

    That may be of any commit, so it never counts where one is named.
    """
    from modelforge.bases.hub import NoLibrary  # noqa: PLC0415 (most bases are at hand)
    from modelforge.bases.hubcandidates import hub_candidates  # noqa: PLC0415

    pinned = "@" in target.profile.base.model
    try:
        return hub_candidates(target.profile.base, work.hub())
    except NoLibrary as error:
        if pinned:
            raise
        missing = error
    except Unreachable as error:
        if pinned or not _is_down(error):
            raise
        return _without_registry(work, target, error, host="hf.co")
    try:
        return _served(work, target)
    except (NothingServed, Unreachable):
        raise missing from None


def _nowhere(missing: NothingServed, other: NotThere) -> BaseProblem:
    problem = other.problems[0]
    return BaseProblem(
        f"{missing.problems[0].message}, and {problem.message}", hint=missing.near or problem.hint
    )


def _not_known(missing: NothingServed, other: Unreachable) -> Unreachable:
    problem = other.problems[0]
    return Unreachable(
        f"{missing.problems[0].message}, and {problem.message}", hint=missing.near or problem.hint
    )


def _sentence(error: Unreachable) -> str:
    text = error.problems[0].message
    return text[:1].upper() + text[1:]
