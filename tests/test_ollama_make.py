"""Weights that a server makes: what it is asked, what is told meanwhile, and what is said if it does otherwise."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2  # noqa: TID251 (the fake behind the door)
import pytest

from modelforge.bases import Candidate, LocalFile, LocalFolder, ServedModel
from modelforge.bases.local import local_candidates
from modelforge.bases.quantized import weights_digest
from modelforge.errors import BuildFailed
from modelforge.events import Progress, Step
from modelforge.filehash import Hashes
from modelforge.gguf import read_header
from modelforge.http import HttpClient
from modelforge.profile.schema import Base
from modelforge.project_settings import Timeouts
from modelforge.requantize import requantized
from modelforge.runtimes import RuntimeInfo, ollama_make
from modelforge.runtimes.ollama import OllamaRuntime
from modelforge.runtimes.ollama_api import OllamaApi
from modelforge.runtimes.ollama_cli import local_command
from modelforge.runtimes.ollama_host import parse_host
from modelforge.runtimes.ollama_weights import Room, import_name
from tests.fakes import Heard, some_rendered
from tests.folders import tiny_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelforge.gguf import Header

TINY = Path(__file__).parents[1] / "examples" / "quickstart" / "models" / "forge-tiny-F16.gguf"
HOST = parse_host("gpu-box", "--host")
MADE = "ab" * 32


class Fake:
    """A server that makes what it is told to: `level` of it, with the tensors of `header`."""

    def __init__(self, header: Header, level: str = "Q4_K_M", says: tuple[dict[str, Any], ...] = ()) -> None:
        self.header, self.level, self.says = header, level, says
        self.blobs: set[str] = set()
        self.models: dict[str, str] = {}
        self.created: list[dict[str, Any]] = []
        self.deleted: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path, body = request.url.path, request.read()
        if path.startswith("/api/blobs/"):
            return self.blob(request.method, path.rpartition("/")[2])
        if path == "/api/tags":
            names = [name if ":" in name else f"{name}:latest" for name in self.models]
            listed = [{"name": name, "digest": MADE, "size": 1, "modified_at": ""} for name in names]
            return httpx2.Response(200, json={"models": listed})
        asked = json.loads(body)
        if path == "/api/create":
            return self.create(asked)
        if path == "/api/delete":
            self.deleted.append(asked["model"])
            return httpx2.Response(200)
        known = asked["model"] in self.models
        return httpx2.Response(200 if known else 404, json=self.shown() if known else {"error": "not found"})

    def blob(self, method: str, digest: str) -> httpx2.Response:
        if method == "POST":
            self.blobs.add(digest)
            return httpx2.Response(201)
        known = digest in self.blobs or digest == f"sha256:{MADE}"
        return httpx2.Response(200 if known else 404)

    def create(self, asked: dict[str, Any]) -> httpx2.Response:
        self.created.append(asked)
        self.models[asked["model"]] = ""
        lines = (*self.says, {"status": "success"})
        return httpx2.Response(200, content="".join(json.dumps(one) + "\n" for one in lines))

    def shown(self) -> dict[str, Any]:
        return {
            "modelfile": f"# x\n\nFROM /m/blobs/sha256-{MADE}\nTEMPLATE {{{{ .Prompt }}}}\n",
            "template": "{{ .Prompt }}",
            "details": {"quantization_level": self.level},
            "model_info": {
                key: value
                for key, value in self.header.metadata.items()
                if isinstance(value, int | float | str)
            },
            "tensors": [
                {"name": one.name, "type": one.type, "shape": list(one.dims)} for one in self.header.tensors
            ],
        }


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., OllamaRuntime]:
    def start_it(fake: Fake, *, version: str = "0.32.15", room: Room | None = None) -> OllamaRuntime:
        timeouts = Timeouts()
        http = HttpClient(HOST.url, timeouts=timeouts, direct=True, transport=httpx2.MockTransport(fake))
        return OllamaRuntime(
            info=RuntimeInfo(kind="ollama", version=version, endpoint="gpu-box"),
            api=OllamaApi(http, timeouts),
            via="api",
            lock=nullcontext,
            hashes=Hashes(tmp_path / "hashes"),
            command=local_command(HOST, environment={}, seconds=1),
            room=lambda: room,
        )

    return start_it


def of_file(root: Path, quantize: str | None = "Q4_K_M") -> Candidate:
    (root / "tiny.gguf").write_bytes(TINY.read_bytes())
    base = Base.model_validate({"model": "./tiny.gguf", "quantize": quantize})
    (found,) = local_candidates(base, root=root, hashes=Hashes(root / "hashes"))
    return found


def of_folder(root: Path, quantize: str | None = None) -> Candidate:
    tiny_folder(root / "hf", TINY)
    base = Base.model_validate({"model": "./hf", "quantize": quantize})
    (found,) = local_candidates(base, root=root, hashes=Hashes(root / "hashes"))
    return found


def made(quant: str = "Q4_K_M") -> Header:
    return requantized(read_header(TINY), quant)


def test_a_file_is_sent_once_and_the_quant_asked_for_by_name(
    start: Callable[..., OllamaRuntime], tmp_path: Path
) -> None:
    base, fake, heard = of_file(tmp_path), Fake(made()), Heard()
    runtime = start(fake)
    assert runtime.expected(some_rendered(base)) is None
    runtime.create(some_rendered(base), "made", heard)
    name = import_name(weights_digest(base, Hashes(tmp_path / "x")))
    (sent,) = fake.blobs
    assert fake.created[0] == {
        "model": name,
        "files": {"1-weights.gguf": sent},
        "quantize": "Q4_K_M",
        "stream": True,
    }
    assert fake.created[1]["from"] == name
    assert "./tiny.gguf: the server makes Q4_K_M of it" in heard.texts
    assert not [event for event in heard.events if isinstance(event, Step) and event.kind == "warning"]
    runtime.create(some_rendered(base), "other", Heard())
    assert [body["model"] for body in fake.created] == [name, "made", "other"]
    assert runtime.expected(some_rendered(base)) is not None


def test_a_folder_goes_file_by_file_under_the_names_that_it_has(
    start: Callable[..., OllamaRuntime], tmp_path: Path
) -> None:
    base, fake, heard = of_folder(tmp_path), Fake(read_header(TINY), "F16"), Heard()
    start(fake).create(some_rendered(base), "made", heard)
    body = fake.created[0]
    assert body["files"].keys() == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert set(body["files"].values()) == fake.blobs
    assert "quantize" not in body
    assert "./hf: the server converts it" in heard.texts


def test_a_model_of_the_server_is_made_from_by_its_own_spelling(
    start: Callable[..., OllamaRuntime], tmp_path: Path
) -> None:
    fake = Fake(made())
    fake.models["Base:f16"] = ""
    source = ServedModel(name="base:F16", digest="sha256:1")
    base = replace(of_file(tmp_path), ref="base:f16", source=source)
    start(fake).create(some_rendered(base), "made", Heard())
    assert (fake.created[0]["from"], fake.created[0]["quantize"]) == ("Base:f16", "Q4_K_M")
    assert "files" not in fake.created[0]
    with pytest.raises(BuildFailed, match="is not on gpu-box"):
        start(Fake(made())).create(some_rendered(base), "made", Heard())


def test_thousands_of_lines_are_told_in_a_few(start: Callable[..., OllamaRuntime], tmp_path: Path) -> None:
    line = {"status": "quantizing F16 model to Q4_K_M", "digest": "0", "total": 4500}
    says = tuple({**line, "completed": done} for done in range(1, 4501))
    heard = Heard()
    start(Fake(made(), says=({"status": "parsing GGUF"}, *says))).create(
        some_rendered(of_file(tmp_path)), "made", heard
    )
    told = [event for event in heard.events if isinstance(event, Progress) and event.total == 4500]
    assert 1 < len(told) < 50
    assert told[-1].done == 4500


def test_another_quant_than_asked_for_is_a_failed_build(
    start: Callable[..., OllamaRuntime], tmp_path: Path
) -> None:
    base, fake = of_file(tmp_path), Fake(made(), level="F16")
    with pytest.raises(BuildFailed) as caught:
        start(fake).create(some_rendered(base), "made", Heard())
    assert caught.value.exit_code == 7
    assert "was asked for Q4_K_M of ./tiny.gguf, but says that it made F16" in str(caught.value)
    assert fake.deleted == [fake.created[0]["model"]]
    assert len(fake.created) == 1


@pytest.mark.parametrize(("quant", "warned"), [("Q4_K_M", False), ("Q4_K_S", True)])
def test_weights_that_are_off_the_plan_are_said(
    quant: str,
    warned: bool,  # noqa: FBT001
    start: Callable[..., OllamaRuntime],
    tmp_path: Path,
) -> None:
    heard = Heard()
    start(Fake(made(quant))).create(some_rendered(of_file(tmp_path)), "made", heard)
    warnings = [event.text for event in heard.events if isinstance(event, Step) and event.kind == "warning"]
    assert [("the plan counted on 1.6 MiB" in text) for text in warnings] == ([True] if warned else [])


def test_what_cannot_be_read_back_is_not_compared(
    start: Callable[..., OllamaRuntime], tmp_path: Path
) -> None:
    heard = Heard()
    bare = replace(made(), metadata={})
    start(Fake(bare)).create(some_rendered(of_file(tmp_path)), "made", heard)
    assert not [event for event in heard.events if isinstance(event, Step) and event.kind == "warning"]


def test_a_template_that_the_converter_does_not_read_is_said(
    start: Callable[..., OllamaRuntime], tmp_path: Path
) -> None:
    base, heard = of_folder(tmp_path), Heard()
    (tmp_path / "hf" / "chat_template.jinja").write_text("x")
    (tmp_path / "hf" / "tokenizer_config.json").write_text("{}")
    start(Fake(read_header(TINY), "F16")).create(some_rendered(base), "made", heard)
    assert any("does not read chat_template.jinja; set chat_template_file" in text for text in heard.texts)


@pytest.mark.parametrize(
    ("folder", "quantize", "version"),
    [
        pytest.param(False, "Q4_K_M", "0.32.15", id="quantized file"),
        pytest.param(True, None, "0.24.0", id="folder, old"),
        pytest.param(True, None, "0.32.15", id="folder, new"),
        pytest.param(True, "Q4_K_M", "0.32.15", id="quantized folder"),
    ],
)
def test_the_disk_has_to_hold_source_and_result(
    folder: bool,  # noqa: FBT001
    quantize: str | None,
    version: str,
    start: Callable[..., OllamaRuntime],
    tmp_path: Path,
) -> None:
    base = of_folder(tmp_path, quantize) if folder else of_file(tmp_path, quantize)
    assert isinstance(base.source, LocalFile | LocalFolder)
    result, converted = base.shape.weights.file, 2 * base.shape.parameters
    beside = 2 * result
    if folder:
        copies = 2 if version == "0.24.0" else 3
        beside = max(2 * converted, converted + 2 * result) if quantize else copies * result
    room = Room(where="/store", free=base.source.bytes + beside - 1)
    fake = Fake(made(), "Q4_K_M") if quantize else Fake(read_header(TINY), "F16")
    with pytest.raises(BuildFailed, match="in /store"):
        start(fake, version=version, room=room).create(some_rendered(base), "made", Heard())
    assert (fake.blobs, fake.created) == (set(), [])
    enough = replace(room, free=room.free + 1)
    start(fake, version=version, room=enough).create(some_rendered(base), "made", Heard())
    assert fake.created


def test_a_server_may_be_silent_for_longer_with_a_large_model(
    monkeypatch: pytest.MonkeyPatch, start: Callable[..., OllamaRuntime], tmp_path: Path
) -> None:
    waits: list[float] = []
    asked = OllamaApi.create

    def create(self: OllamaApi, body: Any, **more: Any) -> None:
        waits.append(more.get("patience", 0.0))
        asked(self, body, **more)

    monkeypatch.setattr(OllamaApi, "create", create)
    monkeypatch.setattr(ollama_make, "_SLOWEST", 1000)
    start(Fake(made())).create(some_rendered(of_file(tmp_path)), "made", Heard())
    assert waits == [TINY.stat().st_size / 1000, 0.0]
