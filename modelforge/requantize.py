"""The tensor types that a server gives a model when it makes a quant of it: from the source's header, without weights.

Sources: llama.cpp src/llama-quant.cpp (b10488, which Ollama 0.32 calls as `llama-quantize`), what Ollama adds to it
(server/quantization.go `llamaQuantizeArgs`), and what it makes at all (fs/ggml/type.go `ParseFileType`). Ollama before
0.30 mixes types by rules of its own, which give the same for a plain transformer: see `older_differs`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from modelforge import ggml, quants

if TYPE_CHECKING:
    from modelforge.gguf import Header, Tensor

TARGETS = ("Q8_0", "Q4_K_M", "Q4_K_S", "BF16", "F16")
"""What a server makes, best first. F32 is not among them: a server makes it, but cannot say that it has it."""

SOURCES = ("F16", "BF16")
"""What a server makes it from, by `general.file_type`. F32 is "unknown" to a server, which then refuses."""

_BODY = {"Q4_K_M": "Q4_K", "Q4_K_S": "Q4_K"}
_TYPES = {kind.name: kind for kind in ggml.TYPES.values()}
_FALLBACKS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_ALIGNMENT = 32
_FEW_VALUES = 4
_MIXTRAL = 8
_LLAMA_70B = 80
_BLOCK = re.compile(r"blk\.(\d+)\.")
_EMBEDDINGS = frozenset({"token_embd.weight", "per_layer_token_embd.weight"})
_ENCODERS = ("a.", "mm.", "mtp.", "s.", "v.")
"""What comes before the names of tensors that Ollama puts back as they were: encoders and draft layers."""

_KEPT = re.compile(
    r"_norm\.weight|ffn_gate_inp\.weight|ffn_gate_tid2eid|altup|laurel|per_layer_model_proj|ssm_conv1d"
    r"|shortconv\.conv\.weight|indexer\.[kq]_proj|time_mix_(?:first|[wva][012]|g[12]|decay_w[12]|lerp_fused)\.weight"
    r"|attn_rel_b|\.position_embd|\.rel_pos|\.patch_(?:embd|merger)|^position_embd\.|^token_types\."
)
"""Names of matrices that are small or delicate, and keep their type."""

_PINNED: dict[str, tuple[tuple[re.Pattern[str], str], ...]] = {
    "qwen35": ((re.compile(r"^blk\.\d+\.nextn\.eh_proj\.weight$"), "Q8_0"),),
    "qwen35moe": ((re.compile(r"^blk\.\d+\.nextn\.eh_proj\.weight$"), "Q8_0"),),
    "gemma3n": ((re.compile(r"^per_layer_token_embd\.weight$"), "F16"),),
    "deepseek2": ((re.compile(r"attn_(?:k_b|q_a|q_b|v_b|kv_a_mqa)\.weight$"), "Q8_0"),),
    "glm4": ((re.compile(r"^(?:token_embd|output)\.weight$"), "F16"),),
    "glmocr": ((re.compile(r"^(?:token_embd|output)\.weight$"), "F16"),),
}
"""Types that Ollama asks for by name where it makes a K-quant of an architecture."""

_PLAIN = re.compile(
    r"(?:token_embd|output|blk\.\d+\.(?:attn_[qkv]|attn_output|ffn_(?:up|gate|down)))\.weight"
)
_PLAIN_Q8 = re.compile(r"blk\.\d+\.(?:attn_qkv|ffn_(?:up|gate|down)_exps)\.weight")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Model:
    """What the mix depends on beside a tensor's name: `values` is how many tensors count as attention values."""

    target: str
    architecture: str
    layers: int
    experts: int
    values: int
    tied: bool
    large: bool

    @property
    def body(self) -> str:
        """The type that most matrices get."""
        return _BODY.get(self.target, self.target)


def canonical(name: str) -> str | None:
    """The target that a name in any case means; None if a server does not make it."""
    spelled = quants.canonical(name)
    return spelled if spelled in TARGETS else None


def why_no_source(header: Header) -> str | None:
    """Why a server makes no quant of a GGUF, as the end of a sentence about it; None if it does."""
    number = header.metadata.get("general.file_type")
    if not isinstance(number, int):
        return "does not say its type (general.file_type), and Ollama refuses what it does not know"
    known = quants.from_file_type(number) or f"of type {number}"
    if known == "F32":
        return "is F32, which Ollama takes for an unknown type and refuses"
    return None if known in SOURCES else f"is {known} already"


def requantized(header: Header, target: str) -> Header:
    """The header of what a server makes of a model.

    `file_bytes` is the source's with the new tensors in place of the old ones.

    Args:
        header: the source's, F16 or BF16.
        target: one of `TARGETS`.
    """
    model = _model(header, target)
    seen: Counter[str] = Counter()
    types = {tensor.name: _type_of(tensor, model, seen) for tensor in sorted(header.tensors, key=_place)}
    tensors = tuple(_stored(tensor, types[tensor.name]) for tensor in header.tensors)
    quant = quants.get(target)
    number = quant.file_type if quant else None
    return replace(
        header,
        metadata={**header.metadata, **({} if number is None else {"general.file_type": number})},
        tensors=tensors,
        file_bytes=header.file_bytes - data_bytes(header.tensors) + data_bytes(tensors),
    )


def older_differs(header: Header, target: str) -> bool:
    """Whether Ollama before 0.30 may give other types: it does wherever a model is more than a plain transformer.

    Its F16 and BF16 have an output matrix of Q6_K.
    """
    if target in SOURCES:
        return True
    model = _model(header, target)
    if model.target != "Q8_0" and (model.large or model.experts > 1 or model.architecture in _PINNED):
        return True
    changed = (tensor.name for tensor in header.tensors if _changes(tensor))
    return not all(
        _PLAIN.fullmatch(name) or (target == "Q8_0" and _PLAIN_Q8.fullmatch(name)) for name in changed
    )


def data_bytes(tensors: tuple[Tensor, ...]) -> int:
    """Bytes that tensors take in a file, each aligned."""
    return sum(-(-tensor.bytes // _ALIGNMENT) * _ALIGNMENT for tensor in tensors)


def _model(header: Header, target: str) -> _Model:
    def number(key: str) -> int:
        value = header.metadata.get(f"{architecture}.{key}", 0)
        return int(value) if isinstance(value, int | float) else 0

    architecture = str(header.metadata.get("general.architecture"))
    layers = number("block_count")
    grouped = number("attention.head_count") != number("attention.head_count_kv")
    return _Model(
        target=target,
        architecture=architecture,
        layers=layers,
        experts=number("expert_count"),
        values=sum(_is_value(tensor.name) for tensor in header.tensors),
        tied=all(tensor.name != "output.weight" for tensor in header.tensors),
        large=layers == _LLAMA_70B
        and (architecture in {"qwen2", "deci", "olmo"} or (architecture == "llama" and grouped)),
    )


def _place(tensor: Tensor) -> tuple[int, str]:
    """llama.cpp takes tensors by layer, then by name; its counters depend on that."""
    block = _BLOCK.match(tensor.name)
    return int(block[1]) if block else -1, tensor.name


def _is_value(name: str) -> bool:
    return any(part in name for part in ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"))


def _changes(tensor: Tensor) -> bool:
    """Whether a tensor's type is changed at all."""
    name = tensor.name
    return (
        any(dim > 1 for dim in tensor.dims[1:])
        and name.endswith("weight")
        and not name.startswith(_ENCODERS)
        and _KEPT.search(name) is None
        and tensor.type in {"F32", *SOURCES}
    )


def _type_of(tensor: Tensor, model: _Model, seen: Counter[str]) -> str:
    if not _changes(tensor):
        return tensor.type
    if model.target in SOURCES:
        return model.target
    pinned = _PINNED.get(model.architecture, ()) if model.body == "Q4_K" else ()
    asked = next((kind for pattern, kind in pinned if pattern.search(tensor.name)), None)
    return _fitting(tensor, asked or _mixed(tensor.name, tensor.dims[0], model, seen))


def _mixed(name: str, row: int, model: _Model, seen: Counter[str]) -> str:
    """The type before rows that do not fit it are looked at; counts in `seen`."""
    if name == "output.weight" or (model.tied and name in _EMBEDDINGS):
        odd = row % _TYPES[model.body].block or model.architecture == "falcon"
        return "Q8_0" if odd or model.body == "Q8_0" else "Q6_K"
    if _is_value(name):
        seen["values"] += 1
        return _value_type(seen["values"] - 1, model)
    if "ffn_down" in name:
        seen["down"] += 1
        block = _BLOCK.match(name)
        layer = int(block[1]) if block and model.experts > 1 else seen["down"] - 1
        return _down_type(layer, model)
    if model.experts == _MIXTRAL and "attn_k.weight" in name:
        return "Q8_0"
    wider = model.experts == _MIXTRAL and model.body == "Q4_K" and "attn_output.weight" in name
    return "Q5_K" if wider else model.body


def _value_type(index: int, model: _Model) -> str:
    kind = model.body
    if model.target == "Q4_K_M" and _more_bits(index, model.values):
        kind = "Q6_K"
    elif model.target == "Q4_K_S" and index < _FEW_VALUES:
        kind = "Q5_K"
    if model.large and kind == "Q4_K":
        kind = "Q5_K"
    return "Q8_0" if model.experts == _MIXTRAL else kind


def _down_type(layer: int, model: _Model) -> str:
    if model.target == "Q4_K_M" and _more_bits(layer, model.layers):
        return "Q6_K"
    if model.target == "Q4_K_S" and layer < model.layers // 8:
        return "Q5_K"
    return model.body


def _more_bits(index: int, count: int) -> bool:
    """The layers at both ends, and each third one between."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2  # noqa: PLR2004


def _fitting(tensor: Tensor, kind: str) -> str:
    """The type, or another one where a row is no whole number of its blocks."""
    row = tensor.dims[0]
    if row % _TYPES[kind].block:
        kind = _FALLBACKS.get(kind, "F16")
    return kind if row % _TYPES[kind].block == 0 else "F16"


def _stored(tensor: Tensor, kind: str) -> Tensor:
    block = _TYPES[kind]
    size = tensor.bytes if kind == tensor.type else prod(tensor.dims) // block.block * block.bytes
    return replace(tensor, type=kind, bytes=size)
