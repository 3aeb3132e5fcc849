"""A small project with made-up weights, its site over a fake runtime, and this machine as a test wants it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from modelforge.hardware import Device, Hardware
from modelforge.project import find_project
from modelforge.runtimes.choose import access_of
from modelforge.site import Site
from modelforge.targets import Work
from modelforge.units import GIB
from tests.fakes import FakeRuntime, Heard
from tests.ggufs import tiny_llama
from tests.registries import FakeRegistry
from tests.trees import write_tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelforge.runtimes import Need, RuntimeKind
    from modelforge.runtimes.choose import Access
    from modelforge.runtimes.docker.spec import Preview

LAPTOP = Hardware(name="this", backend="cpu", system_memory=16 * GIB, origin="probed")
GAMER = replace(
    LAPTOP,
    backend="cuda",
    devices=(Device(name="NVIDIA GeForce RTX 4090", memory=24 * GIB, model="rtx-4090"),),
)

CODER = """\
description = "Code"
system = "Be short."

[base]
model = "./models/tiny-*.gguf"

[parameters]
num_ctx = 512
temperature = 0.2

[hardware]
targets = ["rtx-4090", "rtx-3060-12gb"]

[hardware.rtx-4090]
parameters.num_ctx = 1024

[[smoke]]
name = "says ok"
prompt = "ok?"
expect = { contains = "ok" }
"""
REVIEWER = """\
system = "Review."

[base]
model = "./models/tiny-*.gguf"

[hardware]
targets = ["cpu-16gb"]
"""


@dataclass
class FakeAccess:
    """The access that a site asks for, but that it opens the place's fake runtime."""

    place: Place
    real: Access
    needs: list[Need | None] = field(default_factory=list)
    runtime: FakeRuntime | None = None

    @property
    def kind(self) -> RuntimeKind:
        return self.place.runtime.info.kind

    @property
    def where(self) -> str:
        return self.real.where

    def machine(self) -> Hardware | None:
        return self.real.machine()

    def open(self, need: Need | None) -> FakeRuntime:
        self.needs.append(need)
        if self.runtime is None:
            self.place.opened += 1
            self.runtime = self.place.runtime
        return self.runtime

    def preview(self, need: Need) -> Preview | None:
        self.needs.append(need)
        return self.place.container

    def stands(self, name: str, manifest: str) -> bool:
        self.place.looked.append((name, manifest))
        return self.place.seen

    def check(self) -> None:
        self.open(None)

    def close(self) -> None:
        if self.runtime is not None:
            self.runtime.close()


@dataclass
class Place:
    """A project at `root`, with state and cache beside it. What it tells is in `heard`."""

    root: Path
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    machine: Hardware = LAPTOP
    environment: dict[str, str] = field(default_factory=dict)
    heard: Heard = field(default_factory=Heard)
    opened: int = 0
    container: Preview | None = None
    seen: bool = False
    looked: list[tuple[str, str]] = field(default_factory=list)
    clock: float = 1_790_000_000.0
    registry: FakeRegistry = field(default_factory=FakeRegistry)

    def write(self, **profiles: str) -> None:
        """Writes profiles by their names."""
        write_tree(self.root, {f"profiles/{name}.toml": text for name, text in profiles.items()})

    def site(self, flags: Mapping[str, object] | None = None, **more: Any) -> Site:
        """The project's site as it is now."""
        site = Site(
            project=find_project(self.root, environment=self.environment, flags=flags),
            environment=self.environment,
            home=self.root.parent / "home",
            state=self.root.parent / "state",
            cache=self.root.parent / "cache",
            now=self._now,
            python="python",
            probe=lambda: self.machine,
            emit=self.heard,
        )
        return replace(site, **more)

    def work(self, flags: Mapping[str, object] | None = None, **more: Any) -> Work:
        """The site with the fake runtime, and one fake registry whatever the host."""
        site = self.site(flags, **more)
        return Work(
            site=site, access=FakeAccess(place=self, real=access_of(site)), connect=self.registry.connect
        )

    def _now(self) -> float:
        self.clock += 1
        return self.clock


def place(folder: Path, **profiles: str) -> Place:
    """A project with these profiles (default: coder), and tiny weights in Q8_0 and Q4_0."""
    made = Place(root=folder / "project")
    write_tree(made.root, {"modelforge.toml": ""})
    for quant in ("Q8_0", "Q4_0"):
        tiny_llama(made.root / "models" / f"tiny-{quant}.gguf", quant)
    made.write(**(profiles or {"coder": CODER}))
    return made
