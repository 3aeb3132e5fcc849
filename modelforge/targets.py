"""Which profiles are meant, for which hardware, and where: from the words of a command to `Target`s."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from modelforge.errors import NothingSelected, ProfileProblem, UsageProblem
from modelforge.hardware import THIS, Hardware, choose
from modelforge.profile.load import load_profile, profile_names
from modelforge.serving import need_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from modelforge.bases import Found
    from modelforge.bases.hubsource import HubSource
    from modelforge.bases.registrysource import Source
    from modelforge.profile import Profile
    from modelforge.profile.schema import Base
    from modelforge.registry.client import Registry
    from modelforge.runtimes import Need, Runtime
    from modelforge.runtimes.choose import Access
    from modelforge.site import Site


LATEST = "latest"
"""The tag of what is built for the runtime's own machine. No hardware has it as its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A profile for a hardware: the profile has that hardware's overrides."""

    profile: Profile
    hardware: Hardware
    tag: str
    notes: tuple[str, ...] = ()

    @property
    def need(self) -> Need:
        """What a server that is started for it has to have."""
        return need_of(self.profile, self.hardware)


@dataclass(kw_only=True, slots=True)
class Work:
    """A site and the runtime that its command works on, which is opened when it is first needed.

    While a command only looks, `found` keeps the candidates of each base, and `named` each hardware by its name.
    `connect` opens a registry, by its host and whether it is to be asked over plain http, `connect_hub` Hugging Face;
    None: over the network.
    """

    site: Site
    access: Access
    found: dict[tuple[Base, Path], Found] = field(default_factory=dict)
    named: dict[str, Hardware] = field(default_factory=dict)
    connect: Callable[[str, bool], Registry] | None = None
    sources: dict[tuple[str, bool], Source] = field(default_factory=dict)
    connect_hub: Callable[[], HubSource] | None = None
    hubs: list[HubSource] = field(default_factory=list)

    def runtime(self, need: Need | None = None) -> Runtime:
        """The runtime, the same one each time; one that we start has what is needed."""
        return self.access.open(need)

    def source(self, host: str, *, insecure: bool) -> Source:
        """What is known of a registry, the same each time, so that nothing is asked of it twice."""
        key = (host, insecure)
        if key not in self.sources:
            from modelforge.bases.registrycache import Kept  # noqa: PLC0415 (only where a base is in a registry)
            from modelforge.bases.registrysource import Source  # noqa: PLC0415

            kept = Kept(self.site.cache / "registry", self.site.now)
            connect = self.connect or self._connect
            self.sources[key] = Source(connect(host, insecure), kept, self.site.emit)
        return self.sources[key]

    def _connect(self, host: str, insecure: bool) -> Registry:  # noqa: FBT001 (as `connect` is called)
        from modelforge.registry.client import open_registry  # noqa: PLC0415 (brings the HTTP client)

        return open_registry(
            host,
            insecure=insecure,
            environment=self.site.environment,
            home=self.site.home,
            timeouts=self.site.project.settings.timeouts,
        )

    def hub(self) -> HubSource:
        """What is known of Hugging Face, the same each time.

        Raises:
            NoLibrary: its library is not installed.
        """
        if not self.hubs:
            self.hubs.append((self.connect_hub or self._connect_hub)())
        return self.hubs[0]

    def _connect_hub(self) -> HubSource:
        from modelforge.bases.hubsource import open_hub  # noqa: PLC0415 (brings the HTTP client)
        from modelforge.bases.registrycache import Kept  # noqa: PLC0415

        return open_hub(
            self.site.environment,
            Kept(self.site.cache / "hub", self.site.now),
            downloads=self.site.downloads,
            timeouts=self.site.project.settings.timeouts,
            emit=self.site.emit,
        )

    def machine(self) -> Hardware | None:
        """The machine that models run on there; None if nobody told us what it is."""
        return self.access.machine()

    def has_gpu(self) -> bool:
        """Whether that machine may have a GPU; of another machine nobody knows."""
        machine = self.machine()
        return machine is None or machine.backend != "cpu"

    def is_here(self, target: Target) -> bool:
        """Whether the runtime's machine is what a target is for; not for one that nobody told us about."""
        if target.tag == LATEST:
            return True
        machine = self.machine()
        return machine is not None and choose.same(target.hardware, machine)

    def close(self) -> None:
        """Lets go of the runtime and of registries, where they were opened."""
        for source in self.sources.values():
            source.close()
        for hub in self.hubs:
            hub.close()
        self.access.close()


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
        chosen = tuple(name for name in chosen if fnmatchcase(name, pattern.partition("@")[0] or "*"))
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
    """The targets of several profiles, in the order of the names.

    Raises:
        NothingSelected: none of them has a hardware that the pattern's part after '@' matches.
        UsageProblem: two of them would take turns at one name.
    """
    found = [
        target
        for name in dict.fromkeys(names)
        for target in targets(work, name, hardware, all_hardware=all_hardware, pattern=pattern)
    ]
    if not found:
        raise NothingSelected(
            f"no target matches '{pattern}'", hint="modelforge list --json shows each profile's targets"
        )
    _one_name_each(found)
    return tuple(found)


def targets(
    work: Work, name: str, hardware: Sequence[str], *, all_hardware: bool = False, pattern: str | None = None
) -> tuple[Target, ...]:
    """A profile on each hardware that is meant: the named ones, all its targets, or this machine.

    Nothing where the pattern's part after '@' matches none of them.
    """
    site = work.site
    profile = load_profile(site.project, name)
    wanted = tuple(hardware)
    if all_hardware:
        wanted += profile.targets
    glob = pattern.partition("@")[2] if pattern else ""
    if glob:
        wanted = tuple(target for target in wanted or profile.targets if fnmatchcase(target, glob))
    elif not wanted:
        wanted = (THIS,)
    found: dict[str, Target] = {}
    for word in wanted:
        target = _target(work, profile, word)
        found.setdefault(target.tag, target)  # one hardware may be named twice, by its name and an alias
    return tuple(found.values())


def _one_name_each(found: Sequence[Target]) -> None:
    owners: dict[str, Target] = {}
    for target in found:
        name = f"{target.profile.model_name}:{target.tag}"
        first = owners.setdefault(name.casefold(), target)
        if first is not target:
            raise UsageProblem(
                f"{first.profile.name} and {target.profile.name} would both be built as {name}",
                hint=f"give one of them another 'name': {first.profile.file}, {target.profile.file}",
            )


def _target(work: Work, profile: Profile, name: str) -> Target:
    site = work.site
    if name.casefold() == THIS:
        return _this(work, profile)
    hardware = work.named.get(name)
    if hardware is None and name in profile.targets:
        hardware = named_by_profile(site, profile, name)
    elif hardware is None:
        hardware = choose.by_name(name, folder=site.project.hardware, probe=site.probe)
    if site.look:
        work.named[name] = hardware
    return Target(profile=_on(work, profile, hardware), hardware=hardware, tag=hardware.name)


def named_by_profile(site: Site, profile: Profile, name: str) -> Hardware:
    """The hardware that a profile's [hardware] means by a name.

    Raises:
        ProfileProblem: there is none, at the line that names it; or its own file is wrong.
    """
    try:
        return choose.by_name(name, folder=site.project.hardware, probe=site.probe)
    except ProfileProblem:
        raise
    except UsageProblem as error:
        from modelforge.profile.place import hardware_problem  # noqa: PLC0415 (only where something is wrong)

        at = ("targets", profile.targets.index(name)) if name in profile.targets else (name,)
        raise hardware_problem(site.project, profile, ("hardware", *at), error.problems[0]) from None


def _on(work: Work, profile: Profile, hardware: Hardware) -> Profile:
    """The profile with the overrides of a hardware, by whichever of its names they were written."""
    for name in profile.overrides:
        known = named_by_profile(work.site, profile, name)
        if known.name == hardware.name:
            return profile.on(name)
    return profile


def _this(work: Work, profile: Profile) -> Target:
    """The runtime's machine; a target of the profile that is the same machine lends its overrides."""
    hardware = runtime_machine(work)
    if not profile.overrides:  # then it is all one which target this machine is
        return Target(profile=profile, hardware=hardware, tag=LATEST)
    for target in dict.fromkeys((*profile.targets, *profile.overrides)):
        known = named_by_profile(work.site, profile, target)
        if choose.same(known, hardware):
            lent = _on(work, profile, known)
            note = f"this machine is {target}: its overrides apply" if lent is not profile else ""
            notes = (note,) if note else ()
            return Target(profile=lent, hardware=hardware, tag=LATEST, notes=notes)
    return Target(profile=profile, hardware=hardware, tag=LATEST)


def runtime_machine(work: Work) -> Hardware:
    """The runtime's machine.

    Raises:
        UsageProblem: nobody told us what it is.
    """
    machine = work.machine()
    if machine is not None:
        return machine
    where = work.access.where
    raise UsageProblem(
        f"the hardware of {where} is not known from here",
        hint="say what it has with -H, or in modelforge.toml:\n"
        f'[hosts.NAME]\nurl = "{where}"\nhardware = "rtx-4090"',
    )
