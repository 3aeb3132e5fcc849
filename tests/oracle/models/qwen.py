"""The Qwen family."""

from __future__ import annotations

from dataclasses import replace

from tests import shapes
from tests.oracle.models.parts import (
    Models,
    always,
    attention,
    gated,
    norms,
)
from tests.shapes import Model

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

QWEN3_600M = replace(
    QWEN3_8B,
    layers=28,
    embedding=1024,
    heads=16,
    feed_forward=3072,
    tied=True,
    per_block=always(
        norms(1024, "attn_norm", "ffn_norm"),
        norms(128, "attn_q_norm", "attn_k_norm"),
        attention(1024, 16, 8, 128),
        gated(1024, 3072),
    ),
)
QWEN2_VL_7B = Model(
    architecture="qwen2vl",
    layers=28,
    embedding=3584,
    heads=28,
    kv_heads=4,
    feed_forward=18944,
    vocabulary=152064,
    context=128000,
    keys={"rope.dimension_sections": (16, 24, 24, 0)},
    per_block=always(
        norms(3584, "attn_norm", "ffn_norm"), attention(3584, 28, 4, 128, biases=True), gated(3584, 18944)
    ),
)

MODELS: Models = {
    "Qwen2.5 7B": (shapes.QWEN25_7B, ("Q4_K_M", "Q5_K_M")),
    "Qwen3 0.6B": (QWEN3_600M, ("Q8_0",)),
    "Qwen3 8B": (QWEN3_8B, ("Q4_K_M", "Q8_0")),
    "Qwen3 30B-A3B": (shapes.QWEN3_30B_A3B, ("Q4_K_M", "Q8_0")),
    "Qwen3-Next 80B": (shapes.QWEN3_NEXT_80B, ("Q4_K_M",)),
    "Qwen2.5-VL 7B": (QWEN2_VL_7B, ("Q4_K_M",)),
}
