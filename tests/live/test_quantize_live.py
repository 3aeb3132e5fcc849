"""Real servers convert safetensors and make quants: what comes out is what was planned, and answers as it should."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.bases.local import local_candidates
from modelforge.bases.served import served_candidates
from modelforge.events import Step
from modelforge.filehash import Hashes
from modelforge.gguf import LongArray, read_header
from modelforge.profile.schema import Base
from modelforge.requantize import data_bytes, older_differs, requantized
from modelforge.runtimes import WEIGHTS
from modelforge.shape import shape_of
from tests import shapes
from tests.fakes import Heard, some_rendered
from tests.folders import tiny_folder, write_json
from tests.ggufs import write_gguf
from tests.live.conftest import MODELS
from tests.live.forge import Forge, quickstart
from tests.live.servers import OLD

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.runtimes.ollama import OllamaRuntime
    from tests.live.servers import Server
    from tests.shapes import Line, Model

FULL = "forge-tiny-F16.gguf"
_FROM = re.compile(r"^FROM .*blobs[/\\](sha256-[0-9a-f]{64})$", re.MULTILINE)


@pytest.fixture
def runtime(ollama: OllamaRuntime) -> OllamaRuntime:
    return ollama


@pytest.fixture
def forge(server: Server, tmp_path: Path) -> Forge:
    """The quickstart, with the model as a folder of safetensors beside its files."""
    made = quickstart(tmp_path / "forge", OLLAMA_HOST=server.host)
    tiny_folder(made.project / "models" / "tiny-hf", MODELS / FULL)
    tiny_folder(made.project / "models" / "tiny-bf16", MODELS / FULL, kind="BF16", shards=3)
    return made


def profile(forge: Forge, name: str, **base: str) -> None:
    """The quickstart's own profile with another base and its first two tests; one thread, for crowded machines."""
    text = (forge.project / "profiles" / "coding-assistant.toml").read_text(encoding="utf-8")
    head, *tests = text.split("[[smoke]]")
    keys = "\n".join(f'{key} = "{value}"' for key, value in base.items())
    head = re.sub(r"\[base\].*?\n\n", f"[base]\n{keys}\n\n", head, flags=re.DOTALL)
    head = head.replace("[parameters]", "[parameters]\nnum_thread = 1")
    forge.profile(name, "[[smoke]]".join((head, *tests[:2])))


def built(forge: Forge, name: str) -> dict[str, Any]:
    done = forge.run("build", name, "-H", "toolbox", "--runtime", "ollama", "--json", seconds=300)
    assert done.code == 0, done.err
    (variant,) = json.loads(done.out)["variants"]
    found: dict[str, Any] = variant
    return found


def imports(server: Server) -> list[str]:
    listed = json.loads(server.call("GET", "/api/tags")[1])["models"] or []
    return sorted(model["name"] for model in listed if model["name"].startswith(WEIGHTS))


def shown(server: Server, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.call("POST", "/api/show", {"model": name})[1])
    return found


def blob_of(server: Server, name: str) -> Path:
    match = _FROM.search(shown(server, name)["modelfile"])
    assert match is not None
    return server.models / "blobs" / match[1]


@pytest.mark.parametrize(
    ("model", "quantize", "quant"),
    [
        pytest.param("./models/tiny-hf", "q4_K_M", "Q4_K_M", id="folder as Q4_K_M"),
        pytest.param("./models/tiny-hf", "Q8_0", "Q8_0", id="folder as Q8_0"),
        pytest.param("./models/tiny-hf", None, "F16", id="folder as it is"),
        pytest.param("./models/tiny-bf16", "q4_k_s", "Q4_K_S", id="shards in BF16 as Q4_K_S"),
        pytest.param(f"./models/{FULL}", "Q4_K_M", "Q4_K_M", id="file as Q4_K_M"),
    ],
)
def test_what_is_made_answers_and_is_as_large_as_planned(
    model: str, quantize: str | None, quant: str, forge: Forge, server: Server
) -> None:
    profile(forge, "made", model=model, **({"quantize": quantize} if quantize else {}))
    first = built(forge, "made")
    assert (first["status"], first["picked"]["quant"], first["picked"]["ref"]) == ("built", quant, model)
    assert (first["smoke"]["passed"], first["smoke"]["failed"]) == (2, 0)
    assert shown(server, first["name"])["details"]["quantization_level"] == quant
    header = read_header(blob_of(server, first["name"]))
    (planned,) = local_candidates(
        Base.model_validate({"model": model, "quantize": quantize}),
        root=forge.project,
        hashes=Hashes(forge.folder),
    )
    assert planned.shape.weights == shape_of(header).weights
    assert planned.shape.layers == shape_of(header).layers
    assert planned.shape.exact
    assert first["picked"]["bytes"]["weights"] == pytest.approx(data_bytes(header.tensors), rel=0.01)
    (name,) = imports(server)
    modified = shown(server, name)["modified_at"]
    assert built(forge, "made")["status"] == "unchanged"
    assert imports(server) == [name]
    assert shown(server, name)["modified_at"] == modified


def test_two_quants_of_one_file_do_not_meet_and_a_variant_makes_nothing_anew(
    forge: Forge, server: Server
) -> None:
    profile(forge, "small", model=f"./models/{FULL}", quantize="Q4_K_M")
    profile(forge, "large", model=f"./models/{FULL}", quantize="Q8_0")
    assert [built(forge, name)["picked"]["quant"] for name in ("small", "large")] == ["Q4_K_M", "Q8_0"]
    assert len(imports(server)) == 2
    forge.edit("profiles/small.toml", "Use type hints and docstrings.", "Use type hints, and docstrings.")
    done = forge.run("build", "small", "-H", "toolbox", "--runtime", "ollama", "--no-smoke", seconds=300)
    assert done.code == 0, done.err
    assert "makes Q4_K_M" not in done.err
    assert len(imports(server)) == 2


def test_the_size_of_the_file_is_foreseen(runtime: OllamaRuntime, server: Server, tmp_path: Path) -> None:
    (tmp_path / FULL).write_bytes((MODELS / FULL).read_bytes())
    for quant in ("Q8_0", "Q4_K_M", "Q4_K_S"):
        (base,) = local_candidates(
            Base.model_validate({"model": f"./{FULL}", "quantize": quant}),
            root=tmp_path,
            hashes=Hashes(tmp_path),
        )
        runtime.create(some_rendered(base), f"made-{quant.lower()}", Heard())
        real = blob_of(server, f"made-{quant.lower()}").stat().st_size
        assert requantized(read_header(MODELS / FULL), quant).file_bytes == pytest.approx(real, abs=256)


def test_a_model_of_the_server_is_quantized_by_its_name(
    runtime: OllamaRuntime, server: Server, tmp_path: Path
) -> None:
    (tmp_path / FULL).write_bytes((MODELS / FULL).read_bytes())
    (full,) = local_candidates(Base(model=f"./{FULL}"), root=tmp_path, hashes=Hashes(tmp_path))
    runtime.create(some_rendered(full, system="Be brief."), "full", Heard())
    (base,) = served_candidates(Base(model="full", quantize="Q8_0"), runtime.served("full"))
    standing = runtime.create(some_rendered(base), "made", Heard())
    assert standing.system == "Be brief."
    assert shown(server, "made")["details"]["quantization_level"] == "Q8_0"
    assert runtime.expected(some_rendered(base)) is not None


def _phi_block(_block: int) -> list[Line]:
    one = 256
    return [
        ("attn_norm", (one,)),
        ("attn_qkv", (one, 2 * one)),
        ("attn_output", (one, one)),
        ("ffn_norm", (one,)),
        ("ffn_up", (one, 4 * one)),
        ("ffn_down", (2 * one, one)),
    ]


SMALL: dict[str, Any] = {"embedding": 256, "heads": 4, "kv_heads": 2, "feed_forward": 512, "vocabulary": 512}
LLAMA = replace(shapes.LLAMA_8B, **SMALL, layers=19, head=64, context=512, keys={"rope.dimension_count": 64})
KINDS = {
    "llama": LLAMA,
    "llama, 80 layers": replace(LLAMA, layers=80),
    "llama, tied": replace(LLAMA, tied=True, layers=8),
    "llama, rows of 96": replace(
        LLAMA,
        embedding=96,
        heads=3,
        kv_heads=3,
        head=32,
        feed_forward=224,
        layers=9,
        keys={"rope.dimension_count": 32},
    ),
    "llama, 8 experts": replace(
        LLAMA, experts=8, expert_width=256, keys={**LLAMA.keys, "expert_used_count": 2}, layers=9
    ),
    "qwen2": replace(shapes.QWEN25_7B, **SMALL, layers=13),
    "gemma2": replace(shapes.GEMMA2_9B, **SMALL, layers=10, head=64),
    "gemma3": replace(shapes.GEMMA3_12B, **SMALL, layers=11, head=64),
    "qwen3moe": replace(shapes.QWEN3_30B_A3B, **SMALL, layers=10, head=64, experts=16, expert_width=256),
    "phi3": replace(
        LLAMA,
        architecture="phi3",
        per_block=_phi_block,
        keys={"rope.dimension_count": 64},
        layers=9,
        kv_heads=4,
    ),
}


def full_precision(folder: Path, model: Model, name: str) -> Path:
    """A file without weights and vocabulary, which a server can quantize all the same."""
    header = model.header("F16")
    metadata = {key: value for key, value in header.metadata.items() if not isinstance(value, LongArray)}
    path = folder / f"{name}.gguf"
    write_gguf(
        path,
        {**metadata, "general.file_type": 1, "general.type": "model"},
        [(one.name, one.dims, one.type) for one in header.tensors],
    )
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_gets_the_type_that_is_planned(
    kind: str, runtime: OllamaRuntime, server: Server, tmp_path: Path
) -> None:
    path = full_precision(tmp_path, KINDS[kind], "full")
    header = read_header(path)
    for quant in ("Q8_0", "Q4_K_M", "Q4_K_S"):
        (base,) = local_candidates(
            Base.model_validate({"model": "./full.gguf", "quantize": quant}),
            root=tmp_path,
            hashes=Hashes(tmp_path),
        )
        if server.version == OLD and older_differs(header, quant):
            assert not base.shape.exact
            continue
        heard = Heard()
        runtime.create(some_rendered(base), "made", heard)
        made = {line["name"]: line["type"] for line in shown(server, "made")["tensors"]}
        assert made == {one.name: one.type for one in requantized(header, quant).tensors}, quant
        assert not [event for event in heard.events if isinstance(event, Step) and event.kind == "warning"]


def test_what_is_refused_here_the_servers_converter_refuses_too(server: Server, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "hf", MODELS / FULL)
    for named in ("MistralForCausalLM", "Qwen3ForCausalLM"):
        config = json.loads((folder / "config.json").read_text()) | {"architectures": [named]}
        write_json(folder / "config.json", config)
        files = {path.name: server.send(path.read_bytes()) for path in folder.iterdir()}
        _status, text = server.call("POST", "/api/create", {"model": "x", "files": files, "stream": True})
        assert f'unsupported architecture \\"{named}\\"' in text
