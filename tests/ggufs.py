"""Writes GGUF files for tests: valid ones without weights (a hole instead), and their raw headers to corrupt.

    tiny_llama(tmp_path / "tiny-Q4_K_M.gguf", "Q4_K_M")
    write_gguf(tmp_path / "x.gguf", {"general.architecture": "llama"}, [("a.weight", (256, 8), "Q4_K")])

Own code, not gguf-py's writer: that one needs numpy and the weights themselves.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelforge import ggml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TensorLine = tuple[str, tuple[int, ...], str]

VALUE_TYPES = {
    "u8": (0, "B"),
    "i8": (1, "b"),
    "u16": (2, "H"),
    "i16": (3, "h"),
    "u32": (4, "I"),
    "i32": (5, "i"),
    "f32": (6, "f"),
    "bool": (7, "?"),
    "str": (8, ""),
    "array": (9, ""),
    "u64": (10, "Q"),
    "i64": (11, "q"),
    "f64": (12, "d"),
}
TYPE_NUMBERS = {kind.name: number for number, kind in ggml.TYPES.items()}
FILE_TYPES = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q2_K": 10,
    "Q3_K_S": 11,
    "Q3_K_M": 12,
    "Q3_K_L": 13,
    "Q4_K_S": 14,
    "Q4_K_M": 15,
    "Q5_K_S": 16,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "IQ4_NL": 25,
    "IQ4_XS": 30,
    "BF16": 32,
}


@dataclass(frozen=True, slots=True)
class Typed:
    """A value or tuple of values whose GGUF type is said: `Typed("u64", 5)`, `Typed("i32", ())`.

    Without it: bool, u32 (i32 below 0, u64/i64 beyond 32 bits), f32, str, and arrays of those.
    """

    type: str
    value: object


def write_gguf(
    path: Path,
    metadata: Mapping[str, object],
    tensors: Sequence[TensorLine],
    *,
    data: Mapping[str, bytes] | None = None,
    version: int = 3,
    big_endian: bool = False,
) -> None:
    """Writes a valid GGUF of full size. Tensors not in `data` are a hole, so that the file takes no room.

    Args:
        path: where to; what was there is replaced.
        metadata: key to value; see `Typed`. `general.alignment` is honoured.
        tensors: name, dims (innermost first) and ggml type of each.
        data: bytes of some tensors, by name.
        version: what the file says that it is.
        big_endian: write everything the other way round.
    """
    alignment = metadata.get("general.alignment", 32)
    assert isinstance(alignment, int)
    head = header_bytes(metadata, tensors, version=version, big_endian=big_endian)
    start = _padded(len(head), alignment) if tensors else len(head)
    with path.open("wb") as file:
        file.write(head)
        end = start
        for name, dims, kind in tensors:
            file.seek(end)
            file.write((data or {}).get(name, b""))
            end += _padded(tensor_bytes(dims, kind), alignment)
        file.truncate(end)


def header_bytes(
    metadata: Mapping[str, object],
    tensors: Sequence[TensorLine],
    *,
    version: int = 3,
    big_endian: bool = False,
) -> bytes:
    """The file up to the end of the tensor table, without the padding after it."""
    order = ">" if big_endian else "<"
    alignment = metadata.get("general.alignment", 32)
    parts = [b"GGUF", struct.pack(order + "IQQ", version, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += (string_bytes(key, order), value_bytes(value, order))
    offset = 0
    for name, dims, kind in tensors:
        shape = struct.pack(f"{order}I{len(dims)}Q", len(dims), *dims)
        parts += (string_bytes(name, order), shape, struct.pack(order + "IQ", TYPE_NUMBERS[kind], offset))
        offset += _padded(tensor_bytes(dims, kind), alignment if isinstance(alignment, int) else 32)
    return b"".join(parts)


def value_bytes(value: object, order: str = "<") -> bytes:
    """A value's type number and the value itself."""
    typed = value if isinstance(value, Typed) else Typed(_type_of(value), value)
    number, code = VALUE_TYPES[typed.type]
    if isinstance(typed.value, tuple | list):
        head = struct.pack(order + "IIQ", VALUE_TYPES["array"][0], number, len(typed.value))
        if typed.type == "str":
            return head + b"".join(string_bytes(str(item), order) for item in typed.value)
        return head + struct.pack(f"{order}{len(typed.value)}{code}", *typed.value)
    head = struct.pack(order + "I", number)
    return head + (
        string_bytes(str(typed.value), order)
        if typed.type == "str"
        else struct.pack(order + code, typed.value)
    )


def string_bytes(text: str | bytes, order: str = "<") -> bytes:
    """Length and UTF-8 of a text; bytes go as they are."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack(order + "Q", len(raw)) + raw


def tensor_bytes(dims: Sequence[int], kind: str) -> int:
    """Bytes of a tensor, unpadded."""
    elements = 1
    for dim in dims:
        elements *= dim
    row = ggml.TYPES[TYPE_NUMBERS[kind]]
    return elements // row.block * row.bytes


def tiny_llama(
    path: Path,
    quant: str = "Q8_0",
    *,
    layers: int = 2,
    embedding: int = 256,
    context: int = 1024,
    heads: int = 4,
    kv_heads: int = 2,
    vocabulary: int = 512,
    size_label: str | None = None,
    metadata: Mapping[str, object] | None = None,
) -> Path:
    """A minimal, plausible llama without weights, which llama.cpp can plan for. Returns `path`.

    Args:
        path: where to; its folder is made.
        quant: llama.cpp's file type (`Q4_K_M`); sets `general.file_type` and the types of the matrices.
        layers: blocks.
        embedding: width; a multiple of 256.
        context: training context in tokens.
        heads: attention heads; they share `embedding`.
        kv_heads: heads of the KV cache.
        vocabulary: tokens; there is no tokenizer.
        size_label: `general.size_label`.
        metadata: more keys, or other values; None takes a key away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    keys: dict[str, Any] = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": path.stem,
        "general.size_label": size_label,
        "llama.vocab_size": vocabulary,
        "llama.context_length": context,
        "llama.embedding_length": embedding,
        "llama.block_count": layers,
        "llama.feed_forward_length": 2 * embedding,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": embedding // heads,
        "general.file_type": FILE_TYPES[quant],
        "general.quantization_version": 2,
        "tokenizer.ggml.model": "none",
        **(metadata or {}),
    }
    kept = {key: value for key, value in keys.items() if value is not None}
    write_gguf(
        path, kept, _llama_tensors(quant, layers, embedding, embedding // heads * kv_heads, vocabulary)
    )
    return path


def _llama_tensors(quant: str, layers: int, width: int, kv: int, vocabulary: int) -> list[TensorLine]:
    kind = quant if quant in TYPE_NUMBERS else quant[:4]
    lines: list[TensorLine] = [("token_embd.weight", (width, vocabulary), kind)]
    for layer in range(layers):
        block = f"blk.{layer}."
        lines += [
            (block + "attn_norm.weight", (width,), "F32"),
            (block + "attn_q.weight", (width, width), kind),
            (block + "attn_k.weight", (width, kv), kind),
            (block + "attn_v.weight", (width, kv), kind),
            (block + "attn_output.weight", (width, width), kind),
            (block + "ffn_norm.weight", (width,), "F32"),
            (block + "ffn_gate.weight", (width, 2 * width), kind),
            (block + "ffn_up.weight", (width, 2 * width), kind),
            (block + "ffn_down.weight", (2 * width, width), kind),
        ]
    return [*lines, ("output_norm.weight", (width,), "F32")]


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _type_of(value: object) -> str:
    if isinstance(value, tuple | list):
        kinds = [_type_of(item) for item in value]
        wide = [kind for kind in ("i64", "u64", "i32", "f32") if kind in kinds]
        return wide[0] if wide else kinds[0]
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        small = -(1 << 31) <= value < 1 << 32
        return ("u" if value >= 0 else "i") + ("32" if small else "64")
    return "f32" if isinstance(value, float) else "str"
