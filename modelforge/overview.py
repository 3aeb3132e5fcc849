"""Looking over a project: all its profiles, what is wrong with them, which hardware has a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.errors import ForgeError, NothingSelected
from modelforge.hardware import table
from modelforge.hardware.files import load_hardware
from modelforge.names import canonical
from modelforge.profile.load import load_profile, profile_names
from modelforge.settings import profile_problem
from modelforge.targets import named_by_profile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modelforge.profile import Profile
    from modelforge.site import Site


def load_all(site: Site) -> tuple[tuple[Profile, ...], tuple[ForgeError, ...]]:
    """The project's profiles that are valid, and the errors of the others."""
    return _load(site, profile_names(site.project))


def _load(site: Site, names: Sequence[str]) -> tuple[tuple[Profile, ...], tuple[ForgeError, ...]]:
    profiles, errors = [], []
    for name in names:
        try:
            profiles.append(load_profile(site.project, name))
        except ForgeError as error:
            errors.append(error)
    return tuple(profiles), tuple(errors)


def validate(site: Site, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[ForgeError, ...]]:
    """Checks the named profiles, or all profiles and hardware files: what was checked, and what is wrong.

    Raises:
        NothingSelected: there is nothing to check.
    """
    chosen = tuple(names) or profile_names(site.project)
    hardware = [] if names else sorted(site.project.hardware.glob("*.toml"))
    if not chosen and not hardware:
        raise NothingSelected(
            f"there are no profiles in {site.project.root}", hint="modelforge init starts a project"
        )
    profiles, errors = _load(site, chosen)
    found = [*errors, *_wrong_files(site, hardware)]
    for profile in profiles:
        found.extend(_unknown_hardware(site, profile))
    found.extend(_one_name_twice(profiles))
    found = _once(found)
    files = [*(site.project.profiles / f"{name}.toml" for name in chosen), *hardware]
    return tuple(str(file.relative_to(site.project.root)) for file in files), tuple(found)


def _wrong_files(site: Site, files: Sequence[Path]) -> list[ForgeError]:
    errors: list[ForgeError] = []
    for file in files:
        try:
            load_hardware(file, root=site.project.root)
        except ForgeError as error:
            errors.append(error)
    return errors


def _once(errors: Sequence[ForgeError]) -> list[ForgeError]:
    """A hardware file that is wrong is met again in each profile that names it."""
    return list({error.problems: error for error in reversed(errors)}.values())[::-1]


def _unknown_hardware(site: Site, profile: Profile) -> list[ForgeError]:
    errors: list[ForgeError] = []
    for name in dict.fromkeys((*profile.targets, *profile.overrides)):
        try:
            named_by_profile(site, profile, name)
        except ForgeError as error:
            errors.append(error)
    return errors


def _one_name_twice(profiles: Sequence[Profile]) -> list[ForgeError]:
    """Two profiles that would take turns at one name."""
    errors: list[ForgeError] = []
    owners: dict[str, Profile] = {}
    for profile in profiles:
        first = owners.setdefault(canonical(profile.model_name).casefold(), profile)
        if first is not profile:
            message = f"the model's name '{profile.model_name}' is that of {first.file}, too"
            errors.append(profile_problem(profile, "name", message, "give one of them another name"))
    return errors


def hardware_names(site: Site) -> Mapping[str, tuple[str, ...]]:
    """All names that -H takes, each with its aliases; the project's own first."""
    own = {file.stem: () for file in sorted(site.project.hardware.glob("*.toml"))}
    aliases = table.aliases()
    named = {
        name: tuple(sorted(alias for alias, of in aliases.items() if of == name)) for name in table.names()
    }
    return {**own, **{name: words for name, words in named.items() if name not in own}}
