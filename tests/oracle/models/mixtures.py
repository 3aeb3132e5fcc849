"""Mixtures of experts."""

from __future__ import annotations

from tests import shapes
from tests.oracle.models.parts import (
    Models,
    always,
    attention,
    experts,
    gated,
    norms,
)
from tests.shapes import Model

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

GRANITE31_3B_A800M = Model(
    architecture="granitemoe",
    layers=32,
    embedding=1536,
    heads=24,
    kv_heads=8,
    feed_forward=512,
    vocabulary=49155,
    context=131072,
    tied=True,
    keys={
        "rope.dimension_count": 64,
        "logit_scale": 6.0,
        "expert_count": 40,
        "expert_used_count": 8,
    },
    per_block=always(
        norms(1536, "attn_norm", "ffn_norm"), attention(1536, 24, 8, 64), experts(1536, 512, 40)
    ),
)
ERNIE45_21B_A3B = Model(
    architecture="ernie4_5-moe",
    layers=28,
    embedding=2560,
    heads=20,
    kv_heads=4,
    head=128,
    feed_forward=12288,
    vocabulary=103424,
    context=131072,
    tied=True,
    experts=64,
    expert_width=1536,
    keys={
        "expert_used_count": 6,
        "expert_shared_count": 2,
        "expert_shared_feed_forward_length": 3072,
        "interleave_moe_layer_step": 1,
        "leading_dense_block_count": 1,
    },
    per_block=lambda block: [
        *norms(2560, "attn_norm", "ffn_norm"),
        *attention(2560, 20, 4, 128),
        *(
            [*experts(2560, 1536, 64), ("exp_probs_b.bias", (64,)), *gated(2560, 3072, "_shexp")]
            if block
            else gated(2560, 12288)
        ),
    ],
)
PHI35_MOE = Model(
    architecture="phimoe",
    layers=32,
    embedding=4096,
    heads=32,
    kv_heads=8,
    feed_forward=6400,
    vocabulary=32064,
    context=131072,
    outside=(
        ("output_norm.bias", (4096,)),
        ("output.bias", (32064,)),
        ("rope_factors_long.weight", (64,)),
        ("rope_factors_short.weight", (64,)),
    ),
    keys={
        "rope.dimension_count": 128,
        "rope.scaling.original_context_length": 4096,
        "expert_count": 16,
        "expert_used_count": 2,
    },
    per_block=always(
        norms(4096, "attn_norm", "ffn_norm", bias=True),
        attention(4096, 32, 8, 128, biases=True),
        norms(4096, "attn_output.bias"),
        experts(4096, 6400, 16),
    ),
)

MODELS: Models = {
    "Mixtral 8x7B": (MIXTRAL_8X7B, ("Q4_K_M", "Q3_K_M")),
    "OLMoE 7B": (OLMOE_7B, ("Q4_K_M",)),
    "GLM-4.5 Air": (GLM45_AIR, ("Q4_K_M",)),
    "gpt-oss 20B": (shapes.GPT_OSS_20B, ("MXFP4",)),
    "Llama 4 Scout": (LLAMA4_SCOUT, ("Q4_K_M",)),
    "DeepSeek-V2 Lite": (shapes.DEEPSEEK2_LITE, ("Q4_K_M",)),
    "DeepSeek-V3": (DEEPSEEK_V3, ("Q4_K_M",)),
    "Granite 3.1 3B-A800M": (GRANITE31_3B_A800M, ("Q4_K_M",)),
    "ERNIE 4.5 21B-A3B": (ERNIE45_21B_A3B, ("Q4_K_M",)),
    "Phi-3.5-MoE": (PHI35_MOE, ("Q4_K_M",)),
}
