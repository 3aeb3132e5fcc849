"""Public models of many architectures, from their published hyperparameters, for llama.cpp's planner.

What tests/shapes.py does not have. Tensors are those that llama.cpp's loader asks for, so that it takes the file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests import shapes
from tests.shapes import Line, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def attention(
    one: int, heads: int, kv: int, head: int, *, biases: bool = False, fused: bool = False
) -> list[Line]:
    """Projections of an attention part; `fused`: one for query, key and value."""
    wide, narrow = heads * head, kv * head
    out: Line = ("attn_output", (wide, one))
    if fused:
        return [("attn_qkv", (one, wide + 2 * narrow)), out]
    weights: list[Line] = [("attn_q", (one, wide)), ("attn_k", (one, narrow)), ("attn_v", (one, narrow)), out]
    added: list[Line] = [("attn_q.bias", (wide,)), ("attn_k.bias", (narrow,)), ("attn_v.bias", (narrow,))]
    return weights + (added if biases else [])


def gated(one: int, wide: int, kind: str = "") -> list[Line]:
    """A feed-forward part with a gate; `kind`: "_shexp" for shared experts."""
    return [
        (f"ffn_gate{kind}", (one, wide)),
        (f"ffn_up{kind}", (one, wide)),
        (f"ffn_down{kind}", (wide, one)),
    ]


def plain(one: int, wide: int) -> list[Line]:
    """A feed-forward part without a gate."""
    return [("ffn_up", (one, wide)), ("ffn_down", (wide, one))]


def experts(one: int, wide: int, number: int) -> list[Line]:
    """A mixture of experts with its router."""
    return [
        ("ffn_gate_inp", (one, number)),
        ("ffn_gate_exps", (one, wide, number)),
        ("ffn_up_exps", (one, wide, number)),
        ("ffn_down_exps", (wide, one, number)),
    ]


def norms(size: int, *names: str, bias: bool = False) -> list[Line]:
    found: list[Line] = [(name, (size,)) for name in names]
    return found + ([(f"{name}.bias", (size,)) for name in names] if bias else [])


def always(*parts: Sequence[Line]) -> Callable[[int], list[Line]]:
    """The same tensors in every block."""
    lines = [line for part in parts for line in part]
    return lambda _block: lines


def mamba2(one: int, inner: int, state: int, groups: int, heads: int) -> list[Line]:
    """A Mamba-2 part."""
    convolved = inner + 2 * groups * state
    return [
        ("ssm_in", (one, inner + convolved + heads)),
        ("ssm_conv1d", (4, convolved)),
        ("ssm_conv1d.bias", (convolved,)),
        ("ssm_dt.bias", (heads,)),
        ("ssm_a", (1, heads)),
        ("ssm_d", (1, heads)),
        ("ssm_norm", (inner // groups, groups)),
        ("ssm_out", (inner, one)),
    ]


def mamba2_keys(inner: int, state: int, groups: int, heads: int) -> dict[str, Any]:
    return {
        "ssm.conv_kernel": 4,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.group_count": groups,
        "ssm.time_step_rank": heads,
    }


MISTRAL_SMALL_24B = Model(
    architecture="llama",
    layers=40,
    embedding=5120,
    heads=32,
    kv_heads=8,
    head=128,
    feed_forward=32768,
    vocabulary=131072,
    context=32768,
    keys={"rope.dimension_count": 128},
)
MIXTRAL_8X7B = Model(
    architecture="llama",
    layers=32,
    embedding=4096,
    heads=32,
    kv_heads=8,
    feed_forward=14336,
    vocabulary=32000,
    context=32768,
    keys={"rope.dimension_count": 128, "expert_count": 8, "expert_used_count": 2},
    per_block=always(
        norms(4096, "attn_norm", "ffn_norm"), attention(4096, 32, 8, 128), experts(4096, 14336, 8)
    ),
)
PHI3_MINI = Model(
    architecture="phi3",
    layers=32,
    embedding=3072,
    heads=32,
    kv_heads=32,
    feed_forward=8192,
    vocabulary=32064,
    context=4096,
    keys={"rope.dimension_count": 96, "attention.sliding_window": 2047},
    per_block=always(
        norms(3072, "attn_norm", "ffn_norm"),
        attention(3072, 32, 32, 96, fused=True),
        [("ffn_up", (3072, 2 * 8192)), ("ffn_down", (8192, 3072))],
    ),
)
PHI4_14B = replace(
    PHI3_MINI,
    layers=40,
    embedding=5120,
    heads=40,
    kv_heads=10,
    feed_forward=17920,
    vocabulary=100352,
    context=16384,
    keys={"rope.dimension_count": 128, "attention.sliding_window": 0},
    per_block=always(
        norms(5120, "attn_norm", "ffn_norm"),
        attention(5120, 40, 10, 128, fused=True),
        [("ffn_up", (5120, 2 * 17920)), ("ffn_down", (17920, 5120))],
    ),
)
GRANITE_8B = Model(
    architecture="granite",
    layers=40,
    embedding=4096,
    heads=32,
    kv_heads=8,
    feed_forward=12800,
    vocabulary=49155,
    context=131072,
    tied=True,
    keys={"rope.dimension_count": 128, "logit_scale": 16.0},
)
OLMO2_7B = Model(
    architecture="olmo2",
    layers=32,
    embedding=4096,
    heads=32,
    kv_heads=32,
    feed_forward=11008,
    vocabulary=100352,
    context=4096,
    per_block=always(
        norms(4096, "attn_q_norm", "attn_k_norm", "post_attention_norm", "post_ffw_norm"),
        attention(4096, 32, 32, 128),
        gated(4096, 11008),
    ),
)
OLMOE_7B = Model(
    architecture="olmoe",
    layers=16,
    embedding=2048,
    heads=16,
    kv_heads=16,
    feed_forward=1024,
    vocabulary=50304,
    context=4096,
    keys={"expert_count": 64, "expert_used_count": 8},
    per_block=always(
        norms(2048, "attn_norm", "ffn_norm", "attn_q_norm", "attn_k_norm"),
        attention(2048, 16, 16, 128),
        experts(2048, 1024, 64),
    ),
)
STABLELM_2B = Model(
    architecture="stablelm",
    layers=24,
    embedding=2048,
    heads=32,
    kv_heads=32,
    feed_forward=5632,
    vocabulary=100352,
    context=4096,
    outside=(("output_norm.bias", (2048,)),),
    keys={"attention.layer_norm_epsilon": 1e-5, "rope.dimension_count": 16},
    per_block=always(
        norms(2048, "attn_norm", "ffn_norm", bias=True),
        attention(2048, 32, 32, 64, biases=True),
        gated(2048, 5632),
    ),
)
STARCODER2_3B = Model(
    architecture="starcoder2",
    layers=30,
    embedding=3072,
    heads=24,
    kv_heads=2,
    feed_forward=12288,
    vocabulary=49152,
    context=16384,
    tied=True,
    outside=(("output_norm.bias", (3072,)),),
    keys={"attention.layer_norm_epsilon": 1e-5},
    per_block=always(
        norms(3072, "attn_norm", "ffn_norm", bias=True),
        attention(3072, 24, 2, 128, biases=True),
        [*plain(3072, 12288), ("ffn_up.bias", (12288,)), *norms(3072, "ffn_down.bias", "attn_output.bias")],
    ),
)
COMMAND_R_35B = Model(
    architecture="command-r",
    layers=40,
    embedding=8192,
    heads=64,
    kv_heads=64,
    feed_forward=22528,
    vocabulary=256000,
    context=131072,
    tied=True,
    keys={"attention.layer_norm_epsilon": 1e-5, "logit_scale": 0.0625},
    per_block=always(norms(8192, "attn_norm"), attention(8192, 64, 64, 128), gated(8192, 22528)),
)
COMMAND_R7B = Model(
    architecture="cohere2",
    layers=32,
    embedding=4096,
    heads=32,
    kv_heads=8,
    feed_forward=14336,
    vocabulary=256000,
    context=131072,
    tied=True,
    keys={"attention.layer_norm_epsilon": 1e-5, "logit_scale": 0.25, "attention.sliding_window": 4096},
    per_block=always(norms(4096, "attn_norm"), attention(4096, 32, 8, 128), gated(4096, 14336)),
)
GLM4_9B = Model(
    architecture="glm4",
    layers=40,
    embedding=4096,
    heads=32,
    kv_heads=2,
    head=128,
    feed_forward=13696,
    vocabulary=151552,
    context=32768,
    keys={"rope.dimension_count": 64},
    per_block=always(
        norms(4096, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"),
        attention(4096, 32, 2, 128),
        [("ffn_up", (4096, 2 * 13696)), ("ffn_down", (13696, 4096))],
    ),
)
GLM45_AIR = Model(
    architecture="glm4moe",
    layers=47,
    embedding=4096,
    heads=96,
    kv_heads=8,
    head=128,
    feed_forward=10944,
    vocabulary=151552,
    context=131072,
    experts=128,
    expert_width=1408,
    keys={
        "expert_used_count": 8,
        "expert_shared_count": 1,
        "leading_dense_block_count": 1,
        "nextn_predict_layers": 1,
        "rope.dimension_count": 64,
    },
    per_block=lambda block: [
        *norms(4096, "attn_norm", "post_attention_norm"),
        *attention(4096, 96, 8, 128, biases=True),
        *(
            [*experts(4096, 1408, 128), ("exp_probs_b.bias", (128,)), *gated(4096, 1408, "_shexp")]
            if block
            else gated(4096, 10944)
        ),
        *(
            [("nextn.eh_proj", (8192, 4096)), *norms(4096, "nextn.enorm", "nextn.hnorm")]
            if block == 46
            else []
        ),
    ],
)
NEMOTRON_MINI_4B = Model(
    architecture="nemotron",
    layers=32,
    embedding=3072,
    heads=24,
    kv_heads=8,
    head=128,
    feed_forward=9216,
    vocabulary=256000,
    context=4096,
    outside=(("output_norm.bias", (3072,)),),
    keys={"attention.layer_norm_epsilon": 1e-5, "rope.dimension_count": 64},
    per_block=always(
        norms(3072, "attn_norm", "ffn_norm", bias=True), attention(3072, 24, 8, 128), plain(3072, 9216)
    ),
)
SMOLLM3_3B = Model(
    architecture="smollm3",
    layers=36,
    embedding=2048,
    heads=16,
    kv_heads=4,
    feed_forward=11008,
    vocabulary=128256,
    context=65536,
    tied=True,
)
EXAONE4_1B = Model(
    architecture="exaone4",
    layers=30,
    embedding=2048,
    heads=32,
    kv_heads=8,
    head=64,
    feed_forward=4096,
    vocabulary=102400,
    context=65536,
    tied=True,
    per_block=always(
        norms(2048, "post_attention_norm", "post_ffw_norm"),
        norms(64, "attn_q_norm", "attn_k_norm"),
        attention(2048, 32, 8, 64),
        gated(2048, 4096),
    ),
)
EXAONE4_32B = replace(
    EXAONE4_1B,
    layers=64,
    embedding=5120,
    heads=40,
    head=128,
    feed_forward=27392,
    context=131072,
    tied=False,
    keys={"attention.sliding_window": 4096},
    per_block=always(
        norms(5120, "post_attention_norm", "post_ffw_norm"),
        norms(128, "attn_q_norm", "attn_k_norm"),
        attention(5120, 40, 8, 128),
        gated(5120, 27392),
    ),
)
QWEN3_8B = Model(
    architecture="qwen3",
    layers=36,
    embedding=4096,
    heads=32,
    kv_heads=8,
    head=128,
    feed_forward=12288,
    vocabulary=151936,
    context=40960,
    per_block=always(
        norms(4096, "attn_norm", "ffn_norm"),
        norms(128, "attn_q_norm", "attn_k_norm"),
        attention(4096, 32, 8, 128),
        gated(4096, 12288),
    ),
)
LLAMA4_SCOUT = Model(
    architecture="llama4",
    layers=48,
    embedding=5120,
    heads=40,
    kv_heads=8,
    head=128,
    feed_forward=16384,
    vocabulary=202048,
    context=1048576,
    experts=16,
    expert_width=8192,
    keys={"expert_used_count": 1, "interleave_moe_layer_step": 1},
    per_block=always(
        norms(5120, "attn_norm", "ffn_norm"),
        attention(5120, 40, 8, 128),
        experts(5120, 8192, 16),
        gated(5120, 8192, "_shexp"),
    ),
)
DEEPSEEK_V3 = Model(
    architecture="deepseek2",
    layers=61,
    embedding=7168,
    heads=128,
    kv_heads=1,
    feed_forward=18432,
    vocabulary=129280,
    context=163840,
    experts=256,
    expert_width=2048,
    dense_layers=3,
    keys={
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.key_length_mla": 192,
        "attention.value_length_mla": 128,
        "attention.q_lora_rank": 1536,
        "attention.kv_lora_rank": 512,
        "rope.dimension_count": 64,
        "expert_used_count": 8,
        "expert_shared_count": 1,
        "leading_dense_block_count": 3,
    },
    per_block=lambda block: [
        *norms(7168, "attn_norm", "ffn_norm"),
        ("attn_q_a", (7168, 1536)),
        ("attn_q_a_norm", (1536,)),
        ("attn_q_b", (1536, 128 * 192)),
        ("attn_kv_a_mqa", (7168, 576)),
        ("attn_kv_a_norm", (512,)),
        ("attn_k_b", (128, 512, 128)),
        ("attn_v_b", (512, 128, 128)),
        ("attn_output", (128 * 128, 7168)),
        *(
            [*experts(7168, 2048, 256), ("exp_probs_b.bias", (256,)), *gated(7168, 2048, "_shexp")]
            if block > 2
            else gated(7168, 18432)
        ),
    ],
)
GEMMA3N_E4B = Model(
    architecture="gemma3n",
    layers=35,
    embedding=2048,
    heads=8,
    kv_heads=2,
    head=256,
    feed_forward=16384,
    vocabulary=262144,
    context=32768,
    tied=True,
    outside=(
        ("altup_proj.weight", (2048, 2048, 3)),
        ("altup_unembd_proj.weight", (2048, 2048, 3)),
        ("per_layer_token_embd.weight", (256 * 35, 262144)),
        ("per_layer_model_proj.weight", (2048, 256 * 35)),
        ("per_layer_proj_norm.weight", (256,)),
    ),
    keys={
        "attention.sliding_window": 512,
        "attention.shared_kv_layers": 15,
        "embedding_length_per_layer_input": 256,
    },
    per_block=always(
        norms(2048, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm", "post_norm"),
        norms(2048, "altup_correct_scale", "altup_router_norm", "laurel_post_norm"),
        norms(256, "attn_q_norm", "attn_k_norm"),
        attention(2048, 8, 2, 256),
        gated(2048, 16384),
        [
            ("inp_gate", (2048, 256)),
            ("proj", (256, 2048)),
            ("altup_correct_coef", (4, 4)),
            ("altup_predict_coef", (4, 16)),
            ("altup_router", (2048, 4)),
            ("laurel_l", (2048, 64)),
            ("laurel_r", (64, 2048)),
        ],
    ),
)
JAMBA_MINI = Model(
    architecture="jamba",
    layers=32,
    embedding=4096,
    heads=32,
    kv_heads=tuple(8 if block % 8 == 4 else 0 for block in range(32)),
    feed_forward=14336,
    vocabulary=65536,
    context=262144,
    keys={
        "expert_count": 16,
        "expert_used_count": 2,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 8192,
        "ssm.state_size": 16,
        "ssm.time_step_rank": 256,
    },
    per_block=lambda block: [
        *norms(4096, "attn_norm", "ffn_norm"),
        *(attention(4096, 32, 8, 128) if block % 8 == 4 else _JAMBA_MAMBA),
        *(experts(4096, 14336, 16) if block % 2 else gated(4096, 14336)),
    ],
)
_JAMBA_MAMBA: list[Line] = [
    ("ssm_in", (4096, 16384)),
    ("ssm_conv1d", (4, 8192)),
    ("ssm_conv1d.bias", (8192,)),
    ("ssm_x", (8192, 256 + 2 * 16)),
    ("ssm_dt_norm", (256,)),
    ("ssm_dt", (256, 8192)),
    ("ssm_dt.bias", (8192,)),
    ("ssm_b_norm", (16,)),
    ("ssm_c_norm", (16,)),
    ("ssm_a", (16, 8192)),
    ("ssm_d", (8192,)),
    ("ssm_out", (8192, 4096)),
]
GRANITE4_TINY = Model(
    architecture="granitehybrid",
    layers=40,
    embedding=1536,
    heads=12,
    kv_heads=tuple(4 if block % 10 == 5 else 0 for block in range(40)),
    feed_forward=512,
    vocabulary=100352,
    context=131072,
    tied=True,
    keys={
        "expert_count": 64,
        "expert_used_count": 6,
        "expert_shared_feed_forward_length": 1024,
        **mamba2_keys(3072, 128, 1, 48),
    },
    per_block=lambda block: [
        *norms(1536, "attn_norm", "ffn_norm"),
        *(attention(1536, 12, 4, 128) if block % 10 == 5 else mamba2(1536, 3072, 128, 1, 48)),
        *experts(1536, 512, 64),
        *gated(1536, 1024, "_shexp"),
    ],
)
_NANO = "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-"
NEMOTRON_NANO_9B = Model(
    architecture="nemotron_h",
    layers=len(_NANO),
    embedding=4480,
    heads=40,
    kv_heads=tuple(8 if kind == "*" else 0 for kind in _NANO),
    head=128,
    feed_forward=15680,
    vocabulary=131072,
    context=131072,
    keys={
        "feed_forward_length": tuple(15680 if kind == "-" else 0 for kind in _NANO),
        "attention.layer_norm_epsilon": 1e-5,
        **mamba2_keys(10240, 128, 8, 128),
    },
    per_block=lambda block: [
        *norms(4480, "attn_norm"),
        *{
            "M": mamba2(4480, 10240, 128, 8, 128),
            "*": attention(4480, 40, 8, 128),
            "-": plain(4480, 15680),
        }[_NANO[block]],
    ],
)
FALCON_H1_2B = Model(
    architecture="falcon-h1",
    layers=24,
    embedding=2048,
    heads=8,
    kv_heads=2,
    head=128,
    feed_forward=4096,
    vocabulary=65537,
    context=131072,
    keys=mamba2_keys(3072, 256, 1, 48),
    per_block=always(
        norms(2048, "attn_norm", "ffn_norm="),
        attention(2048, 8, 2, 128),
        mamba2(2048, 3072, 256, 1, 48),
        gated(2048, 4096),
    ),
)


def _encoder(layers: int, one: int, heads: int, wide: int, vocabulary: int, context: int) -> Model:
    return Model(
        architecture="bert",
        layers=layers,
        embedding=one,
        heads=heads,
        kv_heads=heads,
        feed_forward=wide,
        vocabulary=vocabulary,
        context=context,
        tied=True,
        norm="token_embd_norm",
        outside=(
            ("token_embd_norm.bias", (one,)),
            ("token_types.weight", (one, 2)),
            ("position_embd.weight", (one, context)),
        ),
        keys={"attention.causal": False, "attention.layer_norm_epsilon": 1e-5, "pooling_type": 2},
        per_block=always(
            norms(one, "attn_output_norm", "layer_output_norm", bias=True),
            attention(one, heads, heads, one // heads, biases=True),
            [*plain(one, wide), ("ffn_up.bias", (wide,)), *norms(one, "ffn_down.bias", "attn_output.bias")],
        ),
    )


BGE_LARGE = _encoder(24, 1024, 16, 4096, 30522, 512)
BGE_M3 = _encoder(24, 1024, 16, 4096, 250002, 8192)
NOMIC_EMBED = replace(
    shapes.NOMIC_EMBED,
    norm="token_embd_norm",
    outside=(("token_embd_norm.bias", (768,)), ("token_types.weight", (768, 2))),
    keys={"attention.causal": False, "attention.layer_norm_epsilon": 1e-5, "pooling_type": 1},
    per_block=always(
        norms(768, "attn_output_norm", "layer_output_norm", bias=True),
        attention(768, 12, 12, 64, fused=True),
        gated(768, 3072),
    ),
)

MODELS: dict[str, tuple[Model, tuple[str, ...]]] = {
    "Llama 3.2 1B": (shapes.LLAMA_1B, ("Q8_0", "Q4_K_M")),
    "Llama 3.1 8B": (shapes.LLAMA_8B, ("Q4_K_M", "Q6_K", "F16")),
    "Llama 3.3 70B": (shapes.LLAMA_70B, ("Q4_K_M", "IQ4_XS")),
    "Mistral Small 24B": (MISTRAL_SMALL_24B, ("Q4_K_M",)),
    "Mixtral 8x7B": (MIXTRAL_8X7B, ("Q4_K_M", "Q3_K_M")),
    "Phi-3 mini": (PHI3_MINI, ("Q4_K_M", "Q8_0")),
    "Phi-4 14B": (PHI4_14B, ("Q4_K_M", "Q6_K")),
    "Granite 3.1 8B": (GRANITE_8B, ("Q4_K_M",)),
    "Granite 4 Tiny": (GRANITE4_TINY, ("Q4_K_M",)),
    "OLMo 2 7B": (OLMO2_7B, ("Q4_K_M",)),
    "OLMoE 7B": (OLMOE_7B, ("Q4_K_M",)),
    "StableLM 2 1.6B": (STABLELM_2B, ("Q8_0",)),
    "StarCoder2 3B": (STARCODER2_3B, ("Q8_0",)),
    "Command R 35B": (COMMAND_R_35B, ("Q4_K_M",)),
    "Command R7B": (COMMAND_R7B, ("Q4_K_M",)),
    "GLM-4 9B": (GLM4_9B, ("Q4_K_M", "Q8_0")),
    "GLM-4.5 Air": (GLM45_AIR, ("Q4_K_M",)),
    "Nemotron Mini 4B": (NEMOTRON_MINI_4B, ("Q8_0",)),
    "Nemotron Nano 9B": (NEMOTRON_NANO_9B, ("Q4_K_M",)),
    "SmolLM3 3B": (SMOLLM3_3B, ("Q8_0",)),
    "EXAONE 4 1.2B": (EXAONE4_1B, ("Q8_0",)),
    "EXAONE 4 32B": (EXAONE4_32B, ("Q4_K_M",)),
    "Qwen2.5 7B": (shapes.QWEN25_7B, ("Q4_K_M", "Q5_K_M")),
    "Qwen3 8B": (QWEN3_8B, ("Q4_K_M", "Q8_0")),
    "Qwen3 30B-A3B": (shapes.QWEN3_30B_A3B, ("Q4_K_M", "Q8_0")),
    "Qwen3-Next 80B": (shapes.QWEN3_NEXT_80B, ("Q4_K_M",)),
    "Gemma 2 9B": (shapes.GEMMA2_9B, ("Q4_K_M",)),
    "Gemma 3 12B": (shapes.GEMMA3_12B, ("Q4_K_M", "Q8_0")),
    "Gemma 3n E4B": (GEMMA3N_E4B, ("Q4_K_M",)),
    "gpt-oss 20B": (shapes.GPT_OSS_20B, ("MXFP4",)),
    "Llama 4 Scout": (LLAMA4_SCOUT, ("Q4_K_M",)),
    "DeepSeek-V2 Lite": (shapes.DEEPSEEK2_LITE, ("Q4_K_M",)),
    "DeepSeek-V3": (DEEPSEEK_V3, ("Q4_K_M",)),
    "LFM2 1.2B": (shapes.LFM2_1B, ("Q8_0",)),
    "Mamba 2 2.7B": (shapes.MAMBA2_3B, ("Q8_0",)),
    "Jamba Mini": (JAMBA_MINI, ("Q4_K_M",)),
    "Falcon-H1 1.5B": (FALCON_H1_2B, ("Q8_0",)),
    "Nomic Embed": (NOMIC_EMBED, ("F16", "Q8_0")),
    "BGE Large": (BGE_LARGE, ("F16",)),
    "BGE M3": (BGE_M3, ("F16",)),
}
"""Models by name, with the quants that are tried."""
