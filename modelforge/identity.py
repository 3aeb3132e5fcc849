"""What makes two builds the same: digests of the plan and of all that the model gets, and the project's commit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from modelforge.bases import HubFile, LocalFile, LocalFolder, SplitModel
from modelforge.bases.quantized import weights_digest
from modelforge.errors import ForgeError
from modelforge.events import Progress
from modelforge.process import run
from modelforge.render import content_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelforge.render import Rendered
    from modelforge.resolve import Plan
    from modelforge.site import Site


def content_of(site: Site, made: Rendered) -> str:
    """`sha256:<hex>` of all that the model gets, the same on every machine. Hashes weights once per file."""
    source = made.base.source
    told = _progress(site, source) if isinstance(source, LocalFile | LocalFolder | SplitModel) else None
    weights = weights_digest(made.base, site.hashes, told)
    return content_digest(made, weights, [site.hashes.sha256(path) for path in made.request.adapters])


def _progress(site: Site, source: LocalFile | LocalFolder | SplitModel) -> Callable[[int], None]:
    first = source.parts[0] if isinstance(source, SplitModel) else source
    text = f"reading {first.path.rpartition('/')[2] if isinstance(first, HubFile) else first.path.name}"

    def told(done: int) -> None:
        site.emit(Progress(stage="import", text=text, done=done, total=source.bytes))

    return told


def plan_digest(decided: Plan) -> str:
    """`sha256:<hex>` of a decision: what was planned, for what, and what was picked."""
    picked = decided.picked
    facts = {
        "profile": decided.profile,
        "variant": decided.variant,
        "settings": asdict(decided.settings),
        "picked": picked.candidate.ref if picked else None,
        "quant": picked.candidate.quant if picked else None,
        "bytes": asdict(picked.bytes) if picked else None,
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def commit_of(site: Site) -> str:
    """The project's commit, `-dirty` behind it where files differ from it; "" where it is in no git."""
    try:
        done = run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"], folder=site.project.root, seconds=10
        )
    except ForgeError:
        return ""
    return done.stdout.strip() if done.code == 0 else ""
