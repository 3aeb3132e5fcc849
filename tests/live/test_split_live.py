"""Models in several files, and models whose image encoder is a file of its own, by the real command line."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import struct
import subprocess  # noqa: TID251 (llama.cpp's own tool splits and merges here)
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.bases import LocalFile
from modelforge.events import silent
from modelforge.gguf import read_header
from modelforge.shape import shape_of
from modelforge.split import join
from tests.embedders import WIDTH, tiny_bert
from tests.fakes import some_candidate, some_rendered
from tests.live.conftest import MODELS
from tests.live.containers import docker_quickstart, ours, own_ollama
from tests.live.forge import Forge, quickstart
from tests.live.hubs import REPOSITORY, Hub
from tests.live.servers import NEW, PARTS, Server
from tests.projectors import projector_file
from tests.splits import split_gguf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.runtimes.ollama import OllamaRuntime
    from tests.live.engines import Engine

SPLITTER = PARTS / f"ollama-{NEW}" / "lib" / "ollama" / "llama-gguf-split"
WHOLE = MODELS / "forge-tiny-Q8_0.gguf"
FULL = MODELS / "forge-tiny-F16.gguf"
PROFILE = """\
system = "Use type hints and docstrings."
[base]
{keys}
[parameters]
num_ctx = 1024
num_thread = 1
[[smoke]]
name = "answers"
prompt = "Write a function that adds two numbers."
expect = {{ contains = "def" }}
"""


EMBEDDER = """\
[base]
model = "./models/encoder-F32.gguf"
[parameters]
num_ctx = 64
[[smoke]]
name = "the same is nearer"
prompt = "password"
expect = { dimensions = DIMENSIONS, closer_to = "password", than = "lisbon weather" }
""".replace("DIMENSIONS", str(WIDTH))


def splitter(*words: str) -> None:
    if not SPLITTER.exists():
        pytest.skip(f"no {SPLITTER}; .ci/parts builds it")
    subprocess.run([SPLITTER, *words], check=True, capture_output=True, timeout=60)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write(forge: Forge, **keys: str) -> None:
    text = "\n".join(f'{key} = "{value}"' for key, value in keys.items())
    forge.profile("coder", PROFILE.format(keys=text))


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return quickstart(tmp_path / "forge")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A model in three parts in a folder of its quant, and two encoders."""
    parts = split_gguf(WHOLE, tmp_path / "hub" / "tiny-q8_0", [10, 20])
    files = {f"Q8_0/{part.name}": part.read_bytes() for part in parts}
    encoder = projector_file(tmp_path / "hub" / "mmproj.gguf").read_bytes()
    made = Hub(files={**files, "mmproj-tiny-F16.gguf": encoder, "mmproj-tiny-F32.gguf": bytes(10)})
    made.start()
    yield made
    made.stop()


def built(forge: Forge, server: Server | None, *words: str) -> dict[str, Any]:
    where = ("--runtime", "embedded") if server is None else ("--runtime", "ollama", "--host", server.host)
    done = forge.run("build", "coder", *where, *words, "--json")
    assert done.code == 0, done.err
    (variant,) = json.loads(done.out)["variants"]
    found: dict[str, Any] = variant
    return found


def shown(server: Server, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.call("POST", "/api/show", {"model": name})[1])
    return found


def weights(folder: Path, name: str) -> list[str]:
    """The digests of a store's model and projector blobs."""
    manifest = folder / "manifests" / "registry.ollama.ai" / "library" / name / "latest"
    layers = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
    kinds = ("application/vnd.ollama.image.model", "application/vnd.ollama.image.projector")
    return [layer["digest"].partition(":")[2] for layer in layers if layer["mediaType"] in kinds]


# Parts


@pytest.mark.parametrize(
    "words", [("--split-max-tensors", "8"), ("--split-max-tensors", "11", "--no-tensor-first-split")]
)
def test_what_llama_cpp_splits_becomes_the_file_that_it_was(tmp_path: Path, words: tuple[str, ...]) -> None:
    splitter("--split", *words, str(WHOLE), str(tmp_path / "tiny"))
    parts = sorted(tmp_path.glob("tiny-*.gguf"))
    assert len(parts) > 3
    said = join(parts, tmp_path / "whole.gguf", lambda _done, _whole: None)
    assert said == f"sha256:{digest(WHOLE)}" == f"sha256:{digest(tmp_path / 'whole.gguf')}"


def test_llama_cpp_takes_what_the_tests_split(tmp_path: Path) -> None:
    first, *_ = split_gguf(WHOLE, tmp_path / "tiny", [7, 30])
    splitter("--merge", str(first), str(tmp_path / "merged.gguf"))
    assert (tmp_path / "merged.gguf").stat().st_size > WHOLE.stat().st_size


def test_parts_are_built_embedded_as_the_whole_file_would_be(forge: Forge) -> None:
    split_gguf(WHOLE, forge.project / "models" / "parts", [1, 17])
    write(forge, model="./models/parts-*.gguf")
    first = built(forge, None)
    assert (first["status"], first["picked"]["ref"]) == ("built", "./models/parts-00001-of-00003.gguf")
    assert weights(forge.store, "coder") == [digest(WHOLE)]
    assert built(forge, None)["status"] == "unchanged"
    shutil.rmtree(
        forge.folder / "cache"
    )  # what the parts become is not known any more, so they are joined again
    assert built(forge, None)["status"] == "built"
    assert weights(forge.store, "coder") == [digest(WHOLE)]


def test_parts_are_built_on_a_server_which_gets_one_file(forge: Forge, server: Server) -> None:
    split_gguf(WHOLE, forge.project / "models" / "parts", [1, 17])
    write(forge, model="./models/parts-00001-of-00003.gguf")
    assert built(forge, server)["status"] == "built"
    assert (server.models / "blobs" / f"sha256-{digest(WHOLE)}").exists() or server.version == NEW
    assert shown(server, "coder")["details"]["quantization_level"] == "Q8_0"
    (joined,) = (forge.folder / "cache" / "downloads").glob("*.gguf")
    joined.unlink()
    assert built(forge, server)["status"] == "unchanged"
    assert built(forge, server, "--name", "other")["status"] == "built"
    assert not joined.exists()


def test_a_quant_is_made_of_parts(forge: Forge, server: Server) -> None:
    split_gguf(FULL, forge.project / "models" / "full", [12])
    write(forge, model="./models/full-*.gguf", quantize="q8_0")
    assert built(forge, server)["picked"]["quant"] == "Q8_0"
    assert shown(server, "coder")["details"]["quantization_level"] == "Q8_0"


def test_a_part_that_is_missing_is_named(forge: Forge) -> None:
    parts = split_gguf(WHOLE, forge.project / "models" / "parts", [1, 17])
    parts[1].unlink()
    write(forge, model="./models/parts-*.gguf")
    done = forge.run("resolve", "coder", "--runtime", "embedded")
    assert done.code == 2
    assert "./models/parts-00002-of-00003.gguf: is missing: the model is split in 3" in done.err


# Encoders


def png() -> str:
    """A red square of 32 by 32, in base64."""
    rows = b"".join(b"\0" + bytes((200, 30, 30)) * 32 for _ in range(32))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def looks_at_a_picture(server: Server, name: str) -> None:
    """The server takes an image for the model, which it refuses where there is no encoder."""
    question = {"role": "user", "content": "Write a function that adds two numbers.", "images": [png()]}
    body = {
        "model": name,
        "messages": [question],
        "stream": False,
        "options": {"num_predict": 8, "num_thread": 1},
    }
    status, text = server.call("POST", "/api/chat", body)
    assert status == 200, text
    plain = {"role": "user", "content": question["content"]}
    status, without = server.call("POST", "/api/chat", {**body, "messages": [plain]})
    assert status == 200, without
    assert json.loads(text)["prompt_eval_count"] > json.loads(without)["prompt_eval_count"]


@pytest.mark.parametrize("quantize", [None, "q4_K_M"])
def test_an_encoder_is_built_in_on_a_server(forge: Forge, server: Server, quantize: str | None) -> None:
    projector_file(forge.project / "models" / "mmproj-F16.gguf")
    keys = {"model": "./models/forge-tiny-F16.gguf", "projector": "./models/mmproj-F16.gguf"}
    write(forge, **keys, **({"quantize": quantize} if quantize else {}))
    variant = built(forge, server)
    assert variant["picked"]["bytes"]["projector"] > 0
    assert "vision" in shown(server, "coder")["capabilities"]
    assert shown(server, "coder")["details"]["quantization_level"] == variant["picked"]["quant"]
    looks_at_a_picture(server, "coder")
    assert built(forge, server)["status"] == "unchanged"
    write(forge, model="./models/forge-tiny-F16.gguf", **({"quantize": quantize} if quantize else {}))
    assert built(forge, server)["status"] == "built"
    assert "vision" not in shown(server, "coder")["capabilities"]


@pytest.mark.parametrize("quantize", [None, "Q8_0"])
def test_a_server_never_takes_the_model_for_an_encoder(
    ollama: OllamaRuntime, server: Server, tmp_path: Path, quantize: str | None
) -> None:
    """An old server takes files in an order of its own, another one each time."""
    base = some_candidate(
        source=LocalFile(path=FULL, bytes=FULL.stat().st_size), shape=shape_of(read_header(FULL))
    )
    for number in range(6):
        encoder = projector_file(tmp_path / f"mmproj-{number}.gguf")
        both = replace(
            base, quantize=quantize, projector=LocalFile(path=encoder, bytes=encoder.stat().st_size)
        )
        ollama.create(some_rendered(both), f"see{number}", silent)
        details = shown(server, f"see{number}")["details"]
        assert (details["family"], details["families"][0]) == ("llama", "llama")
        assert details["quantization_level"] == (quantize or "F16")
        assert "vision" in shown(server, f"see{number}")["capabilities"]


def test_an_encoder_is_built_in_embedded_and_a_server_on_the_store_uses_it(
    forge: Forge, server: Server
) -> None:
    encoder = projector_file(forge.project / "models" / "mmproj-F16.gguf")
    write(forge, model="./models/forge-tiny-Q8_0.gguf", projector="./models/mmproj-F16.gguf")
    forge.environment["MODELFORGE_STORE"] = str(server.models)
    assert built(forge, None)["status"] == "built"
    assert weights(server.models, "coder") == [digest(WHOLE), digest(encoder)]
    assert built(forge, None)["status"] == "unchanged"
    assert "vision" in shown(server, "coder")["capabilities"]
    looks_at_a_picture(server, "coder")


# Both, from the Hub


def test_parts_and_an_encoder_of_the_hub(forge: Forge, hub: Hub, server: Server) -> None:
    forge.environment["HF_ENDPOINT"] = hub.url()
    write(forge, model=f"hf.co/{REPOSITORY}")
    would = forge.run("build", "coder", "--runtime", "ollama", "--host", server.host, "--dry-run", "--json")
    assert would.code == 0, would.err
    (change,) = json.loads(would.out)["variants"]
    encoder = len(hub.files["mmproj-tiny-F16.gguf"])
    parts = sum(len(data) for path, data in hub.files.items() if path.startswith("Q8_0/"))
    assert change["fetches"] == parts + encoder
    variant = built(forge, server)
    assert variant["picked"]["ref"] == f"hf.co/{REPOSITORY}:Q8_0"
    assert variant["picked"]["bytes"]["projector"] > 0
    looks_at_a_picture(server, "coder")
    left = sorted(
        file.name.partition("-")[2] for file in (forge.folder / "cache" / "downloads").glob("*.gguf")
    )
    assert left == ["mmproj-tiny-F16.gguf", "tiny-q8_0.gguf"]
    for file in (forge.folder / "cache" / "downloads").glob("*.gguf"):
        file.unlink()
    hub.sent = 0
    assert built(forge, server)["status"] == "unchanged"
    assert hub.sent == 0
    assert built(forge, None)["status"] == "built"
    assert weights(forge.store, "coder") == [
        digest(WHOLE),
        hashlib.sha256(hub.files["mmproj-tiny-F16.gguf"]).hexdigest(),
    ]
    sent = hub.sent
    assert built(forge, None)["status"] == "unchanged"
    assert hub.sent == sent


def test_parts_and_an_encoder_of_the_hub_go_into_a_container(
    engine: Engine, image: str, hub: Hub, tmp_path: Path
) -> None:
    forge = docker_quickstart(tmp_path / "forge", engine, image)
    forge.environment["HF_ENDPOINT"] = hub.url()
    write(forge, model=f"hf.co/{REPOSITORY}")
    for status in ("built", "unchanged"):
        done = forge.run("build", "coder", "--json")
        assert done.code == 0, done.err
        (variant,) = done.document["variants"]
        assert variant["status"] == status
    with own_ollama(engine, image) as own:
        assert "vision" in own.show("coder")["capabilities"]
    assert ours(engine) == []


def test_embeddings_are_tested_in_a_container(engine: Engine, image: str, tmp_path: Path) -> None:
    forge = docker_quickstart(tmp_path / "forge", engine, image)
    tiny_bert(forge.project / "models" / "encoder-F32.gguf")
    forge.profile("vectors", EMBEDDER)
    done = forge.run("build", "vectors", "--json")
    assert done.code == 0, done.err
    (variant,) = done.document["variants"]
    assert [check["verdict"] for check in variant["smoke"]["results"][0]["checks"]] == ["passed", "passed"]
