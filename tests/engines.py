"""A Docker engine without Docker: what the docker runtime asks of one, over dictionaries."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from modelforge.process import Completed
from modelforge.runtimes.docker.endpoint import Endpoint
from modelforge.runtimes.docker.engine import Declined, Found, Image, State
from modelforge.runtimes.docker.facts import Facts
from modelforge.runtimes.docker.spec import LABEL, MACHINE_LABEL
from modelforge.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FACTS = Facts(
    version="28.2.2",
    machine="gpu-box",
    memory=64 * GIB,
    cpus=16,
    runtimes=frozenset({"runc"}),
    cdi_devices=(),
    limits_memory=True,
    limits_pids=True,
    limits_cpus=True,
    here=False,
)
STORE = "/root/.ollama/models"
ENDPOINT = Endpoint(url="unix:///run/docker.sock", source="default", tls=None)
RUNNING = State(running=True, code=0, out_of_memory=False, port=40001, words="")


@dataclass
class FakeEngine:
    """Look into `created`, `removed`, `pulled`. `outputs` are what containers say, one after the other."""

    facts: Facts = FACTS
    endpoint: Endpoint = ENDPOINT
    images: dict[str, Image] = field(default_factory=dict)
    volumes: dict[str, str] = field(default_factory=dict)
    outputs: deque[tuple[int, str]] = field(default_factory=deque)
    lines: Sequence[Mapping[str, Any]] = ()
    declines: str = ""
    declines_start: str = ""
    log: bytes = b""
    how: State | None = RUNNING
    standing: list[Found] = field(default_factory=list)
    created: list[Mapping[str, Any]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)
    executed: list[tuple[Sequence[str], bytes]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    closed: bool = False

    def keep(self, name: str, blobs: Mapping[str, int]) -> str:
        """A model in the volume, with blobs of these sizes; the digest of its manifest."""
        model, _, tag = name.partition(":")
        layers = [{"digest": f"sha256:{blob}", "size": size} for blob, size in blobs.items()]
        raw = json.dumps({"config": layers[-1], "layers": layers[:-1]}).encode()
        self.files[f"{STORE}/manifests/registry.ollama.ai/library/{model}/{tag}"] = raw
        self.sizes |= {f"{STORE}/blobs/sha256-{blob}": size for blob, size in blobs.items()}
        return "sha256:" + hashlib.sha256(raw).hexdigest()

    def read(self, container: str, path: str) -> bytes | None:
        assert container
        return self.files.get(path)

    def size(self, container: str, path: str) -> int | None:
        assert container
        return self.sizes.get(path)

    def image(self, name: str) -> Image | None:
        return self.images.get(name)

    def pull(self, name: str) -> Iterator[Mapping[str, Any]]:
        self.pulled.append(name)
        yield from self.lines
        if self.declines:
            raise Declined(0, self.declines)
        self.images[name] = Image(id="sha256:fresh", digest="repo@sha256:fresh")

    def volume(self, name: str) -> str | None:
        return self.volumes.get(name)

    def create(self, body: Mapping[str, Any], name: str) -> str:
        self.created.append(body)
        number = f"c{len(self.created)}"
        labels = body["Labels"]
        self.standing.append(
            Found(id=number, claim=labels[LABEL], machine=labels[MACHINE_LABEL], created=0.0)
        )
        assert name
        return number

    def start(self, container: str) -> None:
        assert container
        if self.declines_start:
            raise Declined(500, self.declines_start)

    def state(self, container: str) -> State | None:
        assert container
        return self.how

    def wait(self, container: str, *, seconds: float) -> int:
        assert container
        assert seconds > 0
        return self.outputs[0][0]

    def output(self, container: str) -> str:
        assert container
        return self.outputs.popleft()[1]

    def follow(self, container: str) -> Iterator[bytes]:
        assert container
        yield self.log

    def remove(self, container: str, *, at_once: bool = False) -> None:
        assert at_once in {True, False}
        self.removed.append(container)
        self.standing = [one for one in self.standing if one.id != container]

    def ours(self) -> tuple[Found, ...]:
        return tuple(self.standing)

    def execute(self, container: str, command: Sequence[str], data: bytes = b"") -> Completed:
        assert container
        self.executed.append((command, data))
        code, text = self.outputs.popleft()
        return Completed(code=code, stdout=text, stderr="")

    def close(self) -> None:
        self.closed = True


def facts(**changes: Any) -> Facts:
    """The engine's facts with some of them changed."""
    return replace(FACTS, **changes)
