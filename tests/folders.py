"""Models as Hugging Face stores them, for tests: any safetensors, and the small trained model as such a folder.

    write_safetensors(tmp_path / "model.safetensors", {"model.norm.weight": ("F32", (256,))})
    tiny_folder(tmp_path / "tiny-hf", MODELS / "forge-tiny-F16.gguf")

Own code: the libraries for it bring numpy and torch.
"""

from __future__ import annotations

import json
import mmap
import struct
from array import array
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from modelforge import ggml
from modelforge.gguf import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "F8_E4M3": 1}
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pattern by which converters know the pre-tokenizer `qwen2`."""
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def write_safetensors(
    path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]], data: Mapping[str, bytes] | None = None
) -> Path:
    """Writes a whole file: type and shape (outermost first) of each tensor. Without `data` the weights are a hole."""
    lines: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (kind, shape) in tensors.items():
        size = prod(shape) * BYTES[kind]
        lines[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(lines).encode()
    head += b" " * (-len(head) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for name in tensors:
            start = 8 + len(head) + lines[name]["data_offsets"][0]
            file.seek(start)
            file.write((data or {}).get(name, b""))
        file.truncate(8 + len(head) + at)
    return path


def write_json(path: Path, value: object) -> Path:
    """Writes a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def some_folder(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, tuple[str, tuple[int, ...]]]
) -> Path:
    """A folder with a model's files, without weights and vocabulary."""
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer.json", {"model": {"vocab": {}, "merges": []}, "added_tokens": []})
    write_json(folder / "tokenizer_config.json", {"chat_template": "{{ messages }}"})
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


def tiny_folder(folder: Path, gguf: Path, *, kind: str = "F16", shards: int = 1) -> Path:
    """The small trained model as a folder: its matrices as they are (`kind` F16) or cut to BF16."""
    source = _Gguf.read(gguf)
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    data: dict[str, bytes] = {}
    for tensor in read_header(gguf).tensors:
        name, shape = _their_name(tensor.name), tuple(reversed(tensor.dims))
        raw = source.tensors[tensor.name]
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            raw = _half_split(raw, shape, source.number("llama.attention.key_length"))
        matrix = len(shape) > 1
        tensors[name] = (kind if matrix else "F32", shape)
        data[name] = _to_bf16(raw) if matrix and kind == "BF16" else raw
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, data)
    else:
        _write_shards(folder, tensors, data, shards)
    _write_texts(folder, source, kind)
    return folder


def _write_shards(
    folder: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]], data: Mapping[str, bytes], shards: int
) -> None:
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        own = {name: line for index, (name, line) in enumerate(tensors.items()) if index % shards == number}
        write_safetensors(folder / file, own, data)
        weight_map |= dict.fromkeys(own, file)
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})


def _write_texts(folder: Path, source: _Gguf, kind: str) -> None:
    number = source.number
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": number("llama.embedding_length"),
        "intermediate_size": number("llama.feed_forward_length"),
        "max_position_embeddings": number("llama.context_length"),
        "num_attention_heads": number("llama.attention.head_count"),
        "num_hidden_layers": number("llama.block_count"),
        "num_key_value_heads": number("llama.attention.head_count_kv"),
        "rms_norm_eps": source.keys["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": source.keys["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "torch_dtype": {"F16": "float16", "BF16": "bfloat16"}[kind],
        "vocab_size": number("llama.vocab_size"),
    }
    tokens = source.keys["tokenizer.ggml.tokens"]
    special = [index for index, type_ in enumerate(source.keys["tokenizer.ggml.token_type"]) if type_ == 3]
    tokenizer = {
        "added_tokens": [{"id": index, "content": tokens[index], "special": True} for index in special],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Split", "pattern": {"Regex": QWEN2}}, {"type": "ByteLevel"}],
        },
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": source.keys["tokenizer.ggml.merges"],
        },
    }
    written = {
        f"{word}_token": tokens[number(f"tokenizer.ggml.{key}_token_id")]
        for word, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }
    written |= {"add_bos_token": False, "chat_template": source.keys["tokenizer.chat_template"]}
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", written)


def _their_name(name: str) -> str:
    head, _, rest = name.partition(".")
    if head != "blk":
        return f"{OUTSIDE[head]}.{rest}"
    block, part, last = rest.split(".")
    return f"model.layers.{block}.{LAYER[part]}.{last}"


def _half_split(raw: bytes, shape: tuple[int, ...], head: int) -> bytes:
    """Rows of each head from GGUF's order (pairs side by side) to Hugging Face's (first halves, then second)."""
    row = len(raw) // shape[0]
    order = [
        start + 2 * pair + half
        for start in range(0, shape[0], head)
        for half in range(2)
        for pair in range(head // 2)
    ]
    return b"".join(raw[row * index : row * (index + 1)] for index in order)


def _to_bf16(raw: bytes) -> bytes:
    """F16 values cut to BF16: the upper half of each as F32."""
    wide = array("f", struct.unpack(f"<{len(raw) // 2}e", raw))
    return array("H", wide.tobytes())[1::2].tobytes()


@dataclass
class _Gguf:
    """All of a small GGUF file: values whole, and the bytes of each tensor."""

    keys: dict[str, Any]
    tensors: dict[str, bytes]

    def number(self, key: str) -> int:
        return int(self.keys[key])

    @classmethod
    def read(cls, path: Path) -> _Gguf:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            cursor = _Cursor(data[:])
        _magic, _version, count, keys = cursor.take("IIQQ")
        found = {}
        for _ in range(keys):
            name = cursor.text()
            found[name] = cursor.value(cursor.take("I")[0])
        places = {}
        for _ in range(count):
            name = cursor.text()
            dims = cursor.take(f"{cursor.take('I')[0]}Q")
            kind, offset = cursor.take("IQ")
            block = ggml.TYPES[kind]
            places[name] = (offset, prod(dims) // block.block * block.bytes)
        start = -(-cursor.at // 32) * 32
        return cls(
            keys=found,
            tensors={
                name: cursor.data[start + at : start + at + size] for name, (at, size) in places.items()
            },
        )


@dataclass
class _Cursor:
    data: bytes
    at: int = 0

    def take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def text(self) -> str:
        (length,) = self.take("Q")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.take(_FORMATS[kind])[0]
        inner, count = self.take("IQ")
        read: Callable[[], Any] = self.text if inner == _STRING else lambda: self.take(_FORMATS[inner])[0]
        return [read() for _ in range(count)]
