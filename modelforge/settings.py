"""How the server will run a model: what its memory and speed depend on, from profile to numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from modelforge.engines import LLAMA_SERVER
from modelforge.errors import Problem, ProfileProblem
from modelforge.units import GIB, parse_size

if TYPE_CHECKING:
    from modelforge.profile import Profile

NEWEST_ENGINE = "0.32"
DEFAULT_CONTEXT = 4096
DEFAULT_HEADROOM = GIB
"""llama.cpp's own margin on each device (`--fit-target`)."""
LARGE_CONTEXT = 32768
_PLACE = re.compile(r"(.+):(\d+):(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """How the server will run the model; what the memory depends on. Tokens, bytes.

    `num_batch` is the physical batch too, as Ollama sets both. `kv_cache` is the type of keys and values.
    `engine` is the `major.minor` of Ollama. `drafts`: tokens that draft layers (MTP) predict at a time; Ollama
    loads those layers only if that is set.
    """

    num_ctx: int
    num_batch: int
    parallel: int
    kv_cache: str
    flash_attention: str
    headroom: int
    engine: str
    prefer: str
    num_ctx_is_default: bool
    drafts: int = 0

    @property
    def version(self) -> tuple[int, int]:
        """The engine's `major.minor` as numbers."""
        return _numbers(self.engine)

    @property
    def old_engine(self) -> bool:
        """Whether that Ollama still plans and runs by itself."""
        return _numbers(self.engine) < LLAMA_SERVER

    @property
    def mixed_batches(self) -> bool:
        """Whether its llama.cpp takes batches of tokens and embeddings: not yet in b10488, which 0.32 starts."""
        return _numbers(self.engine) > (0, 32)


def run_settings(profile: Profile, training_context: int) -> RunSettings:
    """The settings of a profile for models trained on `training_context` tokens.

    Without `num_ctx` it is 4096, or the training context where that is less. Without `num_batch` it is what
    Ollama takes for a context of that size, at its largest: with little memory left it may take less.
    """
    asked = profile.parameters.num_ctx
    num_ctx = asked if asked is not None else min(DEFAULT_CONTEXT, training_context)
    resolve = profile.resolve
    off = resolve.flash_attention == "off"
    return RunSettings(
        num_ctx=num_ctx,
        num_batch=profile.parameters.num_batch or automatic_batch(num_ctx * resolve.parallel, flash=not off),
        parallel=resolve.parallel,
        kv_cache=resolve.kv_cache,
        flash_attention=resolve.flash_attention,
        headroom=DEFAULT_HEADROOM if resolve.headroom is None else parse_size(resolve.headroom),
        engine=_engine(resolve.engine),
        prefer=resolve.prefer,
        num_ctx_is_default=asked is None,
        drafts=profile.parameters.draft_num_predict or 0,
    )


def automatic_batch(context: int, *, flash: bool = True) -> int:
    """Ollama's batch for a context of so many tokens over all requests (server/sched.go, 0.32).

    Where its rough forecast leaves little memory it takes a smaller one; that is not counted on.
    """
    if context <= DEFAULT_CONTEXT or not flash:
        return 512
    return 1024 if context <= LARGE_CONTEXT else 2048


def profile_problem(profile: Profile, key: str, message: str, hint: str) -> ProfileProblem:
    """A `ProfileProblem` at the place where a dotted key was set, or at the profile's file."""
    file, line, column = place_of(profile, key)
    kind = ProfileProblem.kind
    problem = Problem(message=message, kind=kind, file=file, line=line, column=column, hint=hint)
    return ProfileProblem(problems=[problem])


def place_of(profile: Profile, key: str) -> tuple[str, int | None, int | None]:
    """File, line and column where a dotted key was set; the profile's file alone where it was not."""
    place = _PLACE.fullmatch(profile.origins.get(key, profile.file))
    return (place[1], int(place[2]), int(place[3])) if place else (profile.file, None, None)


@lru_cache(maxsize=64)
def _numbers(engine: str) -> tuple[int, int]:
    major, minor = engine.split(".")
    return int(major), int(minor)


def _engine(text: str | None) -> str:
    """`major.minor` of a version; a plain build, which calls itself 0.0.0, is taken as the newest."""
    if text is None or text.startswith("0.0"):
        return NEWEST_ENGINE
    return ".".join(text.split(".")[:2])
