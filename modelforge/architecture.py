"""The rules of model architectures: what each layer keeps in memory for a token or for a sequence.

Source: llama.cpp src/models/*.cpp, src/llama-hparams.cpp and src/llama-memory-recurrent.cpp, b10488 to
b11549. What is not known here is planned as full attention on every layer, which is never too little, and
said so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelforge.keys import Keys


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """What one layer keeps.

    `key`, `value`: elements for each token of the KV cache. `window`: only that many last tokens are kept
    (sliding window). `state`: bytes for each sequence, whatever its length (recurrent layers). `draft`: a
    layer for multi-token prediction, which is not loaded.
    """

    key: int = 0
    value: int = 0
    window: int | None = None
    state: int = 0
    draft: bool = False


@dataclass(kw_only=True, slots=True)
class Findings:
    """Collects why a figure is not exact, each reason once and in order."""

    reasons: list[str] = field(default_factory=list)

    def add(self, reason: str) -> None:
        """Notes a reason, unless it is there already."""
        if reason not in self.reasons:
            self.reasons.append(reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A sliding-window pattern: of each `period` layers the last (`dense_first`: the first) sees everything."""

    period: int
    dense_first: bool = False
    default: int = 0


WINDOWS = {
    "gemma2": Window(period=2, default=4096),
    "gemma3": Window(period=6),
    "gemma3n": Window(period=5),
    "gpt-oss": Window(period=2),
    "gptoss": Window(period=2),
    "cohere2": Window(period=4),
    "cohere2moe": Window(period=4, dense_first=True),
    "llama4": Window(period=4, default=8192),
    "exaone4": Window(period=4, default=4096),
    "exaone-moe": Window(period=4),
    "olmo2": Window(period=4),
    "olmo3": Window(period=4),
    "afmoe": Window(period=4),
    "laguna": Window(period=4, dense_first=True),
    "smallthinker": Window(period=4, dense_first=True),
    "plamo3": Window(period=8),
    "mellum": Window(period=4),
    "muse-glimmer": Window(period=4),
}
WINDOWED_EXAONE4 = 64
"""Layers of the one exaone4 model of which llama.cpp keeps windows, whatever the header says."""
WINDOW_ARRAYS = frozenset({"gemma4", "mimo2", "step35", "granite_swa", "maple", "spark2_5"})
"""Architectures whose pattern is always an array in the file."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENCODERS = _names(
    "bert nomic-bert nomic-bert-moe jina-bert-v2 jina-bert-v3 modern-bert neo-bert eurobert gemma-embedding "
    "t5encoder"
)
ENCODERS_WITH_OUTPUT = frozenset({"gemma-embedding"})
"""Encoders that have a copy of the input embedding as output matrix, though they never use it."""
WINDOWED_ENCODERS = frozenset({"gemma-embedding", "modern-bert"})
"""Encoders with sliding windows, which have a mask for these too."""
INTERVAL = frozenset({"qwen3next", "qwen35", "qwen35moe", "qwen4exp", "minimax-01"})
NO_HEADS_IS_RECURRENT = _names("jamba granitehybrid lfm2 lfm2moe plamo2 kimi-linear bailingmoe3")
MAMBA = frozenset({"mamba", "mamba2"})
RWKV = {"rwkv6": 2, "rwkv7": 2, "rwkv6qwen2": 1, "arwkv7": 1}
NEMOTRON_H = frozenset({"nemotron_h", "nemotron_h_moe"})
HYBRIDS = INTERVAL | NO_HEADS_IS_RECURRENT | NEMOTRON_H | {"falcon-h1"}
INDEXED = frozenset({"deepseek32", "deepseek4", "glm-dsa"})
PLAIN = _names(
    "llama mistral3 mistral4 qwen qwen2 qwen2moe qwen2vl qwen25vl qwen3 qwen3moe qwen3vl qwen3vlmoe phi2 phi3 "
    "phimoe gemma starcoder starcoder2 stablelm command-r olmo olmoe granite granitemoe internlm2 baichuan falcon "
    "gpt2 gptneox gptj mpt bloom minicpm minicpm3 dbrx grok arctic nemotron exaone chatglm glm4 glm4moe deepseek "
    "deepseek2 deepseek2-ocr bitnet orion codeshell xverse refact jais plamo hunyuan-moe hunyuan-dense ernie4_5 "
    "ernie4_5-moe smollm3 seed_oss dots1 bailingmoe bailingmoe2 arcee apertus cogvlm pangu-embedded grovemoe "
    "minimax-m2 deci openelm llama-embed glm4moelite glm-ocr"
)
PARALLEL_BLOCKS = _names("cohere2 cohere2moe command-r gptneox gptj falcon falcon-h1 phi2 plamo stablelm")
STREAMS = {"gemma3n": 10}
"""Embeddings for each token that are alive all through the graph, by llama.cpp's planner (alternating updates)."""
NARROW_ON_CPU = frozenset({"exaone4"})
"""In b10488 these have no further row of embeddings on a CPU, where no part is much wider than the embedding."""
MIXED_FROM_THE_START = frozenset({"gemma4"})
"""These hold in b10488 as many rows of embeddings as others do in builds that mix tokens and embeddings."""
RESULTS_BESIDE = frozenset({"qwen2moe", "ernie4_5-moe"})
"""Mixtures of experts with shared ones whose experts' results have in b10488 no place among attention's parts."""
TWICE = frozenset({"gemma3n", "gemma4"})
"""Without an output matrix these have a copy of the input embedding in system memory too."""
GATED_DELTA = frozenset({"qwen35", "qwen35moe"})
"""Linear attention by llama.cpp's gated delta net, and full attention with a gate for each query."""
KNOWN = PLAIN | WINDOWS.keys() | WINDOW_ARRAYS | HYBRIDS | INDEXED
EXACT_COMPUTE = _names(
    "bert cohere2 command-r deepseek2 ernie4_5-moe exaone4 gemma gemma-embedding gemma2 gemma3 gemma3n gemma4 glm4 "
    "glm4moe gpt-oss gptoss granite granitehybrid granitemoe hunyuan-dense jamba lfm2 lfm2moe llama llama4 mamba "
    "mamba2 mistral3 nemotron nemotron_h olmo2 olmoe phi3 phimoe qwen2 qwen25vl qwen2moe qwen2vl qwen3 qwen35 "
    "qwen35moe qwen3moe qwen3next seed_oss smollm3 stablelm starcoder2"
)
"""Architectures whose compute buffer was found exact by llama.cpp's planner (tests/oracle); `gptoss` and
`qwen25vl` are Ollama's own words for gpt-oss and qwen2vl."""
NEARLY_EXACT = frozenset({"falcon-h1"})
"""Of the others, those of which it is known how far the form may be too low on an accelerator."""


def layers_of(keys: Keys, count: int, findings: Findings) -> tuple[Layer, ...]:
    """What each of the `count` layers keeps in memory.

    Raises:
        BaseProblem: a key that is needed is missing; the message names it.
    """
    name = keys.architecture
    if name in ENCODERS:
        return (Layer(),) * count
    if name in MAMBA:
        return (Layer(state=_mamba_state(keys)),) * count
    if name in RWKV:
        return (Layer(state=_rwkv_state(keys)),) * count
    if name not in KNOWN:
        findings.add(f"the architecture '{name}' is not known; planned as full attention on every layer")
    attention = _windowed(keys, _attention(keys, count, findings), findings)
    attention = _shared(keys, attention)
    found = _hybrid(keys, attention, findings) if name in HYBRIDS else attention
    trunk = count - min(drafts_of(keys), count)
    return found[:trunk] + tuple(replace(layer, draft=True) for layer in found[trunk:])


def drafts_of(keys: Keys) -> int:
    """How many of the last layers are for multi-token prediction; their weights are not loaded."""
    return keys.integer("nextn_predict_layers", 0)


def _attention(keys: Keys, count: int, findings: Findings) -> tuple[Layer, ...]:
    heads = (
        keys.per_block("attention.head_count", count) or (keys.integer("attention.head_count", 0),) * count
    )
    widest = max(heads, default=0)
    embedding = keys.integer("embedding_length")
    key = keys.integer("attention.key_length", embedding // widest if widest else None)
    value = keys.integer("attention.value_length", embedding // widest if widest else None)
    kv_heads = _kv_heads(keys, heads, key, findings)
    if keys.architecture in INDEXED:
        key += keys.integer("attention.indexer.key_length", 128)
        findings.add("the sparse-attention index of this architecture is estimated")
    if keys.has("attention.key_length_mla") and keys.has("attention.value_length_mla"):
        value = 0  # latent attention keeps one compressed row that serves as key and value
    return tuple(Layer(key=number * key, value=number * value) for number in kv_heads)


def _kv_heads(keys: Keys, heads: Sequence[int], key: int, findings: Findings) -> Sequence[int]:
    found = keys.per_block("attention.head_count_kv", len(heads), max(heads, default=0))
    if found is not None:
        return found
    if keys.blocks:
        return [_heads_of_tensor(keys, block, key, findings, heads[block]) for block in range(len(heads))]
    findings.add("the header's array of KV heads was not read; planned with one KV head for every head")
    return heads


def _heads_of_tensor(keys: Keys, block: int, key: int, findings: Findings, heads: int) -> int:
    """KV heads of a block from its key projection, whose rows are `heads × key`; none: no attention."""
    tensors = keys.blocks.get(block, {})
    dims = tensors.get("attn_k.weight")
    if dims is not None and len(dims) > 1 and key:
        return -(-dims[1] // key)
    if "attn_qkv.weight" in tensors and keys.architecture not in HYBRIDS:
        findings.add("the header's array of KV heads was not read; planned with one KV head for every head")
        return heads
    return 0


def _windowed(keys: Keys, layers: tuple[Layer, ...], findings: Findings) -> tuple[Layer, ...]:
    rule = WINDOWS.get(keys.architecture)
    if rule is None and keys.architecture not in WINDOW_ARRAYS:
        return layers  # others carry the key too, but llama.cpp keeps their whole context
    if keys.architecture == "exaone4" and len(layers) != WINDOWED_EXAONE4:
        return layers
    window = keys.integer("attention.sliding_window", rule.default if rule else 0)
    if rule is not None and keys.architecture == "llama4" and window:
        window = rule.default  # attention in fixed chunks, whatever the header's number
    if not window:
        return layers
    slides = _slides(keys, rule, len(layers), findings)
    key, value = _window_lengths(keys)
    heads = _per_head(keys)
    return tuple(
        replace(
            layer,
            window=window,
            key=_scaled(layer.key, heads[0], key),
            value=_scaled(layer.value, heads[1], value),
        )
        if slide
        else layer
        for layer, slide in zip(layers, slides, strict=True)
    )


def _slides(keys: Keys, rule: Window | None, count: int, findings: Findings) -> tuple[bool, ...]:
    """For each layer whether it keeps the window only."""
    pattern = "attention.sliding_window_pattern"
    if keys.is_array(pattern):
        flags = keys.per_block(pattern, count)
        if flags is not None:
            return tuple(bool(flag) for flag in flags)
    if rule is None:
        findings.add(
            "which layers have a sliding window was not read; planned as full attention on every layer"
        )
        return (False,) * count
    period = rule.period if keys.is_array(pattern) else keys.integer(pattern, rule.period)
    if period <= 0:
        return (False,) * count
    if rule.dense_first:
        return tuple(layer % period != 0 for layer in range(count))
    return tuple(layer % period < period - 1 for layer in range(count))


def _per_head(keys: Keys) -> tuple[int, int]:
    heads = keys.integer("attention.head_count")
    each = keys.integer("embedding_length") // max(heads, 1)
    return keys.integer("attention.key_length", each), keys.integer("attention.value_length", each)


def _window_lengths(keys: Keys) -> tuple[int, int]:
    """Key and value length of a head in sliding-window layers (gemma4 has its own)."""
    key, value = _per_head(keys)
    return keys.integer("attention.key_length_swa", key), keys.integer("attention.value_length_swa", value)


def _scaled(elements: int, length: int, other: int) -> int:
    return elements if length == other or not length else elements // length * other


def _shared(keys: Keys, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Layers at the end that read an earlier layer's cache have none of their own."""
    own = len(layers)
    if keys.architecture == "gemma3n":
        own = min(20, own)
    elif keys.architecture == "gemma4":
        own -= min(keys.integer("attention.shared_kv_layers", 0), own)
    return layers[:own] + (Layer(),) * (len(layers) - own)


def _hybrid(keys: Keys, layers: tuple[Layer, ...], findings: Findings) -> tuple[Layer, ...]:
    state = _hybrid_state(keys)
    if keys.architecture == "falcon-h1":
        return tuple(replace(layer, state=state) for layer in layers)
    if keys.architecture in NEMOTRON_H:
        return _nemotron(keys, layers, state, findings)
    recurrent = _recurrent(keys, layers, findings)
    return tuple(
        Layer(state=state) if is_recurrent else layer
        for layer, is_recurrent in zip(layers, recurrent, strict=True)
    )


def _recurrent(keys: Keys, layers: tuple[Layer, ...], findings: Findings) -> tuple[bool, ...]:
    if keys.architecture in NO_HEADS_IS_RECURRENT:
        return tuple(layer.key == 0 for layer in layers)
    flags = keys.per_block("attention.recurrent_layers", len(layers), 0)
    if keys.is_array("attention.recurrent_layers") and flags is not None:
        return tuple(bool(flag) for flag in flags)
    if keys.is_array("attention.recurrent_layers"):
        findings.add("which layers are recurrent was not read; planned by the usual interval")
    interval = max(keys.integer("full_attention_interval", 4), 1)
    drafts = keys.integer("nextn_predict_layers", 0)  # the last ones, which have attention
    return tuple((layer + 1) % interval != 0 and layer < len(layers) - drafts for layer in range(len(layers)))


def _nemotron(keys: Keys, layers: tuple[Layer, ...], state: int, findings: Findings) -> tuple[Layer, ...]:
    """Each layer is one of recurrent, attention, or feed-forward alone."""
    widths = keys.per_block("feed_forward_length", len(layers), 0)
    if widths is None:
        findings.add("which layers are recurrent was not read; all are planned as recurrent and attention")
        return tuple(replace(layer, state=state) for layer in layers)
    return tuple(
        Layer() if width else (layer if layer.key else Layer(state=state))
        for layer, width in zip(layers, widths, strict=True)
    )


def _hybrid_state(keys: Keys) -> int:
    """Bytes of recurrent state for a sequence and layer, F32."""
    if keys.has("shortconv.l_cache"):
        return 4 * keys.integer("embedding_length") * (keys.integer("shortconv.l_cache") - 1)
    if keys.has("kda.head_dim"):
        heads, head = keys.integer("attention.head_count"), keys.integer("kda.head_dim")
        return 4 * (3 * (keys.integer("ssm.conv_kernel") - 1) * heads * head + head * head * heads)
    return _mamba_state(keys)


def _mamba_state(keys: Keys) -> int:
    inner, state = keys.integer("ssm.inner_size"), keys.integer("ssm.state_size")
    rolling = inner + 2 * keys.integer("ssm.group_count", 0) * state
    return 4 * (max(keys.integer("ssm.conv_kernel") - 1, 0) * rolling + state * inner)


def _rwkv_state(keys: Keys) -> int:
    shifts = keys.integer("token_shift_count", RWKV[keys.architecture])
    return 4 * keys.integer("embedding_length") * (shifts + keys.integer("wkv.head_size"))
