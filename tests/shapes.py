"""Headers of public models, from their published hyperparameters: what a GGUF of them says, without the weights.

    LLAMA_8B.header("Q4_K_M")
    GEMMA3_12B.header("Q4_K_M", **{"gemma3.context_length": 8192})

The types of each tensor follow llama.cpp's own mixes (src/llama-quant.cpp), so sizes are those of real files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelforge import ggml
from modelforge.gguf import Header, LongArray, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelforge.gguf import Value

Line = tuple[str, tuple[int, ...]]
SMALL = frozenset({"ffn_gate_inp", "ssm_conv1d", "ssm_a", "ssm_d", "ssm_norm", "shortconv.conv"})
BARE = frozenset({"ssm_a", "ssm_d"})
METADATA_BYTES = 8 << 20
TYPES = {kind.name: kind for kind in ggml.TYPES.values()}
BODY = {"Q5_K_M": "Q5_K", "Q5_K_S": "Q5_K", "Q4_K_M": "Q4_K", "Q4_K_S": "Q4_K"} | {"Q3_K_M": "Q3_K"}


def tensor(name: str, dims: tuple[int, ...], kind: str) -> Tensor:
    elements = 1
    for dim in dims:
        elements *= dim
    block = TYPES[kind] if dims[0] % TYPES[kind].block == 0 else TYPES["F16"]
    return Tensor(name=name, dims=dims, type=block.name, bytes=elements // block.block * block.bytes)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A transformer by its hyperparameters.

    `keys` are further ones of the header, without the prefix; `norm` the norm beside the embedding or the output,
    `outside` what there is besides, `per_block` each block's tensors where they are not the usual ones
    (names are completed by `.weight`, unless they end with `=`).
    """

    architecture: str
    layers: int
    embedding: int
    heads: int
    kv_heads: int | tuple[int, ...]
    feed_forward: int
    vocabulary: int
    context: int
    head: int | None = None
    tied: bool = False
    experts: int = 0
    expert_width: int = 0
    dense_layers: int = 0
    norm: str = "output_norm"
    outside: tuple[Line, ...] = ()
    keys: dict[str, Any] = field(default_factory=dict)
    per_block: Callable[[int], list[Line] | None] = lambda _block: None

    @property
    def head_size(self) -> int:
        return self.head or self.embedding // self.heads

    def header(self, quant: str, **more: Value) -> Header:
        tensors = tuple(self.tensors(quant))
        metadata: dict[str, Value] = {
            "general.architecture": self.architecture,
            "tokenizer.ggml.tokens": LongArray(type="str", length=self.vocabulary),
        }
        values = {
            "block_count": self.layers,
            "context_length": self.context,
            "embedding_length": self.embedding,
            "feed_forward_length": self.feed_forward,
            "vocab_size": self.vocabulary,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.layer_norm_rms_epsilon": 1e-5,
            **({"attention.key_length": self.head, "attention.value_length": self.head} if self.head else {}),
            **(
                {"expert_count": self.experts, "expert_feed_forward_length": self.expert_width}
                if self.experts
                else {}
            ),
            **self.keys,
        }
        metadata |= {f"{self.architecture}.{key}": value for key, value in values.items()}
        metadata |= more
        size = sum(one.bytes for one in tensors) + METADATA_BYTES
        return Header(metadata=metadata, tensors=tensors, file_bytes=size)

    def tensors(self, quant: str) -> Iterator[Tensor]:
        body = BODY.get(quant, quant)
        plain = body in {"F32", "F16", "BF16", "Q8_0"}
        last = body if plain else "Q6_K"
        yield tensor("token_embd.weight", (self.embedding, self.vocabulary), last if self.tied else body)
        yield tensor(f"{self.norm}.weight", (self.embedding,), "F32")
        for name, dims in self.outside:
            yield tensor(name, dims, "F32" if len(dims) == 1 else body)
        if not self.tied:
            yield tensor("output.weight", (self.embedding, self.vocabulary), last)
        for block in range(self.layers):
            for name, dims in self.per_block(block) or self.block(block):
                small = len(dims) == 1 or name.endswith(".bias") or name in SMALL
                kind = "F32" if small else mixed(name, quant, body, block, self.layers)
                yield tensor(f"blk.{block}.{name.rstrip('=')}{suffix(name)}", dims, kind)

    def block(self, block: int) -> list[Line]:
        parts = [*self.attention(block), *self.feed(block), *self.extras()]
        return [part for part in parts if not (self.architecture == "gpt-oss" and part[0] == "ffn_norm")]

    def extras(self) -> list[Line]:
        """The small tensors that an architecture has beside the usual ones."""
        one, head, kv = self.embedding, self.head_size, self.kv_heads
        narrow = kv * head if isinstance(kv, int) else 0
        norms: list[Line] = [("attn_q_norm", (head,)), ("attn_k_norm", (head,))]
        biases: list[Line] = [
            ("attn_q.bias", (self.heads * head,)),
            ("attn_k.bias", (narrow,)),
            ("attn_v.bias", (narrow,)),
        ]
        after: list[Line] = [("post_attention_norm", (one,)), ("post_ffw_norm", (one,))]
        experts: list[Line] = [
            *((f"ffn_{part}_exps.bias", (one, self.experts)) for part in ("gate", "up", "down")),
            ("ffn_gate_inp.bias", (self.experts,)),
            ("attn_output.bias", (one,)),
            ("attn_sinks", (self.heads,)),
            ("post_attention_norm", (one,)),
        ]
        extra = {
            "qwen2": biases,
            "qwen3moe": norms,
            "gemma2": after,
            "gemma3": [*after, *norms],
            "gpt-oss": [*biases, *experts],
        }
        return extra.get(self.architecture, [])

    def attention(self, block: int) -> list[Line]:
        kv = self.kv_heads[block] if isinstance(self.kv_heads, tuple) else self.kv_heads
        wide, narrow = self.heads * self.head_size, kv * self.head_size
        return [
            ("attn_norm", (self.embedding,)),
            ("attn_q", (self.embedding, wide)),
            ("attn_k", (self.embedding, narrow)),
            ("attn_v", (self.embedding, narrow)),
            ("attn_output", (wide, self.embedding)),
        ]

    def feed(self, block: int) -> list[Line]:
        one, wide = self.embedding, self.feed_forward
        if self.experts and block >= self.dense_layers:
            each, number = self.expert_width, self.experts
            return [
                ("ffn_norm", (one,)),
                ("ffn_gate_inp", (one, number)),
                ("ffn_gate_exps", (one, each, number)),
                ("ffn_up_exps", (one, each, number)),
                ("ffn_down_exps", (each, one, number)),
            ]
        return [
            ("ffn_norm", (one,)),
            ("ffn_gate", (one, wide)),
            ("ffn_up", (one, wide)),
            ("ffn_down", (wide, one)),
        ]


def suffix(name: str) -> str:
    return "" if name.endswith((".bias", "=")) or name in BARE else ".weight"


def mixed(name: str, quant: str, body: str, block: int, layers: int) -> str:
    """The type that llama.cpp's mix gives a tensor."""
    eighth = layers // 8
    more = block < eighth or block >= 7 * layers // 8 or (block - eighth) % 3 == 2
    special = name == "attn_v" or name.startswith("ffn_down")
    if quant in {"Q4_K_M", "Q5_K_M"}:
        return "Q6_K" if special and more else body
    if quant == "Q4_K_S":
        return (
            "Q5_K"
            if (name == "attn_v" and block < 4) or (special and name != "attn_v" and block < eighth)
            else body
        )
    if quant == "IQ4_XS":
        return "Q5_K" if name == "attn_v" or (special and block < eighth) else body
    if quant == "Q3_K_M":
        return {"attn_v": "Q5_K", "attn_output": "Q4_K"}.get(name, "Q4_K" if special else body)
    if quant == "Q2_K":
        return {"attn_v": "Q4_K", "attn_output": "Q3_K"}.get(name, "Q3_K" if special else body)
    return body


def _llama(layers: int, embedding: int, heads: int, kv_heads: int, feed_forward: int, *, tied: bool) -> Model:
    return Model(
        architecture="llama",
        layers=layers,
        embedding=embedding,
        heads=heads,
        kv_heads=kv_heads,
        feed_forward=feed_forward,
        vocabulary=128256,
        context=131072,
        head=embedding // heads,
        tied=tied,
        keys={"rope.dimension_count": embedding // heads},
    )


LLAMA_1B = _llama(16, 2048, 32, 8, 8192, tied=True)
LLAMA_3B = _llama(28, 3072, 24, 8, 8192, tied=True)
LLAMA_8B = _llama(32, 4096, 32, 8, 14336, tied=False)
LLAMA_70B = _llama(80, 8192, 64, 8, 28672, tied=False)


def _qwen2(
    layers: int, embedding: int, heads: int, kv_heads: int, feed_forward: int, *, vocabulary: int, tied: bool
) -> Model:
    return Model(
        architecture="qwen2",
        layers=layers,
        embedding=embedding,
        heads=heads,
        kv_heads=kv_heads,
        feed_forward=feed_forward,
        vocabulary=vocabulary,
        context=32768,
        tied=tied,
    )


QWEN25_3B = _qwen2(36, 2048, 16, 2, 11008, vocabulary=151936, tied=True)
QWEN25_7B = _qwen2(28, 3584, 28, 4, 18944, vocabulary=152064, tied=False)
QWEN25_14B = _qwen2(48, 5120, 40, 8, 13824, vocabulary=152064, tied=False)

GEMMA2_9B = Model(
    architecture="gemma2",
    layers=42,
    embedding=3584,
    heads=16,
    kv_heads=8,
    head=256,
    feed_forward=14336,
    vocabulary=256000,
    context=8192,
    tied=True,
    keys={
        "attention.sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
)
GEMMA3_12B = Model(
    architecture="gemma3",
    layers=48,
    embedding=3840,
    heads=16,
    kv_heads=8,
    head=256,
    feed_forward=15360,
    vocabulary=262208,
    context=131072,
    tied=True,
    keys={"attention.sliding_window": 1024},
)
QWEN3_30B_A3B = Model(
    architecture="qwen3moe",
    layers=48,
    embedding=2048,
    heads=32,
    kv_heads=4,
    head=128,
    feed_forward=6144,
    vocabulary=151936,
    context=40960,
    experts=128,
    expert_width=768,
    keys={"expert_used_count": 8},
)
GPT_OSS_20B = Model(
    architecture="gpt-oss",
    layers=24,
    embedding=2880,
    heads=64,
    kv_heads=8,
    head=64,
    feed_forward=2880,
    vocabulary=201088,
    context=131072,
    experts=32,
    expert_width=2880,
    keys={"expert_used_count": 4, "attention.sliding_window": 128},
)


def _mla_block(block: int) -> list[Line]:
    one, feed = 2048, DEEPSEEK2_LITE.feed(block)
    shared = [
        ("ffn_gate_shexp", (one, 2816)),
        ("ffn_up_shexp", (one, 2816)),
        ("ffn_down_shexp", (2816, one)),
    ]
    return [
        ("attn_norm", (one,)),
        ("attn_q", (one, 16 * 192)),
        ("attn_kv_a_mqa", (one, 576)),
        ("attn_kv_a_norm", (512,)),
        ("attn_k_b", (128, 512, 16)),
        ("attn_v_b", (512, 128, 16)),
        ("attn_output", (16 * 128, one)),
        *feed,
        *(shared if block else []),
    ]


DEEPSEEK2_LITE = Model(
    architecture="deepseek2",
    layers=27,
    embedding=2048,
    heads=16,
    kv_heads=1,
    feed_forward=10944,
    vocabulary=102400,
    context=163840,
    experts=64,
    expert_width=1408,
    dense_layers=1,
    per_block=_mla_block,
    keys={
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.key_length_mla": 192,
        "attention.value_length_mla": 128,
        "attention.kv_lora_rank": 512,
        "rope.dimension_count": 64,
        "expert_used_count": 6,
        "expert_shared_count": 2,
        "leading_dense_block_count": 1,
    },
)


def _qwen3next_block(block: int) -> list[Line]:
    one, experts = 2048, QWEN3_NEXT_80B.feed(block)
    shared: list[Line] = [
        ("ffn_gate_inp_shexp", (one,)),
        ("ffn_gate_shexp", (one, 512)),
        ("ffn_up_shexp", (one, 512)),
        ("ffn_down_shexp", (512, one)),
    ]
    feed = [part for part in [*experts, *shared] if part[0] != "ffn_norm"]
    norms: list[Line] = [("attn_norm", (one,)), ("post_attention_norm", (one,))]
    if (block + 1) % 4 == 0:
        return [
            *norms,
            ("attn_q", (one, 2 * 16 * 256)),
            ("attn_k", (one, 512)),
            ("attn_v", (one, 512)),
            ("attn_output", (4096, one)),
            ("attn_q_norm", (256,)),
            ("attn_k_norm", (256,)),
            *feed,
        ]
    return [
        *norms,
        ("attn_qkv", (one, 8192)),
        ("attn_gate", (one, 4096)),
        ("ssm_conv1d", (4, 8192)),
        ("ssm_dt.bias", (32,)),
        ("ssm_a", (32,)),
        ("ssm_ba", (one, 64)),
        ("ssm_norm", (128,)),
        ("ssm_out", (4096, one)),
        *feed,
    ]


QWEN3_NEXT_80B = Model(
    architecture="qwen3next",
    layers=48,
    embedding=2048,
    heads=16,
    kv_heads=2,
    head=256,
    feed_forward=5120,
    vocabulary=151936,
    context=262144,
    experts=512,
    expert_width=512,
    per_block=_qwen3next_block,
    keys={
        "expert_used_count": 10,
        "expert_shared_feed_forward_length": 512,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 4096,
        "ssm.state_size": 128,
        "ssm.group_count": 16,
        "ssm.time_step_rank": 32,
    },
)


def _lfm2_block(block: int) -> list[Line]:
    one, feed = 2048, LFM2_1B.feed(block)
    if block in {2, 5, 8, 10, 12, 14}:
        return [
            ("attn_norm", (one,)),
            ("attn_q", (one, one)),
            ("attn_k", (one, 512)),
            ("attn_v", (one, 512)),
            ("attn_output", (one, one)),
            ("attn_q_norm", (64,)),
            ("attn_k_norm", (64,)),
            *feed,
        ]
    conv: list[Line] = [
        ("shortconv.conv", (3, one)),
        ("shortconv.in_proj", (one, 3 * one)),
        ("shortconv.out_proj", (one, one)),
    ]
    return [("attn_norm", (one,)), *conv, *feed]


LFM2_1B = Model(
    architecture="lfm2",
    layers=16,
    embedding=2048,
    heads=32,
    kv_heads=tuple(8 if block in {2, 5, 8, 10, 12, 14} else 0 for block in range(16)),
    feed_forward=8192,
    vocabulary=65536,
    context=128000,
    tied=True,
    norm="token_embd_norm",
    per_block=_lfm2_block,
    keys={"shortconv.l_cache": 3},
)


def _mamba2_block(_block: int) -> list[Line]:
    return [
        ("attn_norm", (2560,)),
        ("ssm_in", (2560, 5120 + 5376 + 80)),
        ("ssm_conv1d", (4, 5376)),
        ("ssm_conv1d.bias", (5376,)),
        ("ssm_dt.bias", (80,)),
        ("ssm_a", (1, 80)),
        ("ssm_d", (1, 80)),
        ("ssm_norm", (5120, 1)),
        ("ssm_out", (5120, 2560)),
    ]


MAMBA2_3B = Model(
    architecture="mamba2",
    layers=64,
    embedding=2560,
    heads=0,
    kv_heads=0,
    feed_forward=0,
    vocabulary=50288,
    context=1048576,
    tied=True,
    per_block=_mamba2_block,
    keys={
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 5120,
        "ssm.state_size": 128,
        "ssm.group_count": 1,
        "ssm.time_step_rank": 80,
    },
)
NOMIC_EMBED = Model(
    architecture="nomic-bert",
    layers=12,
    embedding=768,
    heads=12,
    kv_heads=12,
    feed_forward=3072,
    vocabulary=30522,
    context=2048,
    tied=True,
    keys={"attention.causal": False},
)
FORGE_TINY = Model(
    architecture="llama",
    layers=4,
    embedding=256,
    heads=4,
    kv_heads=2,
    head=64,
    feed_forward=512,
    vocabulary=1024,
    context=1024,
    tied=True,
    keys={"rope.dimension_count": 64},
)
