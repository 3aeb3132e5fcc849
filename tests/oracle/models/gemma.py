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
from tests.shapes import Line, Model

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


def _gemma4(
    layers: int,
    one: int,
    heads: int,
    kv: tuple[int, int],
    wide: tuple[int, ...],
    *,
    window: int = 1024,
    period: int = 6,
    context: int = 262144,
    experts: int = 0,
    each_layer: int = 0,
    shared: int = 0,
) -> Model:
    """A Gemma 4. `kv`: KV heads of layers with a window (heads of 256) and of the others (heads of 512).

    Where the two differ, the others have no values of their own. `wide`: the feed-forward part of each layer.
    `each_layer`: the embedding that each layer has of its own; `shared`: layers that read an earlier one's cache.
    """
    full = tuple(layer % period == period - 1 for layer in range(layers))

    def block(layer: int) -> list[Line]:
        head, narrow = (512, kv[1]) if full[layer] else (256, kv[0])
        parts = [
            *norms(one, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"),
            *norms(head, "attn_q_norm", "attn_k_norm"),
            ("layer_output_scale", (1,)),
            *attention(one, heads, narrow, head),
            *gated(one, wide[layer]),
        ]
        if full[layer] and kv[0] != kv[1]:
            parts = [part for part in parts if part[0] != "attn_v"]
        if experts:
            parts += [
                ("ffn_gate_inp", (one, experts)),
                ("ffn_gate_inp.scale=", (one,)),
                *norms(one, "pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"),
                ("ffn_gate_up_exps", (one, 2 * 704, experts)),
                ("ffn_down_exps", (704, one, experts)),
                ("ffn_down_exps.scale=", (experts,)),
            ]
        if each_layer:
            parts += [("inp_gate", (one, each_layer)), ("proj", (each_layer, one)), *norms(one, "post_norm")]
        return parts

    return Model(
        architecture="gemma4",
        layers=layers,
        embedding=one,
        heads=heads,
        kv_heads=tuple(kv[each] for each in full) if kv[0] != kv[1] else kv[0],
        head=512,
        feed_forward=wide[0],
        vocabulary=262144,
        context=context,
        tied=True,
        outside=(
            ("rope_freqs.weight", (256,)),
            *(
                [
                    ("per_layer_token_embd.weight", (each_layer * layers, 262144)),
                    ("per_layer_model_proj.weight", (one, each_layer * layers)),
                    ("per_layer_proj_norm.weight", (each_layer,)),
                ]
                if each_layer
                else []
            ),
        ),
        keys={
            **({"feed_forward_length": wide} if len(set(wide)) > 1 else {}),
            **(
                {"expert_count": experts, "expert_used_count": 8, "expert_feed_forward_length": 704}
                if experts
                else {}
            ),
            "attention.key_length_swa": 256,
            "attention.value_length_swa": 256,
            "attention.sliding_window": window,
            "attention.sliding_window_pattern": tuple(not each for each in full),
            "attention.shared_kv_layers": shared,
            "embedding_length_per_layer_input": each_layer,
            "final_logit_softcapping": 30.0,
            "rope.dimension_count": 512,
            "rope.dimension_count_swa": 256,
        },
        per_block=block,
    )


GEMMA4_E2B = _gemma4(
    35,
    1536,
    8,
    (1, 1),
    (6144,) * 15 + (12288,) * 20,
    window=512,
    period=5,
    context=131072,
    each_layer=256,
    shared=20,
)
GEMMA4_E4B = _gemma4(
    42, 2560, 8, (2, 2), (10240,) * 42, window=512, context=131072, each_layer=256, shared=18
)
GEMMA4_12B = _gemma4(48, 3840, 16, (8, 1), (15360,) * 48)
GEMMA4_26B_A4B = _gemma4(30, 2816, 16, (8, 2), (2112,) * 30, experts=128)
GEMMA4_31B = _gemma4(60, 5376, 32, (16, 4), (21504,) * 60)

MODELS: Models = {
    "Gemma 2B": (GEMMA_2B, ("Q4_K_M",)),
    "Gemma 7B": (GEMMA_7B, ("Q4_K_M",)),
    "Gemma 2 9B": (shapes.GEMMA2_9B, ("Q4_K_M",)),
    "Gemma 3 12B": (shapes.GEMMA3_12B, ("Q4_K_M", "Q8_0")),
    "Gemma 3n E4B": (GEMMA3N_E4B, ("Q4_K_M",)),
    "Gemma 4 12B": (GEMMA4_12B, ("Q4_K_M",)),
    "Gemma 4 26B-A4B": (GEMMA4_26B_A4B, ("Q4_K_M",)),
    "Gemma 4 31B": (GEMMA4_31B, ("Q4_K_M",)),
}
