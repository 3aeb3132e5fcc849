"""Whether a model stands in a volume just as it was left, seen without a server.

A container that is made but never started shows the engine what is in the volume. A manifest names all that a model has
by digests, so one with the same digest, and blobs of the sizes that it tells, is the same model.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from modelforge import names
from modelforge.errors import Unreachable
from modelforge.runtimes.docker.claims import looking
from modelforge.runtimes.docker.engine import Declined
from modelforge.runtimes.docker.spec import MODELS, volume_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelforge.runtimes.docker.claims import Claims
    from modelforge.runtimes.docker.engine import Engine

_STORE = f"{MODELS}/models"


def stands(engine: Engine, claims: Claims, *, image: str, volume: str, name: str, manifest: str) -> bool:
    """Whether `name` has just this manifest, and all of its blobs; False where that cannot be seen.

    Args:
        engine: where the volume is; it has to be there.
        claims: whose container it is.
        image: any image that the engine has.
        volume: the volume with the models.
        name: the model's name.
        manifest: `sha256:<hex>` of its manifest.
    """
    try:
        with looking(engine, claims, lambda labels: volume_body(image, volume, labels)) as container:
            return _is_whole(engine, container, name, manifest)
    except (Declined, Unreachable, ValueError, KeyError, TypeError):
        return False


def _is_whole(engine: Engine, container: str, name: str, manifest: str) -> bool:
    at = names.parse(name)
    raw = engine.read(container, f"{_STORE}/manifests/{at.host}/{at.namespace}/{at.model}/{at.tag}")
    if raw is None or f"sha256:{hashlib.sha256(raw).hexdigest()}" != manifest:
        return False
    content = json.loads(raw)
    return all(_has(engine, container, layer) for layer in (content["config"], *content["layers"]))


def _has(engine: Engine, container: str, layer: Mapping[str, object]) -> bool:
    blob = str(layer["digest"]).replace(":", "-")
    return engine.size(container, f"{_STORE}/blobs/{blob}") == layer["size"]
