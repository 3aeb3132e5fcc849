"""Everything that can go wrong, one class for each exit code. Imports nothing of the project.

A stage raises a `ForgeError`; the command line catches it in one place, shows it and exits with the
class's code. One error may carry many `Problem`s: a profile with three mistakes names all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class ExitCode(IntEnum):
    """What a caller can rely on; documented in docs/reference/exit-codes.md."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    NOTHING_SELECTED = 3
    DOES_NOT_FIT = 4
    LOCK_STALE = 5
    CHANGES_PENDING = 6
    BUILD_FAILED = 7
    SMOKE_FAILED = 8
    PROMOTE_FAILED = 9
    UNREACHABLE = 10
    INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong: what, where, what was expected and what to do.

    `line` and `column` count from 1, the column in characters. `source` is the text of that line and
    `width` how many of its characters are meant, for the caret line under it.
    """

    message: str
    kind: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    expected: str | None = None
    hint: str | None = None
    source: str | None = None
    width: int = 1

    @property
    def place(self) -> str:
        """`file:line:column` in one piece, as much of it as is known."""
        parts = [self.file, self.line, self.column]
        known = parts[: parts.index(None)] if None in parts else parts
        return ":".join(str(part) for part in known)


class ForgeError(Exception):
    """Base of all errors that are the user's to see. Never raised itself."""

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL
    kind: ClassVar[str] = "error"

    def __init__(
        self, message: str = "", *, hint: str | None = None, problems: Collection[Problem] = ()
    ) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems) or (
            Problem(message=message, kind=self.kind, hint=hint),
        )
        self.summary = message if problems else ""
        super().__init__(message or "; ".join(problem.message for problem in self.problems))


class UsageProblem(ForgeError):
    """A wrong flag, setting, or a name that is not there."""

    exit_code = ExitCode.USAGE
    kind = "usage"


class ProfileProblem(UsageProblem):
    """A profile, hardware file or project file that does not say something valid."""

    kind = "profile"


class TemplateProblem(UsageProblem):
    """A Jinja template that does not render to a valid Modelfile."""

    kind = "template"


class BaseProblem(UsageProblem):
    """A base model that is missing or unreadable."""

    kind = "base"


class NothingSelected(ForgeError):
    """Valid, but matches nothing."""

    exit_code = ExitCode.NOTHING_SELECTED
    kind = "nothing-selected"


class DoesNotFit(ForgeError):
    """No candidate fits the hardware."""

    exit_code = ExitCode.DOES_NOT_FIT
    kind = "does-not-fit"


class LockStale(ForgeError):
    """The lock does not describe the profiles as they are."""

    exit_code = ExitCode.LOCK_STALE
    kind = "lock-stale"


class ChangesPending(ForgeError):
    """What stands differs from what the profiles say."""

    exit_code = ExitCode.CHANGES_PENDING
    kind = "changes-pending"


class BuildFailed(ForgeError):
    """The model could not be made: the server refused or died, the disk is full, the store read-only."""

    exit_code = ExitCode.BUILD_FAILED
    kind = "build"


class SmokeFailed(ForgeError):
    """A smoke test failed or could not run."""

    exit_code = ExitCode.SMOKE_FAILED
    kind = "smoke"


class PromoteFailed(ForgeError):
    """The name could not be moved to the tested model, or is held by another build."""

    exit_code = ExitCode.PROMOTE_FAILED
    kind = "promote"


class Unreachable(ForgeError):
    """Nothing answers, or what answers is not what was asked for."""

    exit_code = ExitCode.UNREACHABLE
    kind = "unreachable"


class Interrupted(ForgeError):
    """Ctrl-C or SIGTERM."""

    exit_code = ExitCode.INTERRUPTED
    kind = "interrupted"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was probably meant to be, or None."""
    import difflib  # noqa: PLC0415 (only where something is wrong)

    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`did you mean 'x'?` for the nearest known name, or None."""
    name = nearest(word, known)
    return f"did you mean '{name}'?" if name else None
