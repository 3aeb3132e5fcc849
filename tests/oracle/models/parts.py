"""Parts of blocks that several families have. Tensors are those that llama.cpp's loader asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.shapes import Line, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Models = dict[str, tuple[Model, tuple[str, ...]]]


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
