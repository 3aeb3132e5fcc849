"""Profile and plan -> what the model gets: the request's fields, and the Modelfile for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelforge.bases import Candidate
    from modelforge.modelfile import Loss
    from modelforge.runtimes import ParameterValue, Turn


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
    """A rendered profile. `modelfile` is the text for people; `losses` is what that text cannot carry."""

    base: Candidate
    request: Request
    modelfile: str
    losses: tuple[Loss, ...]
