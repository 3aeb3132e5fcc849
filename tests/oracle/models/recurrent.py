"""Models with recurrent layers."""

from __future__ import annotations

from tests import shapes
from tests.oracle.models.parts import (
    Models,
    always,
    attention,
    experts,
    gated,
    mamba2,
    mamba2_keys,
    norms,
    plain,
)
from tests.shapes import Line, Model

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

_LFM2_MOE_ATTENTION = frozenset({2, 6, 10, 14, 18, 21})
LFM2_8B_A1B = Model(
    architecture="lfm2moe",
    layers=24,
    embedding=2048,
    heads=32,
    kv_heads=tuple(8 if block in _LFM2_MOE_ATTENTION else 0 for block in range(24)),
    feed_forward=7168,
    vocabulary=65536,
    context=128000,
    tied=True,
    norm="token_embd_norm",
    experts=32,
    expert_width=1792,
    keys={
        "shortconv.l_cache": 3,
        "expert_used_count": 4,
        "expert_gating_func": 2,
        "leading_dense_block_count": 2,
    },
    per_block=lambda block: [
        *norms(2048, "attn_norm", "ffn_norm"),
        *(
            [*attention(2048, 32, 8, 64), *norms(64, "attn_q_norm", "attn_k_norm")]
            if block in _LFM2_MOE_ATTENTION
            else _LFM2_CONVOLUTION
        ),
        *(gated(2048, 7168) if block < 2 else [*experts(2048, 1792, 32), ("exp_probs_b.bias", (32,))]),
    ],
)
_LFM2_CONVOLUTION: list[Line] = [
    ("shortconv.conv", (3, 2048)),
    ("shortconv.in_proj", (2048, 3 * 2048)),
    ("shortconv.out_proj", (2048, 2048)),
]


def _mamba(layers: int, one: int, steps: int, vocabulary: int, *, tied: bool) -> Model:
    """A Mamba (1)."""
    inner = 2 * one
    return Model(
        architecture="mamba",
        layers=layers,
        embedding=one,
        heads=0,
        kv_heads=0,
        feed_forward=0,
        vocabulary=vocabulary,
        context=1048576,
        tied=tied,
        keys={
            "ssm.conv_kernel": 4,
            "ssm.inner_size": inner,
            "ssm.state_size": 16,
            "ssm.time_step_rank": steps,
        },
        per_block=always(
            [
                ("attn_norm", (one,)),
                ("ssm_in", (one, 2 * inner)),
                ("ssm_conv1d", (4, inner)),
                ("ssm_conv1d.bias", (inner,)),
                ("ssm_x", (inner, steps + 2 * 16)),
                ("ssm_dt", (steps, inner)),
                ("ssm_dt.bias", (inner,)),
                ("ssm_a", (16, inner)),
                ("ssm_d", (inner,)),
                ("ssm_out", (inner, one)),
            ]
        ),
    )


MAMBA_3B = _mamba(64, 2560, 160, 50280, tied=True)
FALCON_MAMBA_7B = _mamba(64, 4096, 256, 65024, tied=False)

MODELS: Models = {
    "Granite 4 Tiny": (GRANITE4_TINY, ("Q4_K_M",)),
    "Nemotron Nano 9B": (NEMOTRON_NANO_9B, ("Q4_K_M",)),
    "LFM2 1.2B": (shapes.LFM2_1B, ("Q8_0",)),
    "Mamba 2 2.7B": (shapes.MAMBA2_3B, ("Q8_0",)),
    "Jamba Mini": (JAMBA_MINI, ("Q4_K_M",)),
    "Falcon-H1 1.5B": (FALCON_H1_2B, ("Q8_0",)),
    "LFM2 8B-A1B": (LFM2_8B_A1B, ("Q4_K_M",)),
    "Mamba 2.8B": (MAMBA_3B, ("Q8_0",)),
    "Falcon Mamba 7B": (FALCON_MAMBA_7B, ("Q4_K_M",)),
}
