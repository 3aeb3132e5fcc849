"""The request for a container, as the engine's API takes it: what is in it, and what it may not do.

Nothing but the volume with the models is mounted, the root is read-only, no capability is left, the API is
published on the loopback of the engine's machine alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelforge.errors import UsageProblem
from modelforge.runtimes.docker.gpus import NO_GPUS
from modelforge.serving import VARIABLES
from modelforge.units import GIB, MIB, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelforge.project_settings import DockerSettings
    from modelforge.runtimes import Need
    from modelforge.runtimes.docker.facts import Facts
    from modelforge.runtimes.docker.gpus import GpuRequest

PORT = "11434/tcp"
MODELS = "/root/.ollama"
"""Where the volume is mounted: the place where `docker run -v ollama:/root/.ollama` has it."""
LABEL = "modelforge.claim"
MACHINE_LABEL = "modelforge.machine"
PIDS = 1024
SCRATCH = GIB
"""Bytes of the memory file system for temporary files; a server puts nothing large there."""
LEFT_TO_HOST = 512 * MIB
"""Memory that a container is not given where no limit is set: it should die before its host does."""
SMALLEST_MEMORY = 6 * MIB
"""What every engine insists on."""

_FIXED = {
    "OLLAMA_HOST": "0.0.0.0:11434",
    "OLLAMA_MODELS": f"{MODELS}/models",
    "OLLAMA_NO_CLOUD": "1",  # nothing that is tested here may run elsewhere
    "OLLAMA_NOPRUNE": "1",  # the volume is the user's, and so are files in it that no model has yet
    "HOME": "/tmp",  # noqa: S108 (in the container; the server makes itself a key there, which goes with it)
}
_NO_NEW = ["no-new-privileges"]
_TMPFS = f"rw,noexec,nosuid,nodev,size={SCRATCH}"
_LOG = {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "1"}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """A server's container. `image` is what the engine is told, `name` what people call it.

    `memory` in bytes, `cpus` in processors; None: no limit.
    """

    image: str
    name: str
    volume: str
    gpus: GpuRequest = NO_GPUS
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = PIDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What a build would ask the engine for: `request` is the body of its create call.

    `note` says what stands against it.
    """

    image: str
    volume: str
    gpus: str
    request: Mapping[str, Any]
    note: str = ""


def spec_of(
    settings: DockerSettings, need: Need, gpus: GpuRequest, facts: Facts, *, image: str, name: str
) -> Spec:
    """The container for a command, as far as the engine can limit it.

    Raises:
        UsageProblem: `env` sets what is not its to set, or `memory` is too little for any container.
    """
    _check(settings)
    memory = settings.memory or max(facts.memory - LEFT_TO_HOST, 0) or None
    return Spec(
        image=image,
        name=name,
        volume=settings.volume,
        gpus=gpus,
        environment={**settings.env, **need.settings, **gpus.environment, **_FIXED},
        memory=memory if facts.limits_memory else None,
        cpus=settings.cpus if facts.limits_cpus else None,
        pids=PIDS if facts.limits_pids else None,
    )


def _check(settings: DockerSettings) -> None:
    for name in settings.env:
        if name in _FIXED:
            message = f"[runtime.docker] env sets {name}, which modelforge sets itself"
            raise UsageProblem(message, hint=f"remove it; it is always {_FIXED[name]}")
        if name in VARIABLES:
            message = f"[runtime.docker] env sets {name}, which follows from the profile"
            raise UsageProblem(message, hint="set it in [resolve] of the profile, or keep_alive in [serve]")
    if settings.memory is not None and settings.memory < SMALLEST_MEMORY:
        raise UsageProblem(
            f"[runtime.docker] memory is {size_text(settings.memory)}, too little for a container",
            hint="leave it out, or give the model's size and 1 GiB more",
        )


def server_body(spec: Spec, labels: Mapping[str, str]) -> dict[str, Any]:
    """The body of `POST /containers/create` for a server."""
    host = _hardened(spec)
    host["PortBindings"] = {PORT: [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    host["Mounts"] = [{"Type": "volume", "Source": spec.volume, "Target": MODELS}]
    return {
        "Image": spec.image,
        "Cmd": ["serve"],
        "Env": _env(spec.environment),
        "Labels": dict(labels),
        "ExposedPorts": {PORT: {}},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }


def look_body(spec: Spec, command: tuple[str, ...], labels: Mapping[str, str]) -> dict[str, Any]:
    """The body for a container that runs one command to look at the machine: no volume, no network."""
    host = _hardened(spec)
    host["NetworkMode"] = "none"
    return {
        "Image": spec.image,
        "Entrypoint": [command[0]],
        "Cmd": list(command[1:]),
        "Env": _env(spec.environment),
        "Labels": dict(labels),
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }


def volume_body(image: str, volume: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The body for a container that is never started: it lets the engine see into the volume."""
    mount = {"Type": "volume", "Source": volume, "Target": MODELS, "ReadOnly": True}
    return {
        "Image": image,
        "Cmd": ["serve"],
        "Labels": dict(labels),
        "HostConfig": {
            "Mounts": [mount],
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": list(_NO_NEW),
        },
    }


def _hardened(spec: Spec) -> dict[str, Any]:
    host: dict[str, Any] = {
        "CapDrop": ["ALL"],
        "SecurityOpt": list(_NO_NEW),
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": _TMPFS},  # noqa: S108 (in the container)
        "RestartPolicy": {"Name": "no"},
        "LogConfig": _LOG,  # whatever the engine's default, the last lines must be there to be read
        "DeviceRequests": [dict(one) for one in spec.gpus.device_requests],
        "Devices": [dict(one) for one in spec.gpus.devices],
    }
    if spec.memory is not None:
        host |= {"Memory": spec.memory, "MemorySwap": spec.memory}
    if spec.cpus is not None:
        host["NanoCpus"] = round(spec.cpus * 1e9)
    if spec.pids is not None:
        host["PidsLimit"] = spec.pids
    return host


def _env(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]
