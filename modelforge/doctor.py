"""Findings about this machine, each with a remedy. Every check is on its own: one that fails hides no other."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.errors import ForgeError
from modelforge.finding import Finding
from modelforge.runtimes.choose import (
    access_of,
    docker_access,
    engine_is_likely,
    host_of,
    store_of,
    wanted_runtime,
)
from modelforge.units import GIB, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelforge.site import Site

LOW_DISK = 5 * GIB


def examine(site: Site) -> tuple[Finding, ...]:
    """All findings, in the order in which a build would meet them."""
    checks: tuple[Callable[[Site], Iterator[Finding]], ...] = (
        _project,
        _hardware,
        _server,
        _docker,
        _embedded,
        _state,
        _disk,
        _binaries,
        _proxy,
    )
    return tuple(finding for check in checks for finding in check(site))


def can_build(site: Site) -> bool:
    """Whether any runtime can be had."""
    try:
        with closing(access_of(site)) as access:
            access.check()
    except ForgeError:
        return False
    return True


def _first(error: ForgeError) -> tuple[str, str | None]:
    problem = error.problems[0]
    return problem.message, problem.hint


def _project(site: Site) -> Iterator[Finding]:
    from modelforge.overview import load_all  # noqa: PLC0415 (it brings the whole profile schema)

    profiles, errors = load_all(site)
    total = len(profiles) + len(errors)
    if total == 0:
        yield Finding(good=False, text=f"no profiles in {site.project.root}", remedy="modelforge init")
    elif errors:
        text = f"{len(errors)} of {_profiles(total)} in {site.project.root} not valid"
        yield Finding(good=False, text=text, remedy="modelforge validate")
    else:
        yield Finding(good=True, text=f"{_profiles(total)} in {site.project.root}, valid")


def _profiles(count: int) -> str:
    return "1 profile" if count == 1 else f"{count} profiles"


def _hardware(site: Site) -> Iterator[Finding]:
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


def _server(site: Site) -> Iterator[Finding]:
    from modelforge.runtimes.choose import open_ollama  # noqa: PLC0415

    if wanted_runtime(site) in {"embedded", "docker"}:
        return
    try:
        host = host_of(site)
        runtime = open_ollama(site, host)
    except ForgeError as error:
        text, remedy = _first(error)
        yield Finding(good=False, text=text, remedy=remedy)
        return
    yield Finding(good=True, text=f"Ollama {runtime.info.version} answers at {runtime.info.endpoint}")
    runtime.close()


def _docker(site: Site) -> Iterator[Finding]:
    wanted = wanted_runtime(site)
    if wanted != "docker" and not (wanted == "auto" and engine_is_likely(site)):
        return
    from modelforge.runtimes.docker.findings import findings  # noqa: PLC0415 (brings the SDK)

    try:
        access = docker_access(site)
    except ForgeError as error:
        text, remedy = _first(error)
        yield Finding(good=False, text=text, remedy=remedy)
        return
    yield from findings(site, access)


def _embedded(site: Site) -> Iterator[Finding]:
    if wanted_runtime(site) in {"ollama", "docker"}:
        return
    if find_spec("xllamacpp") is None:
        yield Finding(
            good=False,
            text="the embedded runtime cannot run tests: llama.cpp is not installed",
            remedy="pip install 'ollama-modelforge[embedded]'",
        )
        return
    store = store_of(site)
    trouble = _cannot_hold(store)
    if trouble:
        yield Finding(
            good=False,
            text=f"the embedded runtime's store {store} cannot be used ({trouble})",
            remedy="name a store of your own (store in modelforge.toml, or OLLAMA_MODELS)",
        )
        return
    yield Finding(good=True, text=f"the embedded runtime is installed; its store is {store}")


def _cannot_hold(folder: Path) -> str:
    """Why this user cannot keep files in a folder that need not be there yet; "" if nothing stands against it."""
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir():
        return f"{above} is no folder"
    return "" if os.access(above, os.R_OK | os.W_OK | os.X_OK) else f"{above} is not writable for this user"


def _state(site: Site) -> Iterator[Finding]:
    for folder, name in ((site.state, "STATE"), (site.cache, "CACHE")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".doctor"
            probe.touch()
            probe.unlink()
        except OSError as error:
            remedy = f"make it writable, or set MODELFORGE_{name} to another folder"
            yield Finding(good=False, text=f"{folder} cannot be written ({error.strerror})", remedy=remedy)


def _disk(site: Site) -> Iterator[Finding]:
    if wanted_runtime(site) == "docker":  # its volume is elsewhere, and was looked at
        return
    folder = store_of(site)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{size_text(free)} free where the store is ({folder})"
    if free < LOW_DISK:
        yield Finding(good=False, text=text, remedy="free some, or set OLLAMA_MODELS to a larger disk")
    else:
        yield Finding(good=True, text=text)


def _binaries(site: Site) -> Iterator[Finding]:
    folders = [Path(part) for part in site.environment.get("PATH", "").split(":") if part]
    found = {(folder / "ollama").resolve() for folder in folders if (folder / "ollama").is_file()}
    if len(found) > 1:
        text = f"{len(found)} ollama programs on PATH: {', '.join(sorted(map(str, found)))}"
        yield Finding(good=False, text=text, remedy="remove all but one, so that client and server agree")


def _proxy(site: Site) -> Iterator[Finding]:
    names = [
        name for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy") if site.environment.get(name)
    ]
    bypass = site.environment.get("NO_PROXY") or site.environment.get("no_proxy") or ""
    if names and not any(word in bypass for word in ("localhost", "127.0.0.1", "*")):
        yield Finding(
            good=False,
            text=f"{names[0]} is set; the 'ollama' command would ask the proxy for this machine's server",
            remedy="export NO_PROXY=localhost,127.0.0.1",
        )
