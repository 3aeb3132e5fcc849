"""A folder of safetensors as a candidate: which files count, what is refused, and what the plan is for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.bases import Candidate, LocalFolder
from modelforge.bases.folder import has_no_template
from modelforge.bases.local import local_candidates
from modelforge.errors import ExitCode, UsageProblem
from modelforge.filehash import Hashes
from modelforge.profile.schema import Base
from tests.folders import tiny_folder, write_json, write_safetensors

if TYPE_CHECKING:
    from collections.abc import Callable

TINY = Path(__file__).parents[1] / "examples" / "quickstart" / "models" / "forge-tiny-F16.gguf"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("original") / "hf", TINY)


@pytest.fixture
def root(tmp_path: Path, original: Path) -> Path:
    shutil.copytree(original, tmp_path / "models" / "tiny-hf")
    return tmp_path


def candidate(root: Path, model: str = "./models/tiny-hf", **keys: object) -> Candidate:
    base = Base.model_validate({"model": model, **keys})
    (found,) = local_candidates(base, root=root, hashes=Hashes(root / ".cache"))
    return found


def refused(root: Path, model: str = "./models/tiny-hf", **keys: object) -> str:
    with pytest.raises(UsageProblem) as caught:
        candidate(root, model, **keys)
    assert caught.value.exit_code is ExitCode.USAGE
    return " / ".join(f"{p.file or ''}|{p.message}|{p.hint or ''}" for p in caught.value.problems)


def test_a_folder_is_one_candidate(root: Path) -> None:
    found = candidate(root)
    path = root / "models" / "tiny-hf"
    assert (found.ref, found.size, found.quant) == ("./models/tiny-hf", "2.6m", "F16")
    assert found.source == LocalFolder(
        path=path, files=FILES, bytes=sum((path / name).stat().st_size for name in FILES)
    )
    assert (found.quantize, found.digest) == (None, None)
    assert found.shape.exact
    assert candidate(root, "models/tiny-hf").shape == found.shape


@pytest.mark.parametrize(
    ("quantize", "quant", "weights"),
    [("q8_0", "Q8_0", 2_794_496), ("q4_K_M", "Q4_K_M", 1_635_840), ("Q4_K", "Q4_K_M", 1_635_840)],
)
def test_a_quant_is_planned_for_what_is_made(root: Path, quantize: str, quant: str, weights: int) -> None:
    found = candidate(root, quantize=quantize)
    assert (found.quant, found.quantize, found.shape.weights.file) == (quant, quant, weights)
    assert found.shape.exact
    assert found.shape.parameters == candidate(root).shape.parameters


def test_shards_are_those_that_the_index_names(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m", TINY, shards=3)
    (folder / "model-00004-of-00004.safetensors").write_bytes(b"of another download")
    (folder / "training_args.json").write_text("{}")
    source = candidate(tmp_path, "./m").source
    assert isinstance(source, LocalFolder)
    assert [name for name in source.files if name.endswith(".safetensors")] == [
        f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)
    ]
    assert "training_args.json" not in source.files


def test_bf16_stays_what_it_is(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "m", TINY, kind="BF16")
    assert candidate(tmp_path, "./m").quant == "BF16"
    assert candidate(tmp_path, "./m", quantize="bf16").quantize is None
    assert "calls F16 and leaves as it is" in refused(tmp_path, "./m", quantize="f16")


def test_a_file_that_changes_is_read_again(root: Path) -> None:
    before = candidate(root)
    config = root / "models" / "tiny-hf" / "config.json"
    write_json(config, json.loads(config.read_text()) | {"max_position_embeddings": 77})
    assert (before.shape.training_context, candidate(root).shape.training_context) == (1024, 77)


def test_a_template_of_its_own_file_is_seen(root: Path) -> None:
    source = candidate(root).source
    assert isinstance(source, LocalFolder)
    assert not has_no_template(source)
    (source.path / "chat_template.jinja").write_text("{{ messages }}")
    assert not has_no_template(source)
    for content in ("{}", "[]", "{"):
        (source.path / "tokenizer_config.json").write_text(content)
        assert has_no_template(source)


def gone(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def config(**changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        write_json(path, json.loads(path.read_text()) | changes)

    return change


def index(value: object) -> Callable[[Path], object]:
    return lambda folder: write_json(folder / "model.safetensors.index.json", value)


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def torch(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def other_layers(folder: Path) -> None:
    write_safetensors(folder / "model.safetensors", {"model.embed_tokens.weight": ("F16", (8, 8))})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            gone("config.json"), "./models/tiny-hf|has no config.json|copy the whole folder", id="config"
        ),
        pytest.param(
            gone("tokenizer.json"), "has no tokenizer|copy the model's tokenizer.json", id="tokenizer"
        ),
        pytest.param(gone("model.safetensors"), "is a folder without a model|name a GGUF file", id="weights"),
        pytest.param(torch, "has pytorch_model.bin, a PyTorch file", id="torch"),
        pytest.param(truncated, "./models/tiny-hf/model.safetensors|cut: 1 B", id="truncated"),
        pytest.param(other_layers, "./models/tiny-hf|the model lacks layer 0 of 4", id="other layers"),
        pytest.param(
            config(architectures=["Qwen3ForCausalLM"]),
            "Qwen3ForCausalLM cannot be converted by Ollama and planned for here; can be: LlamaForCausalLM",
            id="architecture",
        ),
        pytest.param(config(hidden_size=None), "config.json has no 'hidden_size'", id="a key is missing"),
        pytest.param(
            lambda folder: (folder / "config.json").write_text("{"), "config.json|is no JSON", id="bad JSON"
        ),
        pytest.param(
            lambda folder: (folder / "config.json").write_text("[]"), "is no JSON object", id="a list"
        ),
        pytest.param(
            index({"weight_map": {"a": "model-00002.safetensors"}}),
            "model.safetensors.index.json|names model-00002.safetensors, which is not there|download the missing",
            id="index names a missing file",
        ),
        pytest.param(
            index({"weight_map": {"a": "../x.safetensors"}}),
            "'../x.safetensors', which is not in",
            id="index leaves",
        ),
        pytest.param(index({"weight_map": []}), "has no 'weight_map'", id="index without files"),
        pytest.param(index({"weight_map": {"a": 7}}), "has no 'weight_map'", id="index of numbers"),
        pytest.param(
            lambda folder: (folder / "adapter_config.json").write_text("{}"),
            "holds an adapter, not a model|convert it with llama.cpp's convert_lora_to_gguf.py",
            id="adapter",
        ),
    ],
)
def test_what_is_no_model_that_a_server_converts(
    root: Path, change: Callable[[Path], object], words: str
) -> None:
    change(root / "models" / "tiny-hf")
    assert words in refused(root)


def test_a_folder_of_gguf_files_is_told_apart(root: Path) -> None:
    (root / "models" / "x.gguf").write_bytes(b"")
    assert "is a folder, not a GGUF file|name the file, or ./models/*.gguf" in refused(root, "./models")


def test_nothing_may_leave_the_project(root: Path, original: Path) -> None:
    outside = original
    assert "outside of the project" in refused(root, f"../{outside.name}")
    (root / "linked").symlink_to(outside)
    assert "./linked is a link to" in refused(root, "./linked")
    file = root / "models" / "tiny-hf" / "model.safetensors"
    file.unlink()
    file.symlink_to(outside / "model.safetensors")
    assert "./models/tiny-hf/model.safetensors is a link to" in refused(root)


def test_a_link_inside_the_project_is_fine(root: Path) -> None:
    file = root / "models" / "tiny-hf" / "model.safetensors"
    file.rename(root / "blob")
    file.symlink_to(root / "blob")
    assert candidate(root).quant == "F16"


def test_a_target_that_a_server_does_not_make(root: Path) -> None:
    text = refused(root, quantize="q5_K_M")
    assert "Ollama makes no q5_K_M; it makes Q8_0, Q4_K_M, Q4_K_S, BF16, F16" in text
