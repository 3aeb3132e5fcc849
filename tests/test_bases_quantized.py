"""What a server makes of a candidate: which sources it takes, and what tells the result from all others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelforge.bases import Candidate, LocalFile, LocalFolder, RegistryModel, ServedModel
from modelforge.bases.local import local_candidates
from modelforge.bases.quantized import known_digest, taken_as_is, weights_digest
from modelforge.bases.served import served_candidates
from modelforge.errors import BaseProblem, ExitCode, UsageProblem
from modelforge.filehash import Hashes
from modelforge.gguf import read_header
from modelforge.profile.schema import Base
from tests.fakes import some_candidate
from tests.folders import tiny_folder
from tests.ggufs import tiny_llama

if TYPE_CHECKING:
    from modelforge.gguf import Header

TINY = Path(__file__).parents[1] / "examples" / "quickstart" / "models" / "forge-tiny-F16.gguf"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for quant in ("F16", "BF16", "Q8_0", "F32"):
        tiny_llama(tmp_path / "models" / f"tiny-{quant}.gguf", quant)
    return tmp_path


def candidates(root: Path, model: str, **keys: object) -> tuple[Candidate, ...]:
    base = Base.model_validate({"model": model, **keys})
    return local_candidates(base, root=root, hashes=Hashes(root / ".cache"))


def refused(root: Path, model: str, **keys: object) -> str:
    with pytest.raises(BaseProblem) as caught:
        candidates(root, model, **keys)
    return " / ".join(f"{p.file or ''}|{p.message}|{p.hint or ''}" for p in caught.value.problems)


def test_a_file_becomes_the_candidate_that_is_made_of_it(root: Path) -> None:
    (source,) = candidates(root, "./models/tiny-F16.gguf")
    (made,) = candidates(root, "./models/tiny-F16.gguf", quantize="q4_k_m")
    assert (made.ref, made.quant, made.quantize) == ("./models/tiny-F16.gguf", "Q4_K_M", "Q4_K_M")
    assert made.source == source.source
    assert made.shape.weights.file < source.shape.weights.file / 3
    assert made.shape.parameters == source.shape.parameters


def test_of_several_files_only_sources_count(root: Path) -> None:
    found = candidates(root, "./models/tiny-*.gguf", quantize="Q8_0")
    assert [one.ref for one in found] == ["./models/tiny-BF16.gguf", "./models/tiny-F16.gguf"]
    assert [one.quant for one in found] == ["Q8_0", "Q8_0"]
    only = candidates(root, "./models/tiny-*.gguf", quantize="Q8_0", tag="tiny-F16", quants=["Q8_0"])
    assert [one.ref for one in only] == ["./models/tiny-F16.gguf"]


def test_what_is_what_was_asked_for_stays(root: Path) -> None:
    (found,) = candidates(root, "./models/tiny-F16.gguf", quantize="f16")
    assert (found.quant, found.quantize) == ("F16", None)


def test_where_an_older_ollama_differs_the_plan_says_so(root: Path) -> None:
    (found,) = candidates(root, "./models/tiny-BF16.gguf", quantize="f16")
    assert not found.shape.exact
    assert found.shape.inexact_because == ("Ollama before 0.30 mixes other types into such a model",)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("tiny-Q8_0.gguf", "is Q8_0 already, and 'quantize' needs F16 or BF16|name an F16 or BF16 model"),
        ("tiny-F32.gguf", "is F32, which Ollama takes for an unknown type and refuses"),
    ],
)
def test_other_sources_are_refused_with_the_reason(root: Path, file: str, reason: str) -> None:
    assert f"./models/{file}|{reason}" in refused(root, f"./models/{file}", quantize="Q4_K_M")


@pytest.mark.parametrize(
    ("target", "hint"), [("q4_0", "llama-quantize"), ("Q4_K_L", "did you mean"), ("F32", "llama-quantize")]
)
def test_other_targets_are_refused_with_the_list(root: Path, target: str, hint: str) -> None:
    text = refused(root, "./models/tiny-F16.gguf", quantize=target)
    assert f"Ollama makes no {target}; it makes Q8_0, Q4_K_M, Q4_K_S, BF16, F16" in text
    assert hint in text or "did you mean" in text


class Line:
    def __init__(self, name: str) -> None:
        self.name, self.digest = name, "ab" * 32


def header(root: Path, quant: str) -> Header:
    return read_header(root / "models" / f"tiny-{quant}.gguf")


def test_a_model_of_the_server_is_a_source_too(root: Path) -> None:
    there = [(Line("x:f16"), header(root, "F16")), (Line("x:q8"), header(root, "Q8_0"))]
    (found,) = served_candidates(Base.model_validate({"model": "x", "quantize": "Q4_K_M"}), there)
    assert (found.ref, found.quant, found.quantize) == ("x:f16", "Q4_K_M", "Q4_K_M")
    with pytest.raises(BaseProblem, match="Q8_0 already"):
        served_candidates(Base.model_validate({"model": "x", "tag": "q8", "quantize": "Q4_K_M"}), there)


def test_the_digest_covers_the_source_and_the_target(root: Path) -> None:
    hashes = Hashes(root / ".cache", now=lambda: 1 << 62)
    (source,) = candidates(root, "./models/tiny-F16.gguf")
    made = [replace(source, quantize=quant) for quant in ("Q4_K_M", "Q8_0")]
    assert known_digest(made[0], hashes) is None
    digests = [weights_digest(one, hashes) for one in (source, *made)]
    assert len(set(digests)) == 3
    assert isinstance(source.source, LocalFile)
    assert digests[0] == hashes.sha256(source.source.path)
    assert [known_digest(one, hashes) for one in (source, *made)] == digests
    served = some_candidate(source=ServedModel(name="x:f16", digest="sha256:1"))
    assert weights_digest(served, hashes) == "sha256:1"
    assert weights_digest(replace(served, quantize="Q8_0"), hashes).startswith("sha256:")
    registry = RegistryModel(name="x:f16", digest="sha256:2", manifest=b"", blobs=())
    planned = replace(served, source=registry, digest="sha256:3", quantize="Q8_0")
    assert weights_digest(planned, hashes) == weights_digest(replace(planned, source=served.source), hashes)


def test_a_folders_digest_is_that_of_its_files(tmp_path: Path) -> None:
    hashes = Hashes(tmp_path / ".cache")
    tiny_folder(tmp_path / "a", TINY)
    tiny_folder(tmp_path / "b", TINY)
    (one,), (other,) = candidates(tmp_path, "./a"), candidates(tmp_path, "./b")
    told: list[int] = []
    assert weights_digest(one, hashes, told.append) == weights_digest(other, hashes)
    assert isinstance(one.source, LocalFolder)
    assert told == sorted(told)
    assert told[-1] == one.source.bytes
    (tmp_path / "b" / "generation_config.json").write_text("{}")
    (other,) = candidates(tmp_path, "./b")
    assert weights_digest(one, hashes) != weights_digest(other, hashes)


def test_without_a_server_nothing_is_made(root: Path) -> None:
    (source,) = candidates(root, "./models/tiny-F16.gguf")
    assert taken_as_is(source) == source.source
    registry = RegistryModel(name="x:f16", digest="sha256:1", manifest=b"", blobs=())
    assert taken_as_is(replace(source, source=registry)) == registry
    folder = replace(source, source=LocalFolder(path=root, files=(), bytes=0))
    for one, words in (
        (replace(source, quantize="Q4_K_M"), "make Q4_K_M of it"),
        (folder, "convert safetensors"),
    ):
        with pytest.raises(UsageProblem) as caught:
            taken_as_is(one)
        assert caught.value.exit_code is ExitCode.USAGE
        (problem,) = caught.value.problems
        assert f"the embedded runtime cannot {words}" in problem.message
        assert "--runtime docker" in (problem.hint or "")
        assert "convert_hf_to_gguf.py" in (problem.hint or "")
