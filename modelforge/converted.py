"""The GGUF header that Ollama's converter makes of a model in Hugging Face's form: from config.json and tensor names.

Source: ollama convert/convert.go, convert/reader.go and the file of each architecture, v0.24.0 and v0.32.15. Only
architectures that both know, and that are text alone, are here. Ollama knows more; those cannot be planned for, so
they are refused. It does not know MistralForCausalLM and Qwen3ForCausalLM.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from modelforge import ggml
from modelforge.errors import BaseProblem
from modelforge.gguf import Header, LongArray, Tensor
from modelforge.requantize import data_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from modelforge.gguf import Value
    from modelforge.safetensors import SafeTensor

GGUF_SCRIPT = "llama.cpp's convert_hf_to_gguf.py"
_TYPES = {kind.name: kind for kind in ggml.TYPES.values()}
_FILE_TYPES = {"F16": 1, "BF16": 32}
_CONVERTED = frozenset({"F32", "F16", "BF16"})
_ALWAYS_F32 = (".ffn_gate_inp.weight", ".bias")
_KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}
"""GGUF's keys, without the architecture before them, and config.json's."""

_LLAMA = {
    "lm_head": "output",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "model.layers": "blk",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.down_proj": "ffn_down",
    "mlp.up_proj": "ffn_up",
    "post_attention_layernorm": "ffn_norm",
}
_GEMMA = {old: new for old, new in _LLAMA.items() if old != "lm_head"}
_SANDWICH = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_PHI3 = {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rules:
    """How one architecture is converted.

    `names` are the parts of tensor names that are replaced, `more` are further keys and config.json's for them,
    `added` makes tensors of config.json, `scaling` the words for `rope_scaling.type` that do not make
    the converter panic (None: any).
    """

    architecture: str
    names: Mapping[str, str]
    more: Mapping[str, str]
    added: Callable[[_Config], Iterator[Tensor]] | None = None
    scaling: frozenset[str] | None = None


class _Config:
    """config.json, read by key."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data

    def get(self, *path: str) -> Any:  # noqa: ANN401 (any JSON)
        """What stands at a path; None if nothing does."""
        found: Any = self._data
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def integer(self, key: str) -> int:
        """A positive whole number.

        Raises:
            BaseProblem: it is missing, or none.
        """
        value = self._data.get(key)
        if type(value) is not int or not 0 < value < 1 << 31:
            said = "has no" if value is None else f"has {str(value)[:40]!r} as its"
            raise BaseProblem(f"config.json {said} '{key}'", hint="Ollama's converter needs it as a number")
        return value


def _vector(name: str, length: int) -> Tensor:
    return Tensor(name=name, dims=(length,), type="F32", bytes=4 * length)


def _llama_factors(config: _Config) -> Iterator[Tensor]:
    if config.get("rope_scaling", "rope_type") == "llama3" and config.get("rope_theta"):
        head = config.integer("hidden_size") // config.integer("num_attention_heads")
        yield _vector("rope_freqs.weight", -(-head // 2))


def _phi3_factors(config: _Config) -> Iterator[Tensor]:
    for word in ("long", "short"):
        factors = config.get("rope_scaling", f"{word}_factor")
        if isinstance(factors, list) and factors:
            yield _vector(f"rope_factors_{word}.weight", len(factors))


_KV_HEADS = {"attention.head_count_kv": "num_key_value_heads"}
_HEAD = {"attention.key_length": "head_dim", "attention.value_length": "head_dim"}
_WINDOW = {"attention.sliding_window": "sliding_window"}
_RULES: dict[str, _Rules] = {
    "LlamaForCausalLM": _Rules(architecture="llama", names=_LLAMA, more={}, added=_llama_factors),
    "Qwen2ForCausalLM": _Rules(
        architecture="qwen2", names=_LLAMA, more=_KV_HEADS, scaling=frozenset({"yarn", "mrope", "default"})
    ),
    "GemmaForCausalLM": _Rules(architecture="gemma", names=_GEMMA, more={**_KV_HEADS, **_HEAD}),
    "Gemma2ForCausalLM": _Rules(
        architecture="gemma2", names={**_GEMMA, **_SANDWICH}, more={**_KV_HEADS, **_HEAD, **_WINDOW}
    ),
    "Gemma3ForCausalLM": _Rules(
        architecture="gemma3",
        names={"language_model.": "", **_LLAMA, **_HEAD_NORMS, **_SANDWICH},
        more={**_KV_HEADS, **_HEAD, **_WINDOW},
    ),
    "Phi3ForCausalLM": _Rules(
        architecture="phi3",
        names={**_LLAMA, **_PHI3},
        more=_KV_HEADS,
        added=_phi3_factors,
        scaling=frozenset({"su", "longrope", "yarn"}),
    ),
    "Olmo3ForCausalLM": _Rules(
        architecture="olmo2",
        names={**_LLAMA, **_HEAD_NORMS, **_SANDWICH},
        more={},
    ),
}

KNOWN = tuple(_RULES)
"""Architectures as config.json names them."""


def converted_header(
    config: Mapping[str, Any], tensors: Sequence[SafeTensor], *, vocabulary_bytes: int
) -> Header:
    """The header of the GGUF that a server makes. The file's size is near: the vocabulary is not read.

    Args:
        config: config.json.
        tensors: those of all weight files.
        vocabulary_bytes: size of the tokenizer's file, as what the vocabulary takes in a GGUF.

    Raises:
        BaseProblem: the architecture is none of `KNOWN`, config.json lacks what is needed, or the tensors are not
            what Hugging Face calls them, or of types that are not converted.
    """
    rules, read = _rules_of(config), _Config(config)
    made = (*_tensors(rules, tensors), *(rules.added(read) if rules.added else ()))
    _check_whole(made, config)
    return Header(
        metadata=_metadata(rules, read, made),
        tensors=made,
        file_bytes=vocabulary_bytes + data_bytes(made),
    )


def _rules_of(config: Mapping[str, Any]) -> _Rules:
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise BaseProblem(
            "config.json does not say its 'architectures'", hint=f"take the model's own, or {GGUF_SCRIPT}"
        )
    rules = _RULES.get(named[0])
    if rules is None:
        raise BaseProblem(
            f"{named[0]} cannot be converted by Ollama and planned for here; can be: {', '.join(KNOWN)}",
            hint=f"convert it to GGUF with {GGUF_SCRIPT}, and name the file",
        )
    scaling = config.get("rope_scaling")
    word = scaling.get("type") if isinstance(scaling, dict) else None
    if word and rules.scaling is not None and word not in rules.scaling:
        raise BaseProblem(
            f"config.json has the rope_scaling type '{word}', at which Ollama's converter panics",
            hint=f"convert it with {GGUF_SCRIPT}",
        )
    return rules


def _tensors(rules: _Rules, tensors: Sequence[SafeTensor]) -> Iterator[Tensor]:
    parts = re.compile("|".join(map(re.escape, rules.names)))
    for tensor in tensors:
        if tensor.type not in _CONVERTED:
            hint = f"take the model in BF16 or F16, or convert it with {GGUF_SCRIPT}"
            raise BaseProblem(f"the tensor {tensor.name[:120]!r} is of type {tensor.type}", hint=hint)
        name = parts.sub(lambda part: rules.names[part[0]], tensor.name)
        shape = tensor.shape or (1,)
        kind = "BF16" if tensor.type == "BF16" else "F16"
        kind = "F32" if len(shape) == 1 or name.endswith(_ALWAYS_F32) else kind
        yield Tensor(
            name=name, dims=tuple(reversed(shape)), type=kind, bytes=prod(shape) * _TYPES[kind].bytes
        )


def _check_whole(tensors: Sequence[Tensor], config: Mapping[str, Any]) -> None:
    names = [tensor.name for tensor in tensors]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise BaseProblem(
            f"the tensor '{twice}' is there twice", hint="keep the files of one model in the folder"
        )
    layers = _Config(config).integer("num_hidden_layers")
    blocks = {int(match[1]) for name in names if (match := re.match(r"blk\.(\d+)\.", name))}
    wanted = "token_embd.weight"
    if wanted not in names or blocks != set(range(layers)):
        gone = sorted(set(range(layers)) - blocks)
        lacks = (
            f"layer {gone[0]} of {layers}"
            if wanted in names and gone
            else "an embedding, or has other layers"
        )
        raise BaseProblem(
            f"the model lacks {lacks}, by the names that Hugging Face gives tensors",
            hint="are all weight files there, and of the model that config.json tells of?",
        )


def _metadata(rules: _Rules, config: _Config, tensors: Sequence[Tensor]) -> dict[str, Value]:
    name = rules.architecture
    sizes = Counter[str]()
    for tensor in tensors:
        sizes[tensor.type] += tensor.bytes if tensor.type in _FILE_TYPES else 0
    found: dict[str, Value] = {
        "general.architecture": name,
        "general.file_type": _FILE_TYPES.get(max(sizes, key=lambda kind: sizes[kind]), 1),
    }
    found |= {f"{name}.{key}": config.integer(theirs) for key, theirs in {**_KEYS, **rules.more}.items()}
    for key, theirs in {**_KV_HEADS, **(_HEAD if name == "llama" else {})}.items():
        if f"{name}.{key}" not in found and config.get(theirs):
            found[f"{name}.{key}"] = config.integer(theirs)
    found |= _windows(name, config)
    embedding = next(tensor for tensor in tensors if tensor.name == "token_embd.weight")
    return found | {"tokenizer.ggml.tokens": LongArray(type="str", length=embedding.dims[-1])}


def _windows(name: str, config: _Config) -> dict[str, Value]:
    """Which layers see a window only, where the converter writes that down; else the architecture's own pattern."""
    found: dict[str, Value] = {}
    layers, types = config.integer("num_hidden_layers"), config.get("layer_types")
    period = config.get("sliding_window_pattern")
    if name == "olmo2" and config.get("sliding_window"):
        found["olmo2.attention.sliding_window"] = config.integer("sliding_window")
    if name in {"gemma3", "olmo2"} and isinstance(types, list) and len(types) == layers:
        found[f"{name}.attention.sliding_window_pattern"] = tuple(one == "sliding_attention" for one in types)
    elif name == "gemma3" and type(period) is int and period > 0:
        found["gemma3.attention.sliding_window_pattern"] = tuple(
            (layer + 1) % period != 0 for layer in range(layers)
        )
    return found
