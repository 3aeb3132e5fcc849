"""The Gemma family."""

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

GEMMA_2B = Model(
    architecture="gemma",
    layers=18,
    embedding=2048,
    heads=8,
    kv_heads=1,
    head=256,
    feed_forward=16384,
    vocabulary=256000,
    context=8192,
    tied=True,
)
GEMMA_7B = replace(GEMMA_2B, layers=28, embedding=3072, heads=16, kv_heads=16, feed_forward=24576)

MODELS: Models = {
    "Gemma 2B": (GEMMA_2B, ("Q4_K_M",)),
    "Gemma 7B": (GEMMA_7B, ("Q4_K_M",)),
    "Gemma 2 9B": (shapes.GEMMA2_9B, ("Q4_K_M",)),
    "Gemma 3 12B": (shapes.GEMMA3_12B, ("Q4_K_M", "Q8_0")),
    "Gemma 3n E4B": (GEMMA3N_E4B, ("Q4_K_M",)),
}
