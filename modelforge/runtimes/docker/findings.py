"""What the doctor says of an engine: does it answer, has it the image, can it give GPUs, is there room."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.errors import ForgeError
from modelforge.finding import Finding
from modelforge.runtimes.docker.access import TOOLKIT
from modelforge.units import GIB, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelforge.runtimes.docker.access import DockerAccess
    from modelforge.runtimes.docker.engine import Engine
    from modelforge.site import Site

LOW_DISK = 5 * GIB


def findings(site: Site, access: DockerAccess) -> Iterator[Finding]:
    """All of them; only the first where no engine answers."""
    with closing(access):
        try:
            engine = access.engine()
        except ForgeError as error:
            yield Finding(good=False, text=error.problems[0].message, remedy=error.problems[0].hint)
            return
        yield Finding(good=True, text=f"Docker {engine.facts.version} answers at {engine.endpoint.url}")
        yield _image(site, access)
        yield _gpus(site, access, engine)
        yield from _disk(engine)
        volume = site.project.settings.docker.volume
        there = (
            "is there" if engine.volume(volume) is not None else "is not there yet: the first build makes it"
        )
        yield Finding(good=True, text=f"the volume {volume} {there}")


def _image(site: Site, access: DockerAccess) -> Finding:
    name = access.image_name()
    if access.has_image():
        return Finding(good=True, text=f"the image {name} is there")
    if site.project.settings.docker.pull == "never":
        return Finding(good=False, text=f"the image {name} is not there", remedy=f"docker pull {name}")
    return Finding(good=True, text=f"the image {name} is not there yet: the first build pulls it")


def _gpus(site: Site, access: DockerAccess, engine: Engine) -> Finding:
    accelerator = access.accelerator()
    if accelerator is not None:
        vendor = accelerator.vendor.partition(".")[0].upper()
        return Finding(good=True, text=f"containers can have {vendor} GPUs (by {accelerator.way})")
    if engine.facts.here and site.probe().backend == "cuda":
        text = "this machine has a GPU that the engine cannot give to containers: it has no NVIDIA runtime"
        return Finding(good=False, text=text, remedy=TOOLKIT)
    return Finding(good=True, text="the engine has no GPU to give: models in containers run on the CPU")


def _disk(engine: Engine) -> Iterator[Finding]:
    folder = Path(engine.facts.root)
    if not engine.facts.here or not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    text = f"{size_text(free)} free where the engine keeps its images and volumes ({folder})"
    yield Finding(good=free >= LOW_DISK, text=text, remedy="make room: docker system prune")
