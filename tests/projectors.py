"""A small image encoder in a GGUF file of its own: LLaVA's kind (a vision transformer and two matrices), all zeros.

llama.cpp loads and runs it, so that a model beside it takes images, of which it sees nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.ggufs import write_gguf

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ggufs import TensorLine

WIDTH, FEED_FORWARD, PATCH, IMAGE = 64, 64, 16, 32
PATCHES = (IMAGE // PATCH) ** 2


def projector_file(path: Path, *, text_width: int = 256) -> Path:
    """Writes an encoder for models with embeddings of `text_width`."""
    vision: dict[str, object] = {
        "image_size": IMAGE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": FEED_FORWARD,
        "block_count": 1,
        "attention.head_count": 2,
        "attention.layer_norm_epsilon": 1e-5,
        "projection_dim": text_width,
        "image_mean": (0.5, 0.5, 0.5),
        "image_std": (0.5, 0.5, 0.5),
    }
    metadata: dict[str, object] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.name": path.stem,
        "general.file_type": 1,
        "clip.has_vision_encoder": True,
        "clip.has_text_encoder": False,
        "clip.has_llava_projector": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        **{f"clip.vision.{key}": value for key, value in vision.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gguf(path, metadata, [*_encoder(), *_projection(text_width)])
    return path


def _encoder() -> list[TensorLine]:
    lines: list[TensorLine] = [
        ("v.class_embd", (WIDTH,), "F32"),
        ("v.patch_embd.weight", (PATCH, PATCH, 3, WIDTH), "F16"),
        ("v.position_embd.weight", (WIDTH, PATCHES + 1), "F16"),
        ("v.pre_ln.weight", (WIDTH,), "F32"),
        ("v.pre_ln.bias", (WIDTH,), "F32"),
    ]
    for name in ("ln1", "ln2"):
        lines += [(f"v.blk.0.{name}.weight", (WIDTH,), "F32"), (f"v.blk.0.{name}.bias", (WIDTH,), "F32")]
    for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
        lines += [
            (f"v.blk.0.{name}.weight", (WIDTH, WIDTH), "F16"),
            (f"v.blk.0.{name}.bias", (WIDTH,), "F32"),
        ]
    lines += [
        ("v.blk.0.ffn_up.weight", (WIDTH, FEED_FORWARD), "F16"),
        ("v.blk.0.ffn_up.bias", (FEED_FORWARD,), "F32"),
        ("v.blk.0.ffn_down.weight", (FEED_FORWARD, WIDTH), "F16"),
        ("v.blk.0.ffn_down.bias", (WIDTH,), "F32"),
    ]
    return lines


def _projection(text_width: int) -> list[TensorLine]:
    return [
        ("mm.0.weight", (WIDTH, text_width), "F16"),
        ("mm.0.bias", (text_width,), "F32"),
        ("mm.2.weight", (text_width, text_width), "F16"),
        ("mm.2.bias", (text_width,), "F32"),
    ]
