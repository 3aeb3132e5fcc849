"""What the doctor says of this machine: its GPUs and their driver, the folders that are written to, the room there."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.doctor.servers import embedded_is_idle, far_server
from modelforge.finding import Finding
from modelforge.hardware import nvidia
from modelforge.runtimes.choose import OllamaAccess, host_of, store_of, wanted_runtime
from modelforge.units import GIB, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelforge.runtimes.ollama_host import Host
    from modelforge.site import Site

LOW_DISK = 5 * GIB
INSTALLED = Path("/usr/share/ollama/.ollama/models")
"""Where Ollama's installer for Linux has its server keep models, as the user `ollama`."""
_ROOT = Path("/")


def hardware(site: Site) -> Iterator[Finding]:
    """The GPUs that models run on, what is wrong with them, and a card without its driver."""
    far = far_server(site)
    if far is not None:
        yield from _far(site, far)
        return
    machine = site.probe()
    for device in machine.devices:
        free = f", {size_text(device.free)} free" if device.free is not None else ""
        yield Finding(good=True, text=f"{device.name}: {size_text(device.memory)}{free}")
    if not machine.devices and machine.system_memory:
        text = f"no GPU was found; models run on the CPU, in {size_text(machine.system_memory)}"
        yield Finding(good=True, text=text)
    for warning in machine.warnings:
        text, _, remedy = warning.partition(": ")
        yield Finding(good=False, text=text, remedy=remedy or None)
    if not machine.devices and not machine.warnings and nvidia.has_card(_ROOT):
        yield Finding(
            good=False,
            text="there is an NVIDIA card, but not its driver",
            remedy="install NVIDIA's driver; in a container: start it with its GPUs (--gpus all)",
        )


def _far(site: Site, host: Host) -> Iterator[Finding]:
    """What the project says of a server on another machine."""
    machine = OllamaAccess(site, host).machine()
    if machine is None:
        yield Finding(
            good=False,
            text=f"the hardware of {host.display} is not known from here, so nothing is planned for it",
            remedy="say it with -H, or in modelforge.toml:\n"
            f'[hosts.NAME]\nurl = "{host.url}"\nhardware = "rtx-4090"',
        )
        return
    names = ", ".join(device.name for device in machine.devices) or "no GPU"
    yield Finding(good=True, text=f"{host.display} has {names} ({machine.description})")


def store(site: Site) -> Iterator[Finding]:
    """Whether the embedded runtime can write its store, and whether that is where a server would look."""
    if embedded_is_idle(site):
        return
    folder = store_of(site)
    trouble = trouble_with(folder)
    if trouble:
        yield Finding(
            good=False,
            text=f"the embedded runtime's store {folder} cannot be used ({trouble})",
            remedy="name a store of your own (store in modelforge.toml, or OLLAMA_MODELS)\n"
            "or build over the server that has this one: --runtime ollama",
        )
        return
    owner = _stranger(folder)
    if owner:
        yield Finding(
            good=False,
            text=f"the embedded runtime's store {folder} belongs to {owner}, whose server could not remove"
            " what you write there",
            remedy="build over that server: --runtime ollama\n"
            f"or write as its user: sudo -u {owner} modelforge build …",
        )
        return
    yield Finding(good=True, text=f"the embedded runtime's store is {folder}")
    if site.project.settings.store is None and _is_there(INSTALLED):
        yield Finding(
            good=False,
            text=f"the server that Ollama's installer made keeps its models in {INSTALLED}, which belongs to"
            f" {_owner(INSTALLED) or 'another user'}: it does not see those that the embedded runtime makes",
            remedy="build over that server: --runtime ollama",
        )


def trouble_with(store: Path) -> str:
    """Why this user cannot keep models in a store that need not be there yet; "" if nothing stands against it."""
    return next(filter(None, map(_trouble, (store, store / "blobs", store / "manifests"))), "")


def folders(site: Site) -> Iterator[Finding]:
    """Whether the journal and the cache can be written."""
    for folder, name in ((site.state, "STATE"), (site.cache, "CACHE")):
        trouble = _trouble(folder)
        if trouble:
            remedy = f"make it writable, or set MODELFORGE_{name} to another folder"
            yield Finding(good=False, text=f"{folder} cannot be used ({trouble})", remedy=remedy)


def disk(site: Site) -> Iterator[Finding]:
    """What is free where models and downloads are kept on this machine."""
    places = [(site.cache, "downloads")]
    wanted = wanted_runtime(site)
    if wanted == "ollama" and host_of(site).loopback:
        places.insert(0, (INSTALLED if _is_there(INSTALLED) else store_of(site), "models"))
    elif wanted in {"auto", "embedded"}:
        places.insert(0, (store_of(site), "models"))
    disks: dict[int, list[tuple[Path, str]]] = {}
    for place, what in places:
        folder = _nearest(place)
        disks.setdefault(folder.stat().st_dev, []).append((folder, what))
    for kept in disks.values():
        folder, what = kept[0][0], " and ".join(what for _, what in kept)
        free = shutil.disk_usage(folder).free
        text = f"{size_text(free)} free where {what} are kept ({folder})"
        remedy = "free some, or set OLLAMA_MODELS (models) or MODELFORGE_CACHE (downloads) to a larger disk"
        yield Finding(good=free >= LOW_DISK, text=text, remedy=remedy if free < LOW_DISK else None)


def _trouble(folder: Path) -> str:
    """The same for a folder."""
    above = _nearest(folder)
    if not above.is_dir():
        return f"{above} is no folder"
    if os.access(above, os.R_OK | os.W_OK | os.X_OK):
        return ""
    whose = f", it belongs to {owner}" if (owner := _owner(above)) else ""
    return f"{above} is not writable for this user{whose}"


def _nearest(folder: Path) -> Path:
    """The folder, or what is there of the path to it."""
    return next(path for path in (folder, *folder.parents) if _is_there(path))


def _is_there(path: Path) -> bool:
    """False, too, for what lies in a folder that this user may not look into."""
    try:
        return path.exists()
    except OSError:
        return False


def _stranger(folder: Path) -> str:
    """The user whose store this is, where it is another's and we can write there by root's rights alone."""
    is_other = _is_there(folder) and folder.stat().st_uid != os.geteuid()
    return _owner(folder) if is_other and os.geteuid() == 0 else ""


def _owner(path: Path) -> str:
    """The name, or the number, of the user that a file belongs to; "" where that cannot be seen."""
    try:
        number = path.stat().st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
