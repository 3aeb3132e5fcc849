"""What a template sees of a profile and a plan: plain data, texts opaque, no paths of this machine, no methods."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from modelforge.opaque import Tokens

if TYPE_CHECKING:
    from modelforge.bases import Candidate
    from modelforge.profile import Profile
    from modelforge.resolve import Plan

_NONCE_LENGTH = 32
_LEFT_OUT = frozenset({"shape"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Variables:
    """The variables of one rendering, and the tokens that some of them are made of."""

    values: Mapping[str, object]
    tokens: Tokens


def variables_of(profile: Profile, plan: Plan, base: Candidate) -> Variables:
    """All variables of the template language; see templates/modelfile.j2 for the list."""
    tokens = Tokens(nonce=_nonce(profile, base))
    facts = {"ref": base.ref, "quant": base.quant, "size": base.size}
    own: dict[str, object] = {
        "base": tokens.text("base", base.ref, facts),
        "system": None if profile.system is None else tokens.text("system", profile.system),
        "parameters": _parameters(profile, plan, tokens),
        "messages": tuple(
            SimpleNamespace(role=turn.role, content=tokens.text(f"messages[{number}].content", turn.content))
            for number, turn in enumerate(profile.messages)
        ),
        "adapters": tokens.texts("adapters", [path_text(path, profile.root) for path in profile.adapters]),
        "license": tokens.texts("license", profile.license),
        "vars": _plain(profile.vars),
    }
    return Variables(
        values=own
        | {
            "hardware": _plain(plan.hardware),
            "plan": _plain(plan),
            "profile": SimpleNamespace(**own | _facts_of(profile, tokens)),
        },
        tokens=tokens,
    )


def parameters_of(profile: Profile, plan: Plan) -> dict[str, object]:
    """The parameters that the model is to have: the profile's, and the plan's num_ctx where it has none."""
    chosen: dict[str, object] = profile.parameters.model_dump(exclude_none=True)
    return chosen if "num_ctx" in chosen else {"num_ctx": plan.settings.num_ctx} | chosen


def path_text(path: Path, root: Path) -> str:
    """A file as people read it: relative to the project where it lies in it, the same on every machine."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _parameters(profile: Profile, plan: Plan, tokens: Tokens) -> dict[str, object]:
    chosen = parameters_of(profile, plan)
    if profile.parameters.stop is not None:
        chosen["stop"] = tokens.texts("parameters.stop", profile.parameters.stop)
    return chosen


def _facts_of(profile: Profile, tokens: Tokens) -> dict[str, object]:
    texts = {
        name: None if text is None else tokens.text(f"profile.{name}", text)
        for name, text in (
            ("chat_template", profile.chat_template),
            ("renderer", profile.renderer),
            ("parser", profile.parser),
            ("requires", profile.requires),
        )
    }
    return texts | {
        "name": profile.name,
        "model_name": profile.model_name,
        "description": profile.description,
        "targets": profile.targets,
        "base": _plain(profile.base.model_dump()),
        "resolve": _plain(profile.resolve.model_dump()),
        "serve": _plain(profile.serve.model_dump()),
    }


def _nonce(profile: Profile, base: Candidate) -> str:
    """Hex that depends on all opaque texts, so that none of them and no template can hold it by chance."""
    texts = [
        base.ref,
        *(profile.system, profile.chat_template, profile.renderer, profile.parser, profile.requires),
        *(turn.content for turn in profile.messages),
        *profile.license,
        *(profile.parameters.stop or ()),
        *(path_text(path, profile.root) for path in profile.adapters),
    ]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:_NONCE_LENGTH]


def _plain(value: object) -> object:
    """The value as data only: records as namespaces, paths by their file name."""
    if is_dataclass(value):
        named = {one.name: getattr(value, one.name) for one in fields(value) if one.name not in _LEFT_OUT}
        return SimpleNamespace(**{name: _plain(part) for name, part in named.items()})
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_plain(part) for part in value)
    return value
