"""A model whose image encoder is a file of its own: what the runtimes tell of it, and that a plan counts it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelforge.bases.served import served_candidates
from modelforge.filehash import Hashes
from modelforge.memory import footprint
from modelforge.profile.schema import Base
from modelforge.runtimes.embedded import open_store
from tests.ggufs import write_gguf
from tests.plans import gpu, settings

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.bases import Candidate
    from modelforge.runtimes import Runtime
    from modelforge.runtimes.ollama import OllamaRuntime
    from tests.live.servers import Server

VISION = {
    "image_size": 32,
    "patch_size": 16,
    "embedding_length": 64,
    "block_count": 1,
    "attention.head_count": 2,
    "feed_forward_length": 64,
    "projection_dim": 256,
}
HEADER = 256 << 10
"""Bytes of a small model's own header, which a server's list counts and does not tell apart."""


@pytest.fixture
def projector(tmp_path: Path) -> Path:
    metadata = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        **{f"clip.vision.{key}": value for key, value in VISION.items()},
    }
    tensors = [("v.patch_embd.weight", (16, 16, 3, 64), "F16"), ("mm.0.weight", (64, 256), "F16")]
    file = tmp_path / "mmproj.gguf"
    write_gguf(file, metadata, tensors)
    return file


def only(runtime: Runtime) -> Candidate:
    (candidate,) = served_candidates(Base(model="seeing"), runtime.served("seeing"))
    return candidate


def test_a_projector_is_told_and_planned_for(
    server: Server, ollama: OllamaRuntime, tiny: Path, projector: Path, tmp_path: Path
) -> None:
    files = {file.name: server.send(file.read_bytes()) for file in (tiny, projector)}
    status, text = server.call("POST", "/api/create", {"model": "seeing", "files": files, "stream": False})
    assert status == 200, text
    size = projector.stat().st_size
    over_api = only(ollama)
    in_store = only(
        open_store(
            server.models,
            link=False,
            hashes=Hashes(tmp_path / "hashes"),
            lock=nullcontext,
            python="",
            environment={},
            scratch=tmp_path / "scratch",
        )
    )
    assert in_store.projector_bytes == size
    assert size <= over_api.projector_bytes <= size + HEADER
    seeing, blind = (
        footprint(one.shape, settings(512), gpu(8), projector=one.projector_bytes)
        for one in (in_store, replace(in_store, projector_bytes=0))
    )
    assert seeing.needs - blind.needs == 2 * size
    assert "the memory for reading images is estimated" in seeing.because
