"""Transformers whose every layer works on every token."""

from __future__ import annotations

from dataclasses import replace

from tests import shapes
from tests.oracle.models.parts import (
    Models,
    always,
    attention,
    gated,
    norms,
    plain,
)
from tests.shapes import Model

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

MINISTRAL3_14B = Model(
    architecture="mistral3",
    layers=40,
    embedding=5120,
    heads=32,
    kv_heads=8,
    head=128,
    feed_forward=16384,
    vocabulary=131072,
    context=262144,
    keys={
        "rope.dimension_count": 128,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 16.0,
        "rope.scaling.original_context_length": 16384,
        "attention.temperature_scale": 0.1,
    },
)
MINISTRAL3_3B = replace(MINISTRAL3_14B, layers=26, embedding=3072, feed_forward=9216, tied=True)
MISTRAL_SMALL32_24B = replace(MISTRAL_SMALL_24B, architecture="mistral3", context=131072)
HUNYUAN_7B = Model(
    architecture="hunyuan-dense",
    layers=32,
    embedding=4096,
    heads=32,
    kv_heads=8,
    head=128,
    feed_forward=14336,
    vocabulary=128167,
    context=262144,
    tied=True,
    per_block=always(
        norms(4096, "attn_norm", "ffn_norm"),
        norms(128, "attn_q_norm", "attn_k_norm"),
        attention(4096, 32, 8, 128),
        gated(4096, 14336),
    ),
)
SEED_OSS_36B = Model(
    architecture="seed_oss",
    layers=64,
    embedding=5120,
    heads=80,
    kv_heads=8,
    head=128,
    feed_forward=27648,
    vocabulary=155136,
    context=524288,
    per_block=always(
        norms(5120, "attn_norm", "post_attention_norm"),
        attention(5120, 80, 8, 128, biases=True),
        gated(5120, 27648),
    ),
)

MODELS: Models = {
    "Llama 3.2 1B": (shapes.LLAMA_1B, ("Q8_0", "Q4_K_M")),
    "Llama 3.1 8B": (shapes.LLAMA_8B, ("Q4_K_M", "Q6_K", "F16")),
    "Llama 3.3 70B": (shapes.LLAMA_70B, ("Q4_K_M", "IQ4_XS")),
    "Mistral Small 24B": (MISTRAL_SMALL_24B, ("Q4_K_M",)),
    "Phi-3 mini": (PHI3_MINI, ("Q4_K_M", "Q8_0")),
    "Phi-4 14B": (PHI4_14B, ("Q4_K_M", "Q6_K")),
    "Granite 3.1 8B": (GRANITE_8B, ("Q4_K_M",)),
    "OLMo 2 7B": (OLMO2_7B, ("Q4_K_M",)),
    "StableLM 2 1.6B": (STABLELM_2B, ("Q8_0",)),
    "StarCoder2 3B": (STARCODER2_3B, ("Q8_0",)),
    "Command R 35B": (COMMAND_R_35B, ("Q4_K_M",)),
    "Command R7B": (COMMAND_R7B, ("Q4_K_M",)),
    "GLM-4 9B": (GLM4_9B, ("Q4_K_M", "Q8_0")),
    "Nemotron Mini 4B": (NEMOTRON_MINI_4B, ("Q8_0",)),
    "SmolLM3 3B": (SMOLLM3_3B, ("Q8_0",)),
    "EXAONE 4 1.2B": (EXAONE4_1B, ("Q8_0",)),
    "EXAONE 4 32B": (EXAONE4_32B, ("Q4_K_M",)),
    "Ministral 3 3B": (MINISTRAL3_3B, ("Q4_K_M",)),
    "Ministral 3 14B": (MINISTRAL3_14B, ("Q4_K_M",)),
    "Mistral Small 3.2 24B": (MISTRAL_SMALL32_24B, ("Q4_K_M",)),
    "Hunyuan 7B": (HUNYUAN_7B, ("Q4_K_M",)),
    "Seed-OSS 36B": (SEED_OSS_36B, ("Q4_K_M",)),
}
