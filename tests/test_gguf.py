from __future__ import annotations

import contextlib
import os
import random
import struct
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelforge import ggml
from modelforge.errors import BaseProblem, ExitCode
from modelforge.gguf import Header, LongArray, parse_header, read_header
from modelforge.gguf_cursor import NeedMore
from tests.ggufs import Typed, header_bytes, string_bytes, tensor_bytes, tiny_llama, value_bytes, write_gguf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LLAMA: dict[str, object] = {"general.architecture": "llama"}
ONE = [("a.weight", (256, 8), "Q4_K")]
FUZZ = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


def refused(path: Path) -> str:
    """The message that a file is refused with."""
    with pytest.raises(BaseProblem) as caught:
        read_header(path)
    (problem,) = caught.value.problems
    assert caught.value.exit_code is ExitCode.USAGE
    assert (problem.file, problem.kind) == (str(path), "base")
    assert problem.hint
    return problem.message


def refused_bytes(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    return refused(path)


def written(
    tmp_path: Path, metadata: Mapping[str, object], tensors: list[tuple[str, tuple[int, ...], str]]
) -> Header:
    path = tmp_path / "good.gguf"
    write_gguf(path, metadata, tensors)
    return read_header(path)


# What is read


def test_a_model_reads_as_it_was_written(tmp_path: Path) -> None:
    path = tiny_llama(tmp_path / "tiny-Q4_K_M.gguf", "Q4_K_M", size_label="7B")
    header = read_header(path)
    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["general.size_label"] == "7B"
    assert header.metadata["general.file_type"] == 15
    assert header.metadata["llama.context_length"] == 1024
    first = header.tensors[0]
    assert (first.name, first.dims, first.type, first.bytes) == (
        "token_embd.weight",
        (256, 512),
        "Q4_K",
        73728,
    )
    assert header.file_bytes == path.stat().st_size


def test_a_file_that_is_a_hole_is_read_without_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "huge.gguf"
    write_gguf(path, LLAMA, [("w", (8192, 8192, 4096), "Q4_K")])
    assert path.stat().st_blocks * 512 < 1 << 20
    assert read_header(path).tensors[0].bytes == 8192 * 8192 * 4096 // 256 * 144


def test_short_arrays_are_kept_and_long_ones_only_counted(tmp_path: Path) -> None:
    header = written(
        tmp_path,
        {
            "llama.attention.head_count_kv": (8, 8, 4),
            "x.sliding_window_pattern": (True, False, True),
            "x.names": ("a", "ü", ""),
            "x.none": Typed("i32", ()),
            "tokens": Typed("str", ("t",) * 1024),
            "scores": Typed("f32", (0.5,) * 1024),
            "just.short": Typed("i32", tuple(range(-1, 1022))),
            "after": 7,
        },
        [],
    )
    assert header.metadata == {
        "llama.attention.head_count_kv": (8, 8, 4),
        "x.sliding_window_pattern": (True, False, True),
        "x.names": ("a", "ü", ""),
        "x.none": (),
        "tokens": LongArray(type="str", length=1024),
        "scores": LongArray(type="f32", length=1024),
        "just.short": tuple(range(-1, 1022)),
        "after": 7,
    }


def test_version_2_reads_like_version_3(tmp_path: Path) -> None:
    path = tmp_path / "two.gguf"
    write_gguf(path, LLAMA, ONE, version=2)
    assert read_header(path).tensors[0].bytes == 8 * 144


def test_an_alignment_of_its_own_is_honoured(tmp_path: Path) -> None:
    metadata = {**LLAMA, "general.alignment": 4096}
    header = written(tmp_path, metadata, [("a", (3,), "F32"), ("b", (5,), "F32")])
    assert [tensor.bytes for tensor in header.tensors] == [12, 20]


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(width=32, allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
SMALL = st.integers(-(1 << 31), (1 << 31) - 1)
ARRAYS = st.one_of(
    st.lists(SMALL.map(int), min_size=1, max_size=8).map(lambda items: Typed("i32", tuple(items))),
    st.lists(st.booleans(), min_size=1, max_size=8).map(lambda items: Typed("bool", tuple(items))),
    st.lists(st.text(max_size=8, alphabet="aäß\0 "), max_size=8).map(
        lambda items: Typed("str", tuple(items))
    ),
    st.lists(st.floats(allow_nan=False), max_size=8).map(lambda items: Typed("f64", tuple(items))),
)
KEYS = st.text("abc._", min_size=1, max_size=12).filter(lambda key: key != "general.alignment")
TENSORS = st.lists(
    st.tuples(
        st.text("abc.", max_size=9),
        st.lists(st.integers(0, 5), max_size=3).map(tuple),
        st.sampled_from([kind.name for kind in ggml.TYPES.values()]),
    ).map(lambda line: (line[0], (256, *line[1]), line[2])),
    unique_by=lambda line: line[0],
    max_size=6,
)


@FUZZ
@given(metadata=st.dictionaries(KEYS, st.one_of(SCALARS, ARRAYS), max_size=8), tensors=TENSORS)
def test_what_was_written_reads_back_equal(
    tmp_path: Path, metadata: dict[str, object], tensors: list[tuple[str, tuple[int, ...], str]]
) -> None:
    header = written(tmp_path, metadata, tensors)
    plain = {key: value.value if isinstance(value, Typed) else value for key, value in metadata.items()}
    assert header.metadata == plain
    assert [(t.name, t.dims, t.type) for t in header.tensors] == tensors
    assert [t.bytes for t in header.tensors] == [tensor_bytes(dims, kind) for _, dims, kind in tensors]


def test_the_same_as_gguf_py_reads(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = tiny_llama(tmp_path / "x.gguf", "Q6_K", metadata={"some.list": (1, 2, 3)})
    ours, theirs = read_header(path), gguf.GGUFReader(path)
    fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert fields == {k: list(v) if isinstance(v, tuple) else v for k, v in ours.metadata.items()}
    found = [(t.name, tuple(t.shape), t.tensor_type.name, t.n_bytes) for t in theirs.tensors]
    assert found == [(t.name, t.dims, t.type, t.bytes) for t in ours.tensors]


def test_every_type_has_the_block_that_gguf_py_has() -> None:
    constants = pytest.importorskip("gguf.constants")
    theirs = {
        int(kind): (kind.name, block, size) for kind, (block, size) in constants.GGML_QUANT_SIZES.items()
    }
    ours = {number: (kind.name, kind.block, kind.bytes) for number, kind in ggml.TYPES.items()}
    different = {number for number in theirs.keys() & ours.keys() if theirs[number] != ours[number]}
    # Never in a file: gguf-py 0.19 still has two f32 in a block, ggml has had two f16 since 2024.
    assert different == {9}
    assert (theirs[9], ours[9]) == (("Q8_1", 32, 40), ("Q8_1", 32, 36))
    # Q2_0 came to llama.cpp after gguf-py 0.19.
    assert theirs.keys() - ours.keys() == set()
    assert ours.keys() - theirs.keys() <= {42}
    assert not ggml.REMOVED & ours.keys()


# Reading in pieces


def test_a_reader_of_ranges_is_told_how_far_it_must_read(tmp_path: Path) -> None:
    path = tmp_path / "ranges.gguf"
    write_gguf(
        path, {**LLAMA, "tokens": Typed("str", ("token",) * 2000), "scores": Typed("f32", (0.0,) * 5000)}, ONE
    )
    whole = path.read_bytes()
    have, header = 0, None
    asked: list[tuple[int, int]] = []
    while header is None:
        try:
            header = parse_header(whole[:have], len(whole), "x")
        except NeedMore as more:
            asked.append((have, more.end))
            have = max(more.end, 2 * have)
    assert all(had < end <= len(whole) for had, end in asked)
    assert len(asked) < 15
    assert header == read_header(path)


# What is refused


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x80\x02}q\x00", "PyTorch pickle"),
        (struct.pack("<Q", 20) + b'{"a": {"dtype": "F16"}}', "safetensors"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"<html>", "web page"),
        (b'{"schemaVersion": 2}', "JSON"),
        (b"Just a note.\n", "text"),
        (b"tjgg\x03\0\0\0", "GGJT"),
        (b"\0" * 300, "nothing but zeros"),
        (b"\xde\xad\xbe\xef\x01", "unknown data, it begins with de ad be ef"),
    ],
)
def test_a_foreign_file_is_named_for_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    message = refused_bytes(tmp_path, content)
    assert message.startswith("not a GGUF file: ")
    assert said in message


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path) == "a folder, not a GGUF file"
    assert refused(tmp_path / "none.gguf") == "there is no such file"
    os.mkfifo(tmp_path / "fifo.gguf")
    assert refused(tmp_path / "fifo.gguf") == "no regular file, not a GGUF file"


def test_a_big_endian_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "big.gguf"
    write_gguf(path, LLAMA, ONE, big_endian=True)
    assert "big-endian" in refused(path)


@pytest.mark.parametrize(
    ("version", "said"), [(1, "GGUF version 1"), (4, "versions 2 and 3"), (0, "version 0")]
)
def test_other_versions_are_refused(tmp_path: Path, version: int, said: str) -> None:
    assert said in refused_bytes(tmp_path, header_bytes(LLAMA, [], version=version))


def test_a_cut_file_is_told_how_much_is_missing(tmp_path: Path) -> None:
    path = tiny_llama(tmp_path / "cut.gguf", "Q8_0")
    header = read_header(path)
    whole = path.stat().st_size
    padding = -header.tensors[-1].bytes % 32
    os.truncate(path, whole - padding - 123_456)
    assert (
        refused(path)
        == f"cut: 120.6 KiB of {(whole - padding) / 1024 / 1024:.1f} MiB are missing (123456 bytes)"
    )


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    write_gguf(
        path, {**LLAMA, "list": (1, 2, 3), "names": ("a", "b")}, [("a", (32,), "Q8_0"), ("b", (8,), "F32")]
    )
    whole = path.read_bytes()
    assert read_header(path).tensors[-1].bytes == 32
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        message = refused(path)
        assert "cut" in message or "empty" in message, (length, message)


def raw(key_count: int, tensor_count: int, rest: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensor_count, key_count) + rest


def tensor(name: bytes, dims: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    head = string_bytes(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return head + struct.pack("<IQ", kind, offset)


KEY = string_bytes("k")
HUGE = (1 << 64) - 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (raw(HUGE, 0, b""), "metadata keys are announced"),
        (raw(0, HUGE, b""), "tensors are announced"),
        (raw(1, 0, struct.pack("<Q", HUGE)), f"a metadata key at byte 24 is said to have {HUGE} bytes"),
        (raw(1, 0, struct.pack("<Q", 1 << 20)), "cut inside its header"),
        (raw(1, 0, string_bytes("") + value_bytes(1)), "a metadata key is empty"),
        (raw(2, 0, (KEY + value_bytes(1)) * 2), "the metadata key 'k' is there twice"),
        (raw(1, 0, string_bytes(b"\xff\xfe") + value_bytes(1)), "a metadata key is not UTF-8 at byte 32"),
        (raw(1, 0, KEY + struct.pack("<I", 8) + string_bytes(b"ab\xff")), "the value of 'k' is not UTF-8"),
        (raw(1, 0, KEY + struct.pack("<I", 99)), "'k' has the unknown value type 99"),
        (raw(1, 0, KEY + struct.pack("<IIQ", 9, 77, 1)), "'k' has the unknown value type 77"),
        (raw(1, 0, KEY + struct.pack("<IIQ", 9, 9, 1) * 50), "'k' is an array of arrays"),
        (raw(1, 0, KEY + struct.pack("<IIQ", 9, 4, HUGE)), "cut inside its header"),
        (raw(1, 0, KEY + struct.pack("<IIQ", 9, 8, HUGE)), f"'k' is said to have {HUGE} texts"),
        (raw(1, 0, KEY + struct.pack("<IIQQ", 9, 8, 5000, HUGE)), "cut inside its header"),
        (raw(1, 0, string_bytes("general.alignment") + value_bytes(48)), "general.alignment is 48"),
        (raw(1, 0, string_bytes("general.alignment") + value_bytes(0)), "general.alignment is 0"),
        (raw(1, 0, string_bytes("general.alignment") + value_bytes("x")), "general.alignment is 'x'"),
        (raw(0, 2, tensor(b"a", (), 0) * 2), "the tensor 'a' is there twice"),
        (raw(0, 1, tensor(b"a" * 64, (), 0)), "longer than 63 bytes"),
        (raw(0, 1, tensor(b"a", (1,) * 5, 0)), "the tensor 'a' has 5 dimensions"),
        (raw(0, 1, tensor(b"a", (1 << 63,), 0)), "impossible shape"),
        (raw(0, 1, tensor(b"a", (1 << 40, 1 << 40), 0)), "impossible shape"),
        (raw(0, 1, tensor(b"a", (256,), 99)), "the tensor 'a' has the unknown type 99"),
        (raw(0, 1, tensor(b"a", (256,), 31)), "type 31, which llama.cpp has dropped"),
        (raw(0, 1, tensor(b"a", (33,), 8)), "rows of 33, but Q8_0 stores 32 at a time"),
        (raw(0, 1, tensor(b"a", (256,), 0, 64)), "lies at byte 64 of the data, not at 0"),
        (raw(0, 1, tensor(b"a", (1 << 40,), 0)), "cut: 4096.0 GiB of"),
        (raw(0, 1, tensor(b"\x1b[31mred", (256,), 99)), r"'\x1b[31mred'"),
    ],
)
def test_a_hostile_header_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refused_bytes(tmp_path, content)


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    content = raw(0, 2, tensor(b"a", (64,), 0) + tensor(b"b", (64,), 0)) + bytes(1024)
    assert "the tensor 'b' lies at byte 0 of the data, not at 256" in refused_bytes(tmp_path, content)


def hole(tmp_path: Path, head: bytes, size: int) -> Path:
    path = tmp_path / "hole.gguf"
    path.write_bytes(head)
    os.truncate(path, size)
    return path


def test_a_hole_of_a_terabyte_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    begin = time.perf_counter()
    texts = KEY + struct.pack("<IIQ", 9, 8, 1 << 36)
    assert "texts" in refused(hole(tmp_path, raw(1, 0, texts), 1 << 40))
    text = KEY + struct.pack("<IQ", 8, 16 << 20)
    assert refused(hole(tmp_path, raw(2, 0, text), 1 << 40)) == "a metadata key is empty"
    walk = KEY + struct.pack("<IIQ", 9, 8, 1 << 20)
    assert refused(hole(tmp_path, raw(2, 0, walk), 1 << 40)) == "a metadata key is empty"
    assert time.perf_counter() - begin < 1


def test_metadata_beyond_its_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelforge.gguf_cursor._MAX_KEPT", 1 << 20)
    texts = b"".join(string_bytes(f"k{n}") + value_bytes("x" * 300_000) for n in range(4))
    assert refused_bytes(tmp_path, raw(4, 0, texts)) == "its metadata takes more than 1.0 MiB"
    numbers = b"".join(string_bytes(f"k{n}") + value_bytes((0,) * 1000) for n in range(40))
    assert refused_bytes(tmp_path, raw(40, 0, numbers)) == "its metadata takes more than 1.0 MiB"


def test_flipped_bytes_never_crash_the_reader(tmp_path: Path) -> None:
    path = tiny_llama(
        tmp_path / "flip.gguf", layers=1, metadata={"tokens": Typed("str", ("t",) * 1100), "l": (1, 2)}
    )
    whole = path.read_bytes()[:20_000]
    header_end = whole.index(b"output_norm.weight") + 40
    dice = random.Random(20_261_121)
    slowest = 0.0
    for _ in range(400):
        broken = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            broken[dice.randrange(4, header_end)] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        begin = time.perf_counter()
        with contextlib.suppress(BaseProblem, NeedMore):
            parse_header(bytes(broken), path.stat().st_size, "flip.gguf")
        slowest = max(slowest, time.perf_counter() - begin)
    assert slowest < 1


@FUZZ
@given(content=st.binary(max_size=200))
def test_any_bytes_after_the_magic_are_refused_or_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0" + content)
    try:
        read_header(path)
    except BaseProblem as error:
        assert error.problems[0].message  # noqa: PT017 (either outcome is right)
