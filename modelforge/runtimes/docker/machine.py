"""The engine's machine as hardware to plan for, seen through the engine: its GPUs by a look from inside a container."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from modelforge.hardware import THIS, Hardware, amd_sysfs, nvidia, nvidia_smi
from modelforge.hardware.cpu import Memory
from modelforge.runtimes.docker.claims import looking
from modelforge.runtimes.docker.engine import Declined
from modelforge.runtimes.docker.gpus import Gpus, request_of
from modelforge.runtimes.docker.spec import Spec, look_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelforge.hardware import Device
    from modelforge.hardware.nvidia import Card
    from modelforge.runtimes.docker.claims import Claims
    from modelforge.runtimes.docker.engine import Engine
    from modelforge.runtimes.docker.facts import Facts
    from modelforge.runtimes.docker.gpus import Accelerator

_SECONDS = 60.0
_ALL = Gpus(mode="all")


def without_gpus(facts: Facts, *, memory: int | None) -> Hardware:
    """The machine with its processor alone. `memory` is the container's limit in bytes, None for the machine's own."""
    limited = memory is not None and memory < facts.memory
    words = [] if facts.here else [f"{facts.machine}, the Docker engine's machine"]
    return Hardware(
        name=THIS,
        backend="cpu",
        system_memory=memory if limited else facts.memory,
        description=", ".join([*words, *(["limited by [runtime.docker] memory"] if limited else [])]),
        origin="probed",
    )


def with_gpus(
    engine: Engine, accelerator: Accelerator, gpus: Gpus, claims: Claims, *, image: str, memory: int | None
) -> Hardware:
    """The machine with those of its GPUs that `gpus` leaves, seen from a container of that image."""
    plain = without_gpus(engine.facts, memory=memory)
    try:
        if accelerator.vendor == "amd.com":
            devices: Sequence[Device] = amd_sysfs.devices(
                _look(engine, accelerator, claims, image, amd_sysfs.COMMAND)
            )
            return _with(plain, "rocm", devices, ())
        shared = Memory(total=engine.facts.memory, available=engine.facts.memory)
        cards = nvidia_smi.cards(_look(engine, accelerator, claims, image, nvidia_smi.COMMAND), shared)
    except (Declined, ValueError) as error:
        return replace(plain, warnings=(f"the engine's GPUs cannot be looked at: {error}",))
    kept = nvidia.together([card for card in cards if _is_meant(card, gpus)])
    problems = tuple(card.problem for card in kept if card.problem)
    return _with(plain, "cuda", [card.device for card in kept if card.device], problems)


def _with(plain: Hardware, backend: str, devices: Sequence[Device], warnings: tuple[str, ...]) -> Hardware:
    if not devices:
        return replace(plain, warnings=warnings)
    return replace(plain, backend=backend, devices=tuple(devices), warnings=warnings)  # type: ignore[arg-type]


def _is_meant(card: Card, gpus: Gpus) -> bool:
    """Whether CUDA in the container would see the card. CDI names end in the same ids."""
    if gpus.mode != "ids":
        return card.index is not None  # CUDA shows the first instance of a split card alone
    ids = [one.rpartition("=")[2].casefold() for one in gpus.ids]
    uuid = card.uuid.casefold()
    return any(one in {"all", str(card.index)} or (uuid and uuid.startswith(one)) for one in ids)


def _look(
    engine: Engine, accelerator: Accelerator, claims: Claims, image: str, command: tuple[str, ...]
) -> str:
    """What a command in a container says.

    Raises:
        Declined: the engine cannot run it.
        ValueError: it failed, with its words.
    """
    request = request_of(_ALL, accelerator, need=None, found=0)
    if request is None:
        return ""
    utility = replace(request, environment={**request.environment, "NVIDIA_DRIVER_CAPABILITIES": "utility"})
    spec = Spec(image=image, name=image, volume="", gpus=utility, environment=utility.environment)
    with looking(engine, claims, lambda labels: look_body(spec, command, labels)) as container:
        engine.start(container)
        code = engine.wait(container, seconds=_SECONDS)
        text = engine.output(container)
    if code != 0:
        raise ValueError(" ".join(text.split())[:200] or f"{command[0]} ended with {code}")
    return text
