"""A project's own machines: hardware/NAME.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field, ValidationError

from modelforge.errors import Problem, ProfileProblem, nearest
from modelforge.hardware import THIS, Backend, Device, Hardware, table
from modelforge.profile.document import read_document
from modelforge.profile.names import tag_name
from modelforge.profile.rules import ABOVE_ZERO, RATE, SIZE, rule, whole
from modelforge.profile.tables import Rows, Table, Text
from modelforge.units import parse_rate, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.profile.document import Document
    from modelforge.profile.positions import KeyPath

RESERVED = frozenset({THIS, "latest"})
_CAPABILITY = re.compile(r"\d{1,2}\.\d")
OWN_FIGURES = ("name", "memory", "bandwidth", "compute_capability")


@rule(pattern=whole(ABOVE_ZERO + SIZE))
def _size(text: str) -> str:
    if parse_size(text) < 1:
        raise ValueError("a size above zero, such as '24GiB'")
    return text


@rule(pattern=whole(ABOVE_ZERO + RATE))
def _rate(text: str) -> str:
    if parse_rate(text) < 1:
        raise ValueError("a rate above zero, such as '1008GB/s'")
    return text


def _device_name(text: str) -> str:
    hardware = table.named(text)
    if hardware is None:
        close = nearest(text, [*table.names(), *table.aliases()]) or ""
        name = table.aliases().get(close, close)
        raise ValueError(f"a name of the hardware table{f', such as {name!r}' if name else ''}")
    if not hardware.devices:
        raise ValueError("hardware with a GPU")
    return text


@rule(pattern=whole(_CAPABILITY.pattern))
def _capability(text: str) -> str:
    if not _CAPABILITY.fullmatch(text):
        raise ValueError("a compute capability such as '8.9'")
    return text


Size: TypeAlias = Annotated[str, AfterValidator(_size)]
Rate: TypeAlias = Annotated[str, AfterValidator(_rate)]
Capability: TypeAlias = Annotated[str, AfterValidator(_capability)]


class DeviceTable(Table):
    """`[[device]]`: one or more accelerators of a kind."""

    like: Annotated[str, AfterValidator(_device_name)] | None = None
    """a device of the named table, such as "rtx-4090\""""
    count: Annotated[int, Field(ge=1, le=64)] = 1
    """how many of them there are"""
    name: Text | None = None
    """what it is called, in place of `like`"""
    memory: Size | None = None
    """its memory, as the driver reports it, such as "24GiB\""""
    bandwidth: Rate | None = None
    """bandwidth of its memory, such as "1008GB/s\""""
    compute_capability: Capability | None = None
    """CUDA compute capability, such as "8.9\""""


class HardwareFile(Table):
    """A file in the project's hardware folder."""

    description: str = ""
    """one line for people"""
    backend: Backend | None = None
    """what models run on; default: that of the devices in the named table, "cpu" without devices"""
    system_memory: Size | None = None
    """memory of the machine; needed where there is no device"""
    system_bandwidth: Rate | None = None
    """bandwidth of that memory, such as "51.2GB/s\""""
    device: Rows[DeviceTable] = ()
    """the accelerators; none for a machine that has only its processor"""


def load_hardware(path: Path, *, root: Path) -> Hardware:
    """The hardware that a file declares; its name is the file's stem.

    Args:
        path: the file.
        root: what the file's name in messages is relative to.

    Raises:
        ProfileProblem: everything that is wrong with it, each with its place.
    """
    file = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    document = read_document(path, file=file, root=root)
    problems = [*_name_problems(path.stem, document), *_rules(document)]
    try:
        content = HardwareFile.model_validate(document.data)
    except ValidationError as error:
        from modelforge.profile.problems import in_order, problems_of  # noqa: PLC0415 (only where something is wrong)

        problems += problems_of(error, file=file, text=document.text, model=HardwareFile)
        raise ProfileProblem(problems=in_order(problems)) from None
    if problems:
        from modelforge.profile.problems import in_order  # noqa: PLC0415

        raise ProfileProblem(problems=in_order(problems))
    return _hardware(path.stem, content)


def _name_problems(name: str, document: Document) -> Iterator[Problem]:
    try:
        tag_name(name)
        expected = f"another name: '{name}' has a meaning of its own"
    except ValueError as error:
        expected = str(error)
    else:
        if name.casefold() not in RESERVED:
            return
    message = f"'{name}' cannot be the name of hardware, since that becomes a model's tag"
    yield Problem(
        message=message, kind="value", file=document.file, expected=expected, hint="rename the file"
    )


# -- what one key alone cannot tell ------------------------------------------------------------------


def _rules(document: Document) -> Iterator[Problem]:
    """The rules between keys, on the values as TOML has them, so that they are told together with all else."""
    listed = document.data.get("device", ())
    devices = {
        ("device", index): device
        for index, device in enumerate(listed if isinstance(listed, list) else ())
        if isinstance(device, Mapping)
    }
    found = [*_machine_rules(document.data, list(devices.values()))]
    for place, device in devices.items():
        found += _device_rules(place, device)
    for path, message, expected in found:
        yield document.problem(
            path, f"{message}, expected {expected}", kind="rule", on="key", expected=expected
        )


def _machine_rules(
    data: Mapping[str, Any], devices: list[Mapping[str, Any]]
) -> Iterator[tuple[KeyPath, str, str]]:
    backend = data.get("backend")
    if backend == "cpu" and devices:
        yield ("backend",), "backend is 'cpu', but there are devices", "no [[device]], or another backend"
    elif not data.get("device"):
        if backend not in {None, "cpu"}:
            yield ("backend",), f"backend is '{backend}', but there is no device", "a [[device]]"
        elif "system_memory" not in data:
            yield (), "there is no device and no system_memory", 'a [[device]], or system_memory = "16GiB"'
    elif backend is None and devices and not any("like" in device for device in devices):
        yield (), "there is no 'backend'", "one of 'cuda', 'rocm', 'vulkan', 'metal'"


def _device_rules(path: KeyPath, device: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    if "like" in device:
        for key in OWN_FIGURES:
            if key in device:
                yield (*path, key), f"'{key}' and 'like' exclude each other", "one of them"
    elif "memory" not in device:
        yield path, "[[device]] has no memory", 'like = "rtx-4090", or memory = "24GiB"'


# -- what it makes -----------------------------------------------------------------------------------


def _hardware(name: str, content: HardwareFile) -> Hardware:
    likes = [found for line in content.device if line.like and (found := table.named(line.like))]
    shared = next((found.system_memory for found in likes if found.system_memory), None)
    backend = content.backend or (likes[0].backend if likes else "cpu")
    devices = [device for line in content.device for device in _devices(line)]
    return Hardware(
        name=name,
        backend=backend,
        devices=tuple(devices),
        system_memory=parse_size(content.system_memory) if content.system_memory else shared,
        system_bandwidth=parse_rate(content.system_bandwidth) if content.system_bandwidth else None,
        description=content.description,
        origin="file",
    )


def _devices(line: DeviceTable) -> tuple[Device, ...]:
    known = table.named(line.like) if line.like else None
    if known:
        return known.devices * line.count
    memory = parse_size(line.memory or "0")
    name = line.name or f"GPU with {line.memory}"
    device = Device(
        name=name,
        memory=memory,
        bandwidth=parse_rate(line.bandwidth) if line.bandwidth else None,
        compute_capability=line.compute_capability,
        model=table.match(name, memory),
    )
    return (device,) * line.count
