"""The Qwen family."""

from __future__ import annotations

from dataclasses import replace

from tests import shapes
from tests.oracle.models.parts import (
    Models,
    always,
    attention,
    experts,
    gated,
    norms,
)
from tests.shapes import Line, Model

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


def _qwen2moe(
    layers: int, one: int, heads: int, kv: int, number: int, used: int, each: int, shared: int
) -> Model:
    return Model(
        architecture="qwen2moe",
        layers=layers,
        embedding=one,
        heads=heads,
        kv_heads=kv,
        feed_forward=shared,
        vocabulary=151936,
        context=32768,
        keys={
            "expert_count": number,
            "expert_used_count": used,
            "expert_feed_forward_length": each,
            "expert_shared_feed_forward_length": shared,
        },
        per_block=always(
            norms(one, "attn_norm", "ffn_norm", "ffn_gate_inp_shexp"),
            attention(one, heads, kv, 128, biases=True),
            experts(one, each, number),
            gated(one, shared, "_shexp"),
        ),
    )


QWEN15_MOE = _qwen2moe(24, 2048, 16, 16, 60, 4, 1408, 5632)
QWEN2_57B = _qwen2moe(28, 3584, 28, 4, 64, 8, 2560, 20480)
QWEN3_VL_8B = replace(
    QWEN3_8B,
    architecture="qwen3vl",
    context=262144,
    keys={"rope.dimension_sections": (24, 20, 20, 0), "n_deepstack_layers": 3},
)
QWEN3_VL_30B_A3B = replace(
    shapes.QWEN3_30B_A3B,
    architecture="qwen3vlmoe",
    context=262144,
    keys={"rope.dimension_sections": (24, 20, 20, 0), "n_deepstack_layers": 3, "expert_used_count": 8},
    per_block=always(
        norms(2048, "attn_norm", "ffn_norm"),
        norms(128, "attn_q_norm", "attn_k_norm"),
        attention(2048, 32, 4, 128),
        experts(2048, 768, 128),
    ),
)


def _qwen35(
    layers: int,
    one: int,
    heads: int,
    kv: int,
    wide: int,
    *,
    values: int = 32,
    number: int = 0,
    tied: bool = False,
    drafts: int = 0,
) -> Model:
    """A Qwen 3.5. `values`: heads of the linear attention's values; `number`: experts of that width."""
    inner, mixed = 128 * values, 128 * (values + 2 * 16)
    feed = (
        [
            *norms(one, "ffn_gate_inp_shexp"),
            *experts(one, wide, number),
            *gated(one, wide, "_shexp"),
        ]
        if number
        else gated(one, wide)
    )
    linear: list[Line] = [
        ("attn_qkv", (one, mixed)),
        ("attn_gate", (one, inner)),
        ("ssm_conv1d", (4, mixed)),
        ("ssm_dt.bias", (values,)),
        ("ssm_a", (values,)),
        ("ssm_beta", (one, values)),
        ("ssm_alpha", (one, values)),
        ("ssm_norm", (128,)),
        ("ssm_out", (inner, one)),
    ]
    full: list[Line] = [
        ("attn_q", (one, 2 * heads * 256)),
        ("attn_k", (one, kv * 256)),
        ("attn_v", (one, kv * 256)),
        ("attn_output", (heads * 256, one)),
        *norms(256, "attn_q_norm", "attn_k_norm"),
    ]
    draft: list[Line] = [("nextn.eh_proj", (2 * one, one)), *norms(one, "nextn.enorm", "nextn.hnorm")]
    return Model(
        architecture="qwen35moe" if number else "qwen35",
        layers=layers + drafts,
        embedding=one,
        heads=heads,
        kv_heads=kv,
        head=256,
        feed_forward=wide,
        vocabulary=248320,
        context=262144,
        tied=tied,
        experts=number,
        expert_width=wide,
        keys={
            **({"expert_used_count": 8, "expert_shared_feed_forward_length": wide} if number else {}),
            **({"nextn_predict_layers": drafts} if drafts else {}),
            "full_attention_interval": 4,
            "rope.dimension_count": 64,
            "rope.dimension_sections": (11, 11, 10, 0),
            "ssm.conv_kernel": 4,
            "ssm.inner_size": inner,
            "ssm.state_size": 128,
            "ssm.group_count": 16,
            "ssm.time_step_rank": values,
        },
        per_block=lambda block: [
            *norms(one, "attn_norm", "post_attention_norm"),
            *(full if block >= layers or block % 4 == 3 else linear),
            *feed,
            *(draft if block >= layers else []),
        ],
    )


QWEN35_2B = _qwen35(24, 2048, 8, 2, 6144, values=16, tied=True)
QWEN35_4B = _qwen35(32, 2560, 16, 4, 9216, tied=True)
QWEN35_9B = _qwen35(32, 4096, 16, 4, 12288)
QWEN35_27B = _qwen35(64, 5120, 24, 4, 17408, values=48, drafts=1)
"""With its draft layer: where cards are filled one after the other, llama.cpp b10488 counts the layers without that
one but places them with it, so that the first layer stays on the CPU."""
QWEN35_35B_A3B = _qwen35(40, 2048, 16, 2, 512, number=256)
QWEN35_122B_A10B = _qwen35(48, 3072, 32, 2, 1024, values=64, number=256)

MODELS: Models = {
    "Qwen2.5 7B": (shapes.QWEN25_7B, ("Q4_K_M", "Q5_K_M")),
    "Qwen3 0.6B": (QWEN3_600M, ("Q8_0",)),
    "Qwen3 8B": (QWEN3_8B, ("Q4_K_M", "Q8_0")),
    "Qwen3 30B-A3B": (shapes.QWEN3_30B_A3B, ("Q4_K_M", "Q8_0")),
    "Qwen3-Next 80B": (shapes.QWEN3_NEXT_80B, ("Q4_K_M",)),
    "Qwen1.5-MoE A2.7B": (QWEN15_MOE, ("Q4_K_M",)),
    "Qwen2 57B-A14B": (QWEN2_57B, ("Q4_K_M",)),
    "Qwen2.5-VL 7B": (QWEN2_VL_7B, ("Q4_K_M",)),
    "Qwen3.5 2B": (QWEN35_2B, ("Q4_K_M",)),
    "Qwen3.5 4B": (QWEN35_4B, ("Q4_K_M",)),
    "Qwen3.5 9B": (QWEN35_9B, ("Q4_K_M",)),
    "Qwen3.5 27B": (QWEN35_27B, ("Q4_K_M",)),
    "Qwen3.5 35B-A3B": (QWEN35_35B_A3B, ("Q4_K_M",)),
    "Qwen3.5 122B-A10B": (QWEN35_122B_A10B, ("Q4_K_M",)),
}
