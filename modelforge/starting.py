"""What a new project can build on here: a file in its folder, else a model of the server, else the demo model."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from modelforge.errors import ForgeError, Unreachable
from modelforge.names import is_reserved
from modelforge.pipeline import plan
from modelforge.profile.load import load_profile
from modelforge.project import find_project
from modelforge.resources import demo_model
from modelforge.runtimes import OWN
from modelforge.runtimes.choose import access_of
from modelforge.scaffold import PROFILE_NAME, Found, new_project
from modelforge.site import hasty
from modelforge.targets import LATEST, Target, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from modelforge.profile import Profile
    from modelforge.resolve import Assessed
    from modelforge.site import Site

FAST = 10.0
"""Tokens a second, with which the first test ends in time; a smaller model is taken before a slower one."""
_NO_WEIGHTS = 1 << 16
"""Bytes: a model of a server that only names one elsewhere has some hundred, weights have more than this."""


def starting_point(site: Site, root: Path) -> Found:
    """The first model that fits this machine and can answer, of those that are here.

    Args:
        site: where `init` was called; nothing is changed there.
        root: the new project's folder, which need not be there.
    """
    quiet = replace(site, look=True, emit=lambda _event: None)
    work = Work(site=quiet, access=access_of(quiet))
    try:
        found = _best(work, root, _files(root)) or _best(work, root, _served(work))
    finally:
        work.close()
    return found or Found(model=f"./models/{demo_model().name}", training_context=1024, demo=demo_model())


def _files(root: Path) -> Iterator[Found]:
    """The GGUF files of the folder."""
    for path in (*sorted(root.glob("*.gguf")), *sorted(root.glob("models/*.gguf"))):
        yield Found(model=f"./{path.relative_to(root).as_posix()}")


def _served(work: Work) -> Iterator[Found]:
    """The models of the server that answers, largest first, without ours and those that it has no weights of."""
    try:
        with closing(access_of(hasty(work.site))) as access:
            access.check()
            if access.kind != "ollama" or access.machine() is None:
                return
        entries = work.runtime().list()
    except ForgeError:
        return
    host = work.access.where if work.site.host_given else None
    for entry in sorted(entries, key=lambda entry: -entry.bytes):
        repository, _, tag = entry.name.rpartition(":")
        ours = repository in {*OWN, PROFILE_NAME}
        if not ours and not is_reserved(tag) and entry.bytes > _NO_WEIGHTS:
            yield Found(model=entry.name, host=host)


def _best(work: Work, root: Path, there: Iterable[Found]) -> Found | None:
    """The first that fits and is fast enough, else the fastest that fits."""
    fallback: tuple[float, Found] | None = None
    for found in there:
        try:
            picked = _picked(work, root, found)
        except ForgeError:
            continue
        if picked is None or picked.candidate.shape.encoder:
            continue
        known = replace(found, training_context=picked.candidate.shape.training_context)
        speed = picked.tokens_per_second[0] if picked.tokens_per_second else FAST
        if speed >= FAST:
            return known
        if fallback is None or speed > fallback[0]:
            fallback = speed, known
    return fallback[1] if fallback else None


def _picked(work: Work, root: Path, found: Found) -> Assessed | None:
    """What a plan for the runtime's machine would pick in a project with that model."""
    profile = _profile(found, root)
    machine = work.machine()
    if machine is None:
        raise Unreachable("nobody told what the server's machine is")
    return plan(work, Target(profile=profile, hardware=machine, tag=LATEST)).picked


def _profile(found: Found, root: Path) -> Profile:
    """The profile that `init` would write, as if it were there."""
    with TemporaryDirectory(prefix="modelforge-") as name:
        folder = Path(name)
        for file in new_project(found):
            if file.copy_of is None:
                (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
                (folder / file.path).write_text(file.text, encoding="utf-8")
        return replace(load_profile(find_project(folder, environment={}), PROFILE_NAME), root=root)
