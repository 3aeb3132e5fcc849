"""Which profiles are meant, for which hardware, and where: from the words of a command to `Target`s."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from modelforge.errors import NothingSelected, UsageProblem
from modelforge.hardware import THIS, Hardware, choose
from modelforge.profile.load import load_profile, profile_names
from modelforge.runtimes.choose import remote_host
from modelforge.runtimes.ollama_host import parse_host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelforge.profile import Profile
    from modelforge.runtimes import Runtime
    from modelforge.site import Site


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A profile for a hardware: the profile has that hardware's overrides. `here`: it is the runtime's machine."""

    profile: Profile
    hardware: Hardware
    tag: str
    here: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A site with its runtime, which is opened when it is first needed."""

    site: Site
    open: Callable[[], Runtime]
    opened: list[Runtime] = field(default_factory=list)

    def runtime(self) -> Runtime:
        """The runtime, the same one each time."""
        if not self.opened:
            self.opened.append(self.open())
        return self.opened[0]

    def close(self) -> None:
        """Lets go of the runtime, if it was opened."""
        while self.opened:
            self.opened.pop().close()


def select(site: Site, names: Sequence[str], *, every: bool, pattern: str | None) -> tuple[str, ...]:
    """The profiles meant by names, `--all` and `--select`.

    Raises:
        UsageProblem: none were named at all.
        NothingSelected: they match nothing.
    """
    own = profile_names(site.project)
    if not names and not every and pattern is None:
        raise UsageProblem(
            "which profile?", hint=f"name one of: {', '.join(own) or '(there are none)'}; or --all"
        )
    chosen = tuple(names) or own
    if pattern is not None:
        chosen = tuple(name for name in chosen if fnmatchcase(name, pattern.partition("@")[0]))
    if not chosen:
        raise NothingSelected(
            f"no profile matches in {site.project.root}", hint="modelforge list shows what there is"
        )
    return chosen


def all_targets(
    work: Work,
    names: Sequence[str],
    hardware: Sequence[str],
    *,
    all_hardware: bool = False,
    pattern: str | None = None,
) -> tuple[Target, ...]:
    """The targets of several profiles, in the order of the names."""
    return tuple(
        target
        for name in names
        for target in targets(work, name, hardware, all_hardware=all_hardware, pattern=pattern)
    )


def targets(
    work: Work, name: str, hardware: Sequence[str], *, all_hardware: bool = False, pattern: str | None = None
) -> tuple[Target, ...]:
    """A profile on each hardware that is meant: the named ones, all its targets, or this machine."""
    site = work.site
    profile = load_profile(site.project, name)
    wanted = tuple(hardware)
    if all_hardware:
        wanted += tuple(target for target in profile.targets if target not in wanted)
    glob = pattern.partition("@")[2] if pattern else ""
    if glob:
        wanted = tuple(target for target in wanted or profile.targets if fnmatchcase(target, glob))
        if not wanted:
            raise NothingSelected(f"no target of {name} matches '{glob}'")
    return tuple(_target(work, profile, target) for target in wanted or (THIS,))


def _target(work: Work, profile: Profile, name: str) -> Target:
    site = work.site
    if name == THIS:
        return _this(work, profile)
    hardware = choose.by_name(name, folder=site.project.hardware, probe=site.probe)
    return Target(
        profile=_on(work, profile, hardware),
        hardware=hardware,
        tag=hardware.name,
        here=choose.same(hardware, site.probe()),
    )


def _on(work: Work, profile: Profile, hardware: Hardware) -> Profile:
    """The profile with the overrides of a hardware, by whichever of its names they were written."""
    for name in profile.overrides:
        known = choose.by_name(name, folder=work.site.project.hardware, probe=work.site.probe)
        if known.name == hardware.name:
            return profile.on(name)
    return profile


def _this(work: Work, profile: Profile) -> Target:
    """The runtime's machine; a target of the profile that is the same machine lends its overrides."""
    hardware = _runtime_machine(work)
    for target in profile.targets:
        known = choose.by_name(target, folder=work.site.project.hardware, probe=work.site.probe)
        if choose.same(known, hardware):
            note = f"this machine is {target}: its overrides apply" if target in profile.overrides else ""
            notes = (note,) if note else ()
            return Target(profile=profile.on(target), hardware=hardware, tag="latest", here=True, notes=notes)
    return Target(profile=profile, hardware=hardware, tag="latest", here=True)


def _runtime_machine(work: Work) -> Hardware:
    site = work.site
    host = remote_host(site)
    if host is None:
        return site.probe()
    for name, known in site.project.settings.hosts.items():
        if known.hardware and parse_host(known.url, source=f"[hosts.{name}]").url == host.url:
            found = choose.by_name(known.hardware, folder=site.project.hardware, probe=site.probe)
            return replace(found, description=f"{name}, as modelforge.toml says")
    raise UsageProblem(
        f"the hardware of {host.url} is not known from here",
        hint="say what it has with -H, or in modelforge.toml:\n"
        f'[hosts.NAME]\nurl = "{host.url}"\nhardware = "rtx-4090"',
    )
