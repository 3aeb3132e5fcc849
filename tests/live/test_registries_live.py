"""Plans from a real registry with models that real servers pushed: what is read, and what is known without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2  # noqa: TID251 (a transport that counts, behind the door)
import pytest

from modelforge import pipeline
from modelforge.bases import RegistryModel, ServedModel
from modelforge.errors import BaseProblem, Unreachable
from modelforge.registry.client import open_registry
from modelforge.targets import targets
from modelforge.units import MIB
from tests.ggufs import tiny_llama
from tests.live.registries import Registry, program
from tests.live.sites import Bureau, bureau

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.registry.client import Registry as Client
    from modelforge.resolve import Plan
    from modelforge.targets import Work
    from tests.live.servers import Server

TAGS = {"9b-instruct-q8_0": "Q8_0", "9b-instruct-q4_0": "Q4_0"}
SLACK = 64 << 10
PROFILE = """\
[base]
model = "{model}"
sizes = ["9b"]
variant = "instruct"

[parameters]
num_ctx = 512
"""


class Counting(httpx2.BaseTransport):
    """The network, and how many bytes of bodies came over it."""

    def __init__(self) -> None:
        self.inner = httpx2.HTTPTransport()
        self.bytes = 0
        self.asked: list[str] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.path)
        answer = self.inner.handle_request(request)
        assert isinstance(answer.stream, httpx2.SyncByteStream)
        answer.stream = Counted(answer.stream, self)
        return answer

    def close(self) -> None:
        self.inner.close()


class Counted(httpx2.SyncByteStream):
    """A body whose pieces are counted."""

    def __init__(self, inner: httpx2.SyncByteStream, told: Counting) -> None:
        self.inner, self.told = inner, told

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.inner:
            self.told.bytes += len(piece)
            yield piece

    def close(self) -> None:
        self.inner.close()


@dataclass
class Desk:
    """A project whose base is in the registry, and the server that pushed it there."""

    bureau: Bureau
    registry: Registry
    server: Server
    model: str
    wires: list[Counting] = field(default_factory=list)

    def plan(self, hardware: str = "rtx-4090") -> Plan:
        work = self.bureau.work()
        work.connect = self.connect
        try:
            return self._plan(work, hardware)
        finally:
            work.close()

    def connect(self, host: str, insecure: bool) -> Client:  # noqa: FBT001
        self.wires.append(Counting())
        return open_registry(
            host,
            insecure=insecure,
            environment={},
            home=self.bureau.folder,
            timeouts=self.bureau.work().site.project.settings.timeouts,
            transport=self.wires[-1],
        )

    @staticmethod
    def _plan(work: Work, hardware: str) -> Plan:
        (target,) = targets(work, "coder", [hardware])
        return pipeline.plan(work, target)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    if program() is None:
        pytest.skip("no docker-registry on this machine; .ci/parts installs it")
    made = Registry(folder=tmp_path_factory.mktemp("registry"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def desk(running: Registry, server: Server, tmp_path: Path) -> Desk:
    if running.process is None:
        running.start()
    model = f"{running.host}/team/coder{server.version.replace('.', '')}"
    for tag, quant in TAGS.items():
        file = large(tmp_path / "weights.gguf", quant)
        running.push(server, f"{model}:{tag}", files={"weights.gguf": server.send(file.read_bytes())})
    settings = {"PATH": server.environment["PATH"], "OLLAMA_HOST": server.host}
    made = Desk(bureau(tmp_path / "desk", settings, runtime="ollama"), running, server, model)
    made.bureau.write({"profiles/coder.toml": PROFILE.format(model=model)})
    return made


def large(file: Path, quant: str) -> Path:
    """A model that is much larger than its header."""
    return tiny_llama(file, quant, layers=4, embedding=1024)


def test_a_plan_reads_manifests_and_headers_alone(desk: Desk) -> None:
    found = desk.plan()
    assert found.picked is not None
    assert found.warnings == ()
    picked = found.picked.candidate
    tags = {one.candidate.ref.rpartition(":")[2]: one.candidate for one in found.candidates}
    assert {tag: one.quant for tag, one in tags.items()} == TAGS
    pushed = desk.registry.model(f"{desk.model}:9b-instruct-q8_0")
    assert (picked.ref, picked.size, picked.source) == (pushed.name, "9b", pushed)
    (wire,) = desk.wires
    manifests = sum(
        len(one.source.manifest) for one in tags.values() if isinstance(one.source, RegistryModel)
    )
    weights = sum(one.source.blobs[0].bytes for one in tags.values() if isinstance(one.source, RegistryModel))
    assert wire.bytes <= 2 * 4 * MIB + manifests + SLACK < weights
    assert len(wire.asked) == 1 + 2 + 2, "the list, the manifests, the headers"
    desk.plan("rtx-3060-12gb")
    assert desk.wires[1].bytes < manifests + SLACK


def test_a_tag_that_nobody_pushed(desk: Desk) -> None:
    desk.bureau.write({"profiles/coder.toml": f'[base]\nmodel = "{desk.model}:9b-instruct-q8"\n'})
    with pytest.raises(BaseProblem, match="has no team/") as caught:
        desk.plan()
    assert "did you mean '9b-instruct-q8_0'?" in str(caught.value.problems[0].hint)


def test_the_registry_is_gone(desk: Desk) -> None:
    first = desk.plan()
    desk.registry.stop()
    again = desk.plan()
    assert [one.candidate for one in again.candidates] == [one.candidate for one in first.candidates]
    (warning,) = again.warnings
    assert "cannot be reached" in warning
    assert "connection refused" in warning
    assert "planned with what was seen on" in warning
    (desk.bureau.folder / "cache").rename(desk.bureau.folder / "lost")
    with pytest.raises(Unreachable, match="connection refused"):
        desk.plan()
    file = large(desk.bureau.folder / "weights.gguf", "Q4_0")
    fields = {"files": {"w.gguf": desk.server.send(file.read_bytes())}, "stream": False}
    name = f"{desk.model}:9b-instruct-q4_0"
    assert desk.server.call("POST", "/api/create", {"model": name, **fields})[0] == 200
    found = desk.plan()
    assert found.picked is not None
    assert isinstance(found.picked.candidate.source, ServedModel)
    assert "planned with what the runtime has" in found.warnings[0]
