"""What a manifest says, as the fields of Ollama's create: a model that is sent has what a pulled one would have.

Two things a server decides itself when it makes a model of files (ollama server/create.go, v0.24.0 and v0.32.15): it
adds a chat template and stop texts that go with the weights where it knows their format. The stop texts are cleared
where the manifest has none; a template cannot be.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modelforge.errors import BuildFailed
from modelforge.gguf import read_header
from modelforge.runtimes import recipe
from modelforge.runtimes.standing import differences
from modelforge.runtimes.store import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelforge.bases import RegistryModel
    from modelforge.runtimes import Standing
    from modelforge.runtimes.store import Layer, Manifest

_FILES = ("model", "projector")
_IGNORED = ("embed",)
"""Layers that no server has read since 0.1.27."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """A model to be made of blobs that the server has.

    `wanted` is what a reader must find, but for the weights' digests: servers rewrite them from 0.30 on. `body` are
    create's fields, `adapters` the digests of what can only be put over it afterwards, one by one; `weights` is how
    many blobs of weights it has in all, `bytes` the sum of their sizes.
    """

    wanted: Standing
    body: Mapping[str, Any]
    adapters: tuple[str, ...]
    weights: int
    bytes: int


def manifest_of(model: RegistryModel) -> Manifest:
    """A model's manifest.

    Raises:
        BuildFailed: it is none that Ollama could read.
    """
    try:
        return parse_manifest(model.manifest)
    except ValueError as error:
        raise BuildFailed(f"the manifest of {model.name} cannot be read: {error}") from error


def read_import(model: RegistryModel, files: Mapping[str, Path]) -> Import:
    """The import of a model.

    Args:
        model: with its manifest.
        files: its downloaded blobs by their digests: all texts, and those weights that the server did not have.

    Raises:
        BuildFailed: it has parts that create has no field for, or that cannot be read.
        BaseProblem: its weights are no sound GGUF, which would bring a server down.
    """
    manifest = manifest_of(model)
    known = (*recipe.WEIGHTS, *recipe.TEXTS, *_IGNORED)
    strange = sorted({layer.kind for layer in manifest.layers if layer.kind not in known})
    if strange:
        raise BuildFailed(
            f"{model.name} has parts that cannot be sent to a server: {', '.join(strange)}",
            hint=f"pull it where the server runs: ollama pull {model.name}",
        )
    weights = manifest.of(*recipe.WEIGHTS)
    for layer in weights:
        if layer.digest in files:
            read_header(files[layer.digest], f"{model.name} ({layer.kind})")

    def text_of(layer: Layer) -> str:
        return files[layer.digest].read_bytes().decode(errors="replace")

    wanted = recipe.read(manifest, text_of)
    messages = manifest.of("messages")
    return Import(
        wanted=wanted,
        body=_body(manifest, wanted, json.loads(text_of(messages[-1])) if messages else []),
        adapters=tuple(layer.digest for layer in manifest.of("adapter")),
        weights=len(weights),
        bytes=sum(layer.size for layer in weights),
    )


def unlike(made: Import, found: Standing) -> tuple[str, ...]:
    """What an import has otherwise than its manifest says, a sentence each; not the template that a server added."""
    wanted = made.wanted
    if len(found.weights) == made.weights:
        wanted = replace(wanted, weights=found.weights)
    if not wanted.template:
        wanted = replace(wanted, template=found.template)
    return differences(wanted, found)


def _body(manifest: Manifest, wanted: Standing, messages: object) -> dict[str, Any]:
    """Create's fields. A server from 0.30 on takes several files in the order of their names."""
    layers = [layer for kind in _FILES for layer in manifest.of(kind)]
    fields: dict[str, Any] = {
        "files": {f"{number:02}-{layer.kind}.gguf": layer.digest for number, layer in enumerate(layers)},
        "system": wanted.system,
        "template": wanted.template,
        "license": list(wanted.license),
        "parameters": {"stop": (), **wanted.parameters},
        "messages": messages,
        "renderer": wanted.renderer,
        "parser": wanted.parser,
        "requires": wanted.requires,
    }
    return {name: value for name, value in fields.items() if value}
