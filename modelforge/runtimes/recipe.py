"""What a model is made of, before anything is written: every layer with its digest, and what a reader will find.

The rules are those of `ollama create` (ollama server/create.go, v0.32.15), so that a server reads what it would
have written itself; but where layers came from is left out, weights are not rewritten, and the base's system
prompt can be taken away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modelforge.errors import BuildFailed
from modelforge.runtimes import BrokenModel, Standing, Turn, gojson
from modelforge.runtimes.store import Layer, Manifest, Store, config_layer, manifest_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from modelforge.gguf import Header
    from modelforge.render import Request
    from modelforge.runtimes import ParameterValue

WEIGHTS = ("model", "projector", "adapter")
TEXTS = ("prompt", "template", "system", "license", "params", "messages")
_FORMAT_KEYS = ("model_format", "model_family", "model_families", "model_type", "file_type")
_OPTIONAL_KEYS = (
    "renderer",
    "parser",
    "requires",
    "remote_host",
    "remote_model",
    "capabilities",
    "context_length",
    "embedding_length",
    "base_name",
    "draft",
)
_OWN_FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gemma4": ("gemma4", ("<turn|>",)),
    "laguna": ("laguna", ()),
    "nemotron_h": ("nemotron-3-nano", ()),
    "nemotron_h_moe": ("nemotron-3-nano", ()),
    "nemotron_h_omni": ("nemotron-3-nano", ()),
}
"""Architectures whose chat format Ollama has built in: the name of its renderer and parser, and stop texts."""
_FILE_TYPE_NAMES = (
    "unknown F16 Q4_0 Q4_1 unknown unknown unknown Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S "
    "Q5_K_M Q6_K IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16 "
    "unknown unknown unknown TQ1_0 TQ2_0 MXFP4_MOE NVFP4 Q1_0"
)
_FILE_TYPES: dict[int, str] = dict(enumerate(_FILE_TYPE_NAMES.split()))
"""`general.file_type` in Ollama's words (fs/ggml/type.go); F32 is unknown to it."""
_THOUSAND, _MILLION, _BILLION = 10**3, 10**6, 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A layer, and what it is made from: bytes, a file, or (neither) a blob that the store has."""

    layer: Layer
    data: bytes | None = None
    path: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All parts of a model in the order of its manifest, and its config."""

    parts: tuple[Part, ...]
    config: Part

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The manifest's layers."""
        return tuple(part.layer for part in self.parts)

    @property
    def manifest(self) -> str:
        """The digest of the manifest to be."""
        return _digest(manifest_bytes(self.config.layer, self.layers))


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What the model's own chat format asks for, where the profile says nothing: a Go template and stop texts."""

    template: str = ""
    stop: tuple[str, ...] = ()


def from_file(
    weights: Sequence[Part], header: Header, request: Request, adapters: Sequence[Part], defaults: Defaults
) -> Recipe:
    """A model on GGUF files of its own: that with `header`, and a projector if it has one."""
    family = str(header.metadata.get("general.architecture", "unknown"))
    builtin, stop = _OWN_FORMATS.get(family, ("", ()))
    config: dict[str, Any] = {
        "model_format": "gguf",
        "model_family": family,
        "model_families": [family],
        "model_type": human_number(sum(_elements(tensor.dims) for tensor in header.tensors)),
        "file_type": file_type(header),
        "renderer": request.renderer or builtin,
        "parser": request.parser or builtin,
        "requires": request.requires,
    }
    stops = stop or defaults.stop
    inherited: dict[str, ParameterValue] = {"stop": stops} if stops else {}
    texts = [
        *_optional("template", request.template or defaults.template),
        *_optional("system", request.system),
        *(_text("license", text) for text in request.license),
        *_params(inherited, request.parameters),
        *_messages(request.messages),
    ]
    return _recipe(config, [*weights, *adapters, *texts])


def from_model(base: Manifest, store: Store, request: Request, adapters: Sequence[Part]) -> Recipe:
    """A model FROM another: what the request leaves open is the base's, parameters merge, licences add up.

    Raises:
        BuildFailed: the base has no weights here.
        BrokenModel: the base cannot be read.
    """
    if not base.of("model"):
        raise BuildFailed(
            "the base has no GGUF weights in this store: it is a reference to a cloud model, or made of safetensors",
            hint="choose a base that Ollama keeps as GGUF",
        )
    config = {**_object(store.json(base.config), "config")}
    config |= {key: value for key in ("renderer", "parser", "requires") if (value := getattr(request, key))}
    params = _merged_params(base, store)
    texts = [
        *(_optional("template", request.template) or _kept(base, "prompt", "template")),
        *(_kept(base, "system") if request.system is None else _optional("system", request.system)),
        *(Part(layer=layer) for layer in base.of("license")),
        *(_text("license", text) for text in request.license),
        *_params(params, request.parameters),
        *(_messages(request.messages) or _kept(base, "messages")),
    ]
    kept = [Part(layer=layer) for layer in base.layers if layer.kind not in TEXTS]
    return _recipe(config, [*kept, *adapters, *texts])


def standing(recipe: Recipe, store: Store) -> Standing:
    """What a reader will find when the recipe has been written."""
    data = {part.layer.digest: part.data for part in (*recipe.parts, recipe.config) if part.data is not None}

    def text_of(layer: Layer) -> str:
        known = data.get(layer.digest)
        return store.text(layer) if known is None else known.decode()

    made = Manifest(config=recipe.config.layer, layers=recipe.layers, digest=recipe.manifest)
    return read(made, text_of)


def read(manifest: Manifest, text_of: Callable[[Layer], str]) -> Standing:
    """What a model has, as a server reads it: of several texts the last counts, params merge, licences add up.

    Raises:
        BrokenModel: a blob is missing, or not what it should be.
    """
    config = _object(_json(text_of(manifest.config)), "config")
    template, system, messages = (
        _last(manifest, kind) for kind in (("prompt", "template"), ("system",), ("messages",))
    )
    params: dict[str, Any] = {}
    for layer in manifest.of("params"):
        params |= _object(_json(text_of(layer)), "params")
    return Standing(
        weights=tuple(layer.digest for layer in manifest.layers if layer.kind in WEIGHTS),
        system=text_of(system) if system else "",
        template=text_of(template) if template else "",
        license=tuple(text_of(layer) for layer in manifest.of("license")),
        parameters={key: tuple(value) if isinstance(value, list) else value for key, value in params.items()},
        messages=_turns(_json(text_of(messages))) if messages else (),
        renderer=str(config.get("renderer", "")),
        parser=str(config.get("parser", "")),
        requires=str(config.get("requires", "")),
        manifest=manifest.digest,
    )


def without_manifest(found: Standing) -> Standing:
    """The same, not yet written."""
    return replace(found, manifest="")


def has_own_format(header: Header) -> bool:
    """Whether Ollama has the architecture's chat format built in, and needs no template for it."""
    return header.metadata.get("general.architecture") in _OWN_FORMATS


def human_number(count: int) -> str:
    """`1.2B`, `361K`: a number of weights as Ollama words it (format/format.go)."""
    if count >= _BILLION:
        return f"{count / _BILLION:.{0 if count % _BILLION == 0 else 1}f}B"
    if count >= _MILLION:
        return f"{count / _MILLION:.{0 if count % _MILLION == 0 else 2}f}M"
    return f"{count / _THOUSAND:.0f}K" if count >= _THOUSAND else str(count)


def file_type(header: Header) -> str:
    """The file's quantization in Ollama's words."""
    number = header.metadata.get("general.file_type")
    return _FILE_TYPES.get(number, "unknown") if isinstance(number, int) else "unknown"


def file_part(kind: str, path: Path, digest: str, size: int) -> Part:
    """A file of weights that is to become a blob."""
    return Part(layer=Layer(kind=kind, digest=digest, size=size), path=path)


def _recipe(config: Mapping[str, Any], parts: Sequence[Part]) -> Recipe:
    ordered: dict[str, Any] = {key: config.get(key) for key in _FORMAT_KEYS}
    ordered |= {key: config[key] for key in _OPTIONAL_KEYS if config.get(key)}
    data = gojson.document({**ordered, "architecture": "amd64", "os": "linux"})
    layer = config_layer(_digest(data), len(data))
    return Recipe(parts=tuple(parts), config=Part(layer=layer, data=data))


def _part(kind: str, data: bytes) -> Part:
    return Part(layer=Layer(kind=kind, digest=_digest(data), size=len(data)), data=data)


def _text(kind: str, text: str) -> Part:
    return _part(kind, text.encode())


def _optional(kind: str, text: str | None) -> list[Part]:
    return [_text(kind, text)] if text else []


def _kept(base: Manifest, *kinds: str) -> list[Part]:
    layer = _last(base, kinds)
    return [Part(layer=layer)] if layer else []


def _last(manifest: Manifest, kinds: tuple[str, ...]) -> Layer | None:
    return next(reversed(manifest.of(*kinds)), None)


def _params(inherited: Mapping[str, Any], own: Mapping[str, ParameterValue]) -> list[Part]:
    merged = {**inherited, **own}
    return [_part("params", gojson.document(merged, sort_keys=True))] if merged else []


def _merged_params(base: Manifest, store: Store) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for layer in base.of("params"):
        params |= _object(store.json(layer), "params")
    return params


def _messages(turns: Sequence[Turn]) -> list[Part]:
    said: list[gojson.Json] = [{"role": turn.role, "content": turn.content} for turn in turns]
    return [_part("messages", gojson.document(said))] if said else []


def _turns(value: object) -> tuple[Turn, ...]:
    if not isinstance(value, list):
        raise BrokenModel("its messages are no JSON array")
    said = [_object(item, "messages") for item in value]
    return tuple(Turn(role=str(item.get("role", "")), content=str(item.get("content", ""))) for item in said)


def _json(text: str) -> Any:  # noqa: ANN401 (whatever JSON holds)
    try:
        return json.loads(text)
    except ValueError as error:
        raise BrokenModel(f"a part of it is no JSON: {error}") from error


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BrokenModel(f"its {what} is no JSON object")
    return value


def _elements(dims: Sequence[int]) -> int:
    count = 1
    for dim in dims:
        count *= dim
    return count


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
