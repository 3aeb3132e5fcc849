"""How the `docker` runtime is had: the engine found, its machine looked at, a container started that suits the need."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from modelforge.errors import Unreachable, UsageProblem
from modelforge.events import Step
from modelforge.journal import Journal
from modelforge.project_settings import DEFAULT_IMAGE
from modelforge.runtimes import ANYTHING, NOTHING, RuntimeInfo
from modelforge.runtimes.docker import engine as engines
from modelforge.runtimes.docker.absent import AbsentVolume
from modelforge.runtimes.docker.claims import Claims
from modelforge.runtimes.docker.glance import stands
from modelforge.runtimes.docker.gpus import NO_GPUS, accelerator_of, meant_by, request_of
from modelforge.runtimes.docker.images import ensure_image
from modelforge.runtimes.docker.machine import with_gpus, without_gpus
from modelforge.runtimes.docker.spec import Preview, server_body, spec_of

if TYPE_CHECKING:
    from modelforge.hardware import Hardware
    from modelforge.runtimes import Need, Runtime
    from modelforge.runtimes.docker.endpoint import Endpoint
    from modelforge.runtimes.docker.engine import Engine
    from modelforge.runtimes.docker.gpus import Accelerator, GpuRequest, Gpus
    from modelforge.site import Site

TOOLKIT = """\
with GPUs:     install the NVIDIA Container Toolkit on the engine's machine, then:
               nvidia-ctk runtime configure --runtime=docker && systemctl restart docker
without:       --gpus none, or --gpus auto"""


DRIVER = """\
with GPUs:     load the kernel's driver on the engine's machine: modprobe amdgpu
without:       --gpus none, or --gpus auto"""


class DockerAccess:
    """The engine at `endpoint` and a volume on it. Opened by degrees: engine, machine, container."""

    kind: Literal["docker"] = "docker"

    def __init__(self, site: Site, *, endpoint: Endpoint, volume: str, gpus: Gpus) -> None:
        self._site = site
        self._endpoint = endpoint
        self._settings = replace(site.project.settings.docker, volume=volume)
        self._gpus = gpus
        self._stack = ExitStack()
        self._engine: Engine | None = None
        self._image: engines.Image | None = None
        self._machine: Hardware | None = None
        self._runtime: Runtime | None = None
        self._need = ANYTHING

    @property
    def where(self) -> str:
        """The volume and its engine, as the journal has them."""
        return f"{self._settings.volume}@{self._endpoint.url}"

    def engine(self) -> Engine:
        """The engine, asked for the first time, and rid of what dead commands left on it unless we only look.

        Raises:
            Unreachable: it does not answer, or we may not ask.
        """
        if self._engine is None:
            url, site = self._endpoint.url, self._site
            if self._endpoint.ssh:
                from modelforge.runtimes.docker.ssh import forwarded  # noqa: PLC0415 (only then)

                folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="modelforge-")))
                connecting = forwarded(
                    self._endpoint,
                    environment=site.environment,
                    folder=folder,
                    seconds=2 * site.project.settings.timeouts.connect,
                )
                url = self._stack.enter_context(connecting)
            self._engine = engines.connect(self._endpoint, url=url, environment=site.environment)
            self._stack.callback(self._engine.close)
            if not site.look and (left := self._claims().sweep(self._engine, now=site.now())):
                site.emit(Step(stage="clean", text=f"removed {left} container(s) that a killed run had left"))
        return self._engine

    def has_image(self) -> bool:
        """Whether the image is there already."""
        return self.engine().image(self.image_name()) is not None

    def machine(self) -> Hardware:
        """The engine's machine, with the GPUs that `--gpus` leaves of it.

        Raises:
            Unreachable: its GPUs cannot be looked at before the image is there.
        """
        if self._machine is None:
            facts, memory = self.engine().facts, self._settings.memory
            accelerator = self.accelerator()
            if self._gpus.mode == "none" or accelerator is None:
                found = without_gpus(facts, memory=memory)
            else:
                image = self._pulled()
                found = with_gpus(
                    self.engine(), accelerator, self._gpus, self._claims(), image=image.id, memory=memory
                )
            here = self._site.probe() if facts.here else None
            self._machine = replace(found, system_free=here.system_free) if here else found
        return self._machine

    def open(self, need: Need | None) -> Runtime:
        """A server in a container with what is needed; the one that runs already if it has that.

        Raises:
            Unreachable: the engine, the image, GPUs that were insisted on, or the server cannot be had.
        """
        if self._runtime is not None and need in (None, NOTHING, self._need):
            return self._runtime
        self._let_go()
        self._need = need or ANYTHING
        engine, volume = self.engine(), self._settings.volume
        info = RuntimeInfo(kind="docker", version="", endpoint=self.where)
        if self._site.look and engine.volume(volume) is None:
            self._runtime = AbsentVolume(info)
            return self._runtime
        gpus = NO_GPUS if need == NOTHING else self._request(self._need)
        if gpus is None:
            raise self._no_gpus()
        if self._gpus.mode == "auto" and self._need.gpus and gpus is NO_GPUS:
            text = (
                f"the engine on {engine.facts.machine} has no GPU to give: what depends on one is not tested"
            )
            self._site.emit(Step(stage="start", text=text, kind="warning"))
        image = self._pulled()
        from modelforge.runtimes.docker.start import start  # noqa: PLC0415 (brings the HTTP client)

        spec = spec_of(self._settings, self._need, gpus, engine.facts, image=image.id, name=self.image_name())
        self._runtime = start(
            engine, spec, self._claims(), self._site, info=replace(info, image=image.digest, gpus=gpus.text)
        )
        return self._runtime

    def preview(self, need: Need) -> Preview:
        """What `open` would ask for, without asking."""
        gpus, note = self._request(need), ""
        if gpus is None:
            meant = meant_by(self._settings.image)
            gpus = request_of(self._gpus, meant, need=need.gpus, found=need.gpus or 1) or NO_GPUS
            note = f"refused: {self._no_gpus().problems[0].message}"
        elif need.gpus and gpus is NO_GPUS:
            note = "the engine has no GPU to give" if self._gpus.mode == "auto" else ""
        spec = spec_of(
            self._settings, need, gpus, self.engine().facts, image=self.image_name(), name=self.image_name()
        )
        body = server_body(spec, {})
        return Preview(image=spec.image, volume=spec.volume, gpus=gpus.text, request=body, note=note)

    def stands(self, name: str, manifest: str) -> bool:
        """Whether a model stands in the volume just as it was left; False where that takes a server to see."""
        engine, volume = self.engine(), self._settings.volume
        image = engine.image(self.image_name())
        refused = self._gpus.mode in {"all", "ids"} and self.accelerator() is None
        if refused or self._settings.pull == "always" or image is None or engine.volume(volume) is None:
            return False
        return stands(engine, self._claims(), image=image.id, volume=volume, name=name, manifest=manifest)

    def check(self) -> None:
        """The engine answers."""
        self.engine()

    def close(self) -> None:
        """Removes the container, lets go of the engine."""
        try:
            self._let_go()
        finally:
            self._stack.close()

    def _let_go(self) -> None:
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.close()

    def _claims(self) -> Claims:
        site = self._site
        machine = Journal(site.state, RuntimeInfo(kind="docker", version="", endpoint=self.where)).machine()
        return Claims(site.state / "containers", machine)

    def accelerator(self) -> Accelerator | None:
        """How the engine hands out GPUs; None if it has none to give."""
        facts = self.engine().facts

        def has_file(name: str) -> bool:
            there = Path(name).exists() if "/" in name else shutil.which(name) is not None
            return facts.here and there

        return accelerator_of(facts, image=self._settings.image, has_file=has_file)

    def image_name(self) -> str:
        """The image's name: the default one is built for CUDA and the processor, with a twin for ROCm."""
        accelerator = self.accelerator()
        if self._settings.image == DEFAULT_IMAGE and accelerator and accelerator.vendor == "amd.com":
            return f"{DEFAULT_IMAGE}-rocm"
        return self._settings.image

    def _pulled(self) -> engines.Image:
        if self._image is None:
            pull = "never" if self._site.look else self._settings.pull
            self._image = ensure_image(self.engine(), self.image_name(), pull, self._site.emit)
        return self._image

    def _request(self, need: Need) -> GpuRequest | None:
        accelerator = self.accelerator()
        counted = accelerator is not None and self._gpus.mode == "auto" and need.gpus != 0
        found = self._found(need) if counted else 0
        return request_of(self._gpus, accelerator, need=need.gpus, found=found)

    def _found(self, need: Need) -> int:
        """How many GPUs there are; as many as are needed where that cannot be looked at yet."""
        if self._site.look and not self.has_image():
            return need.gpus or 1
        return len(self.machine().devices)

    def _no_gpus(self) -> Unreachable:
        amd = meant_by(self._settings.image).vendor == "amd.com"
        lacks = "no AMD GPU (/dev/kfd is not there)" if amd else "no NVIDIA runtime"
        return Unreachable(
            f"The Docker engine at {self._endpoint.url} has {lacks}, so --gpus {self._gpus} cannot be had.",
            hint=DRIVER if amd else TOOLKIT,
        )


def split_where(text: str) -> tuple[str, str]:
    """The volume and the engine's URL of a runtime's endpoint.

    Raises:
        UsageProblem: it is none.
    """
    volume, at, url = text.partition("@")
    if not at:
        raise UsageProblem(f"the journal names no volume and engine: {text!r}")
    return volume, url
