"""The reader of safetensors headers: what is sound, and what is not in any of the ways that files are broken."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.errors import BaseProblem
from modelforge.safetensors import SafeTensor, read_safetensors
from tests.folders import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

NAME = "./models/x/model.safetensors"


def raw(path: Path, header: object, data: bytes = b"", *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def line(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12], **changes}}


def test_a_whole_file_is_read_in_its_order(tmp_path: Path) -> None:
    path = write_safetensors(
        tmp_path / "x.safetensors", {"b": ("BF16", (4, 2)), "a": ("F32", ()), "c": ("I64", (0,))}
    )
    assert read_safetensors(path, NAME) == (
        SafeTensor(name="b", type="BF16", shape=(4, 2), bytes=16),
        SafeTensor(name="a", type="F32", shape=(), bytes=4),
        SafeTensor(name="c", type="I64", shape=(0,), bytes=0),
    )


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        pytest.param(line(), bytes(11), "cut: 1 B", id="last byte missing"),
        pytest.param(line(dtype="F12"), bytes(12), "unknown type 'F12'", id="type"),
        pytest.param(line(dtype=7), bytes(12), "unknown type 7", id="type is a number"),
        pytest.param(line(shape=[2, 4]), bytes(12), "its shape needs 16", id="shape"),
        pytest.param(line(shape=[2, -3]), bytes(12), "impossible", id="negative"),
        pytest.param(line(shape=[2.0, 3]), bytes(12), "impossible", id="not whole"),
        pytest.param(line(shape=[True, 3]), bytes(12), "impossible", id="true"),
        pytest.param(line(shape=[1 << 70]), bytes(12), "impossible", id="huge"),
        pytest.param(line(data_offsets=[12, 0]), bytes(12), "takes -12 bytes", id="backwards"),
        pytest.param(line(data_offsets=[0]), bytes(12), "data_offsets", id="one offset"),
        pytest.param({"a": 3}, b"", "dtype", id="no table"),
        pytest.param([1], b"", "no JSON object", id="a list"),
        pytest.param(b"{" * 5000, b"", "no JSON", id="deep"),
        pytest.param(b"{}x", b"", "no JSON", id="no JSON"),
    ],
)
def test_a_broken_header_is_told(header: object, data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(BaseProblem) as caught:
        read_safetensors(raw(tmp_path / "x", header, data), NAME)
    (problem,) = caught.value.problems
    assert problem.file == NAME
    assert words in problem.message
    assert problem.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\x10\0", "not a safetensors file"),
        (struct.pack("<Q", 1 << 40) + b"{", "not a safetensors file"),
        (struct.pack("<Q", 0), "not a safetensors file"),
        (struct.pack("<Q", 100) + b"{}", "cut inside its header: 98 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"GGUF\x03\0\0\0" + bytes(40), "not a safetensors file"),
    ],
)
def test_what_is_no_such_file_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(BaseProblem) as caught:
        read_safetensors(path, NAME)
    assert words in str(caught.value)


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(BaseProblem, match="there is no such file"):
        read_safetensors(tmp_path / "x", NAME)
    with pytest.raises(BaseProblem, match="no regular file"):
        read_safetensors(tmp_path, NAME)
