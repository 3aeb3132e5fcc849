"""Profile and plan -> what the model gets: the request's fields, and the Modelfile for people.

The template decides what the model gets, without loss: it writes Modelfile text with tokens for the profile's
texts (`variables`, `template`), our own parser reads that (`written`), and the exact texts are put back.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelforge.errors import DoesNotFit, TemplateProblem
from modelforge.modelfile import Modelfile, format_modelfile, losses
from modelforge.settings import place_of
from modelforge.unused import unused
from modelforge.variables import parameters_of, path_text, variables_of
from modelforge.written import Written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from modelforge.bases import Candidate
    from modelforge.modelfile import Loss, Turn
    from modelforge.parameters import ParameterValue
    from modelforge.profile import Profile
    from modelforge.resolve import Plan

_CONTENT_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the model gets beyond its base. None or empty: inherited; texts are exact.

    `template` is a chat template in Ollama's Go syntax. `parameters` has Python's own types, `stop` a tuple
    (empty: clears the base's).
    """

    system: str | None
    template: str | None
    license: tuple[str, ...]
    parameters: Mapping[str, ParameterValue]
    messages: tuple[Turn, ...]
    adapters: tuple[Path, ...]
    renderer: str | None
    parser: str | None
    requires: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A rendered profile. `modelfile` is the text for people; `losses` is what that text cannot carry.

    `warnings` tell what of the profile the template leaves out or replaces, and what the server would not use.
    """

    base: Candidate
    request: Request
    modelfile: str
    losses: tuple[Loss, ...]
    warnings: tuple[str, ...] = ()


def render(profile: Profile, plan: Plan, *, templates: Sequence[Path]) -> Rendered:
    """What the model of a plan gets.

    Args:
        profile: with the overrides of the plan's hardware already applied.
        plan: one with a pick.
        templates: the folders that templates come from, the project's own first.

    Raises:
        DoesNotFit: the plan has no pick.
        TemplateProblem: the template does not render to a valid Modelfile of the picked base.
    """
    if plan.picked is None:
        raise DoesNotFit(f"nothing to render: no candidate fits {plan.hardware.name}")
    base = plan.picked.candidate
    variables = variables_of(profile, plan, base)
    from modelforge.template import Loader, run_template  # noqa: PLC0415 (Jinja, only where something is rendered)

    loader = Loader(templates, profile.root)
    try:
        text = run_template(
            profile.template, loader=loader, variables=variables.values, tokens=variables.tokens
        )
    except TemplateProblem as error:
        raise _placed(error, profile) from None
    written = Written(text, sources=loader.sources, tokens=variables.tokens)
    read = written.modelfile(base.ref)
    adapters = tuple(written.adapter(path, profile.root) for path in read.adapters)
    shown = replace(read, adapters=tuple(path_text(path, profile.root) for path in adapters))
    left_out = (*written.left_out(), *_other_parameters(read, profile, plan))
    return Rendered(
        base=base,
        request=_request(read, adapters),
        modelfile=format_modelfile(shown),
        losses=losses(shown),
        warnings=(*left_out, *written.replaced(), *unused(profile, read, base, plan.settings)),
    )


def content_digest(rendered: Rendered, weights: str, adapters: Sequence[str] = ()) -> str:
    """`sha256:<hex>` of all that the model is made of: equal digests, equal models. The same on every machine.

    Args:
        rendered: the request's fields count, its text does not.
        weights: digest of the base's weights.
        adapters: digests of the adapter files, in the request's order.
    """
    request = rendered.request
    content = {
        "format": _CONTENT_FORMAT,
        "weights": weights,
        "adapters": list(adapters),
        "system": request.system,
        "template": request.template,
        "license": list(request.license),
        "parameters": dict(request.parameters),
        "messages": [[turn.role, turn.content] for turn in request.messages],
        "renderer": request.renderer,
        "parser": request.parser,
        "requires": request.requires,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _placed(error: TemplateProblem, profile: Profile) -> TemplateProblem:
    """The error at the profile's own line, where the template itself could not be found."""
    file, line, column = place_of(profile, "template")
    return TemplateProblem(
        problems=[
            problem if problem.file else replace(problem, file=file, line=line, column=column)
            for problem in error.problems
        ]
    )


def _request(read: Modelfile, adapters: tuple[Path, ...]) -> Request:
    return Request(
        system=read.system,
        template=read.template,
        license=read.license,
        parameters=read.parameters,
        messages=read.messages,
        adapters=adapters,
        renderer=read.renderer,
        parser=read.parser,
        requires=read.requires,
    )


def _other_parameters(read: Modelfile, profile: Profile, plan: Plan) -> Iterator[str]:
    """Numbers that the template leaves out or sets otherwise than the profile or the plan."""
    planned = {"num_ctx": plan.settings.num_ctx, "num_batch": plan.settings.num_batch}
    wanted = parameters_of(profile, plan)
    for name in {**wanted, **planned}:
        expected, got = wanted.get(name, planned.get(name)), read.parameters.get(name)
        if got == expected or name == "stop" or (got is None and name not in wanted):
            continue
        counted = "; the plan counted on it" if name in planned else ""
        if got is None:
            yield f"the template leaves out the parameter {name} ({expected}){counted}"
        else:
            yield f"the template sets {name} to {got}, not to {expected}{counted}"
