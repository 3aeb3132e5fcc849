"""Encoders, which make embeddings."""

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

EMBEDDING_GEMMA = Model(
    architecture="gemma-embedding",
    layers=24,
    embedding=768,
    heads=3,
    kv_heads=1,
    head=256,
    feed_forward=1152,
    vocabulary=262144,
    context=2048,
    tied=True,
    outside=(("dense_2.weight", (768, 3072)), ("dense_3.weight", (3072, 768))),
    keys={
        "attention.causal": False,
        "attention.sliding_window": 257,
        "pooling_type": 1,
        "dense_2_feat_in": 768,
        "dense_2_feat_out": 3072,
        "dense_3_feat_in": 3072,
        "dense_3_feat_out": 768,
    },
    per_block=always(
        norms(768, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"),
        norms(256, "attn_q_norm", "attn_k_norm"),
        attention(768, 3, 1, 256),
        gated(768, 1152),
    ),
)

MODELS: Models = {
    "Nomic Embed": (NOMIC_EMBED, ("F16", "Q8_0")),
    "BGE Large": (BGE_LARGE, ("F16",)),
    "BGE M3": (BGE_M3, ("F16",)),
    "EmbeddingGemma 300M": (EMBEDDING_GEMMA, ("F16", "Q8_0")),
}
