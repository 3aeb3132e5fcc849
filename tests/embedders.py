"""Writes small embedding models that real servers load: words of their own, and weights drawn by chance.

    tiny_bert(tmp_path / "tiny-F32.gguf")       an encoder, pooled over all tokens
    tiny_qwen3(tmp_path / "tiny-F32.gguf")      a decoder, pooled at its last token; a token a byte

They have learnt nothing, but texts with the same words lie nearer to each other than to texts of other words.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

from tests.ggufs import FILE_TYPES, Typed, tensor_bytes, write_gguf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.ggufs import TensorLine

WIDTH = 32
"""Numbers of a vector."""
CONTEXT = 64
"""Tokens of a text, those that the tokenizer adds included."""

_LAYERS = 2
_WIDE = 2 * WIDTH
_HEADS = 2
_HEAD = WIDTH // _HEADS
_SEED = 7
_USUAL, _CONTROL = 1, 3  # llama.cpp's types of tokens
_MEAN, _LAST = 1, 3  # and of pooling

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = ("do", "how", "in", "lisbon", "my", "password", "recover", "reset", "the", "weather")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_MARKS = ".,?!'-"

_Sizes = tuple[tuple[str, tuple[int, ...]], ...]


def tiny_bert(path: Path, *, factor: float | None = None) -> Path:
    """An encoder: BERT with WordPiece. Returns `path`.

    Args:
        path: where to; its folder is made.
        factor: what all that comes is multiplied with in the end: 0 or NaN makes a model that is broken.
    """
    words = [*_SPECIAL, *("▁" + word for word in (*_MARKS, *_LETTERS, *_WORDS)), *_LETTERS]
    metadata = {
        "bert.attention.layer_norm_epsilon": 1e-5,
        "bert.attention.causal": False,
        "bert.attention.head_count_kv": _HEADS,
        "bert.pooling_type": _MEAN,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.scores": Typed("f32", [0.0] * len(words)),
        "tokenizer.ggml.token_type": Typed(
            "i32", [_CONTROL if word in _SPECIAL else _USUAL for word in words]
        ),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.padding_token_id": words.index("[PAD]"),
        "tokenizer.ggml.unknown_token_id": words.index("[UNK]"),
        "tokenizer.ggml.bos_token_id": words.index("[CLS]"),
        "tokenizer.ggml.cls_token_id": words.index("[CLS]"),
        "tokenizer.ggml.eos_token_id": words.index("[SEP]"),
        "tokenizer.ggml.seperator_token_id": words.index("[SEP]"),
        "tokenizer.ggml.mask_token_id": words.index("[MASK]"),
    }
    outside: _Sizes = (
        ("token_embd.weight", (WIDTH, len(words))),
        ("token_types.weight", (WIDTH, 2)),
        ("position_embd.weight", (WIDTH, CONTEXT)),
        *_pair("token_embd_norm", WIDTH),
    )
    inside: _Sizes = (
        *(line for part in ("q", "k", "v", "output") for line in _pair(f"attn_{part}", WIDTH, WIDTH)),
        *_pair("attn_output_norm", WIDTH),
        *_pair("ffn_up", WIDTH, _WIDE),
        *_pair("ffn_down", _WIDE, WIDTH),
        *_pair("layer_output_norm", WIDTH),
    )
    last = f"blk.{_LAYERS - 1}.layer_output_norm"
    broken = {
        f"{last}.{part}": _packed([factor] * WIDTH) for part in ("weight", "bias") if factor is not None
    }
    return _write(path, "bert", metadata, outside, inside, broken)


def tiny_qwen3(path: Path) -> Path:
    """A decoder as Qwen3's embedding models are. Returns `path`, whose folder is made."""
    shown = [
        *range(33, 127),
        *range(161, 173),
        *range(174, 256),
    ]  # GPT-2 shows the other bytes by letters above
    words = [*map(chr, (*shown, *range(256, 512 - len(shown)))), "th", "<|endoftext|>"]
    metadata = {
        "qwen3.attention.layer_norm_rms_epsilon": 1e-6,
        "qwen3.attention.head_count_kv": 1,
        "qwen3.attention.key_length": _HEAD,
        "qwen3.attention.value_length": _HEAD,
        "qwen3.rope.freq_base": 1e6,
        "qwen3.pooling_type": _LAST,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": Typed("i32", [*[_USUAL] * (len(words) - 1), _CONTROL]),
        "tokenizer.ggml.merges": ["t h"],
        "tokenizer.ggml.eos_token_id": len(words) - 1,
        "tokenizer.ggml.padding_token_id": len(words) - 1,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": True,
    }
    outside: _Sizes = (("token_embd.weight", (WIDTH, len(words))), ("output_norm.weight", (WIDTH,)))
    inside: _Sizes = (
        ("attn_norm.weight", (WIDTH,)),
        ("attn_q.weight", (WIDTH, _HEADS * _HEAD)),
        ("attn_k.weight", (WIDTH, _HEAD)),
        ("attn_v.weight", (WIDTH, _HEAD)),
        ("attn_output.weight", (_HEADS * _HEAD, WIDTH)),
        ("attn_q_norm.weight", (_HEAD,)),
        ("attn_k_norm.weight", (_HEAD,)),
        ("ffn_norm.weight", (WIDTH,)),
        ("ffn_gate.weight", (WIDTH, _WIDE)),
        ("ffn_up.weight", (WIDTH, _WIDE)),
        ("ffn_down.weight", (_WIDE, WIDTH)),
    )
    return _write(path, "qwen3", metadata, outside, inside, {})


def _write(
    path: Path,
    architecture: str,
    metadata: Mapping[str, object],
    outside: _Sizes,
    inside: _Sizes,
    given: Mapping[str, bytes],
) -> Path:
    """The file: tensors outside of the blocks and in each of them; what is not `given` is drawn."""
    usual = {
        "general.architecture": architecture,
        "general.type": "model",
        "general.name": path.stem,
        "general.file_type": FILE_TYPES["F32"],
        "general.quantization_version": 2,
        f"{architecture}.block_count": _LAYERS,
        f"{architecture}.context_length": CONTEXT,
        f"{architecture}.embedding_length": WIDTH,
        f"{architecture}.feed_forward_length": _WIDE,
        f"{architecture}.attention.head_count": _HEADS,
    }
    blocks = [(f"blk.{layer}.{name}", dims) for layer in range(_LAYERS) for name, dims in inside]
    tensors: list[TensorLine] = [(name, dims, "F32") for name, dims in (*outside, *blocks)]
    chance = random.Random(_SEED)
    data = {name: _weights(chance, name, tensor_bytes(dims, kind) // 4) for name, dims, kind in tensors}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gguf(path, {**usual, **metadata}, tensors, data={**data, **given})
    return path


def _pair(name: str, *dims: int) -> _Sizes:
    """Weights and the bias that goes with them."""
    return (f"{name}.weight", dims), (f"{name}.bias", dims[-1:])


def _weights(chance: random.Random, name: str, count: int) -> bytes:
    if name.endswith("norm.weight"):
        return _packed([1.0] * count)
    spread = 1.0 if name == "token_embd.weight" else 0.3
    return _packed([chance.gauss(0, spread) for _ in range(count)])


def _packed(numbers: list[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)
