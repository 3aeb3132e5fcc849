"""The Qwen family."""

from __future__ import annotations

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

MODELS: Models = {
    "Qwen2.5 7B": (shapes.QWEN25_7B, ("Q4_K_M", "Q5_K_M")),
    "Qwen3 8B": (QWEN3_8B, ("Q4_K_M", "Q8_0")),
    "Qwen3 30B-A3B": (shapes.QWEN3_30B_A3B, ("Q4_K_M", "Q8_0")),
    "Qwen3-Next 80B": (shapes.QWEN3_NEXT_80B, ("Q4_K_M",)),
}
