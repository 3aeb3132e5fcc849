"""The image of the server: there, or pulled first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.errors import Unreachable
from modelforge.events import Progress, Step
from modelforge.runtimes.docker.engine import Declined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelforge.events import Emit
    from modelforge.project_settings import Pull
    from modelforge.runtimes.docker.engine import Engine, Image

_REASONS = (
    (("no such host", "dial tcp", "i/o timeout", "connection refused", "network is unreachable", "deadline exceeded"),
     "its registry cannot be reached",
     "connect the engine's machine to the network, or bring the image there: docker save … | docker load"),
    (("toomanyrequests", "rate limit"), "its registry lets no more be pulled for now", "docker login, or wait"),
    (("unauthorized", "denied", "authentication required"), "there is no such image, or its registry wants a login",
     "correct image in [runtime.docker], or docker login"),
    (("manifest unknown", "not found", "no matching manifest"), "there is no such image for this machine",
     "correct image in [runtime.docker]"),
    (("no space left",), "the engine's disk is full", "make room there: docker system prune"),
)  # fmt: skip


def ensure_image(engine: Engine, name: str, pull: Pull, emit: Emit) -> Image:
    """The image, pulled if that is wanted.

    Raises:
        Unreachable: it is not there and cannot be had.
    """
    found = None if pull == "always" else engine.image(name)
    if found is not None:
        return found
    if pull == "never":
        hint = f'docker pull {name}, or pull = "missing" in [runtime.docker]'
        raise Unreachable(
            f"The image {name} is not on {engine.endpoint.url}, and is not to be pulled.", hint=hint
        )
    _pull(engine, name, emit)
    found = engine.image(name)
    if found is None:
        raise Unreachable(f"The image {name} is not on {engine.endpoint.url} after it was pulled.")
    return found


def _pull(engine: Engine, name: str, emit: Emit) -> None:
    layers: dict[str, tuple[int, int]] = {}
    try:
        for line in engine.pull(name):
            _note(layers, line)
            done, total = (
                (sum(figures) for figures in zip(*layers.values(), strict=True)) if layers else (0, 0)
            )
            if total:
                emit(Progress(stage="pull", text=name, done=done, total=total))
    except Declined as declined:
        reason, hint = _meaning(declined.words)
        raise Unreachable(
            f"The image {name} cannot be pulled: {reason} ({declined.words}).", hint=hint
        ) from declined
    emit(Step(stage="pull", text=name))


def _note(layers: dict[str, tuple[int, int]], line: Mapping[str, object]) -> None:
    """How far a layer's download is. Unpacking is told in the same fields, and is not counted."""
    layer, detail = str(line.get("id") or ""), line.get("progressDetail")
    if line.get("status") == "Downloading" and isinstance(detail, dict) and detail.get("total"):
        layers[layer] = (int(detail.get("current") or 0), int(detail["total"]))
    elif line.get("status") in {"Download complete", "Pull complete"} and layer in layers:
        layers[layer] = (layers[layer][1], layers[layer][1])


def _meaning(words: str) -> tuple[str, str]:
    folded = words.casefold()
    for signs, reason, hint in _REASONS:
        if any(sign in folded for sign in signs):
            return reason, hint
    return "the engine refuses", "try it by hand: docker pull"
