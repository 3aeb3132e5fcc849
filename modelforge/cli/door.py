"""The one place where errors end: shown once, turned into the exit code that their class stands for."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from modelforge.cli import interrupts
from modelforge.cli.flags import Flags
from modelforge.errors import ExitCode, ForgeError, Interrupted, Problem, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Sequence


class InternalError(ForgeError):
    """A bug of ours."""

    exit_code = ExitCode.INTERNAL
    kind = "internal"


def enter(command: click.Command, arguments: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # noqa: ANN401
    """Runs `command` and exits with the code that its end stands for."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    flags = Flags(json="--json" in words, debug="--debug" in words)
    interrupts.listen()
    # a command makes many objects and drops few: looking for garbage every 700 is a twentieth of its time
    gc.set_threshold(1_000_000)
    # pydantic would read the metadata of every installed package to look for plugins, which we have none of
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    code = _run(command, words, flags, extra)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # the reader has gone, as `| head` does; nobody is left to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    for late in (signal.SIGINT, signal.SIGTERM):  # all is done: the code has to tell how it ended
        signal.signal(late, signal.SIG_IGN)
    # CPython notes an interrupt that passed through code made of text, a dataclass being made for one, and kills
    # itself with SIGINT after our exit code was set (`unhandled_keyboard_interrupt`); the next such code forgets it
    eval("None")  # noqa: S307
    sys.exit(code)


def _open_streams() -> None:
    """Python has None for a stream that was closed before it started, as `>&-` and some daemons do it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (ours to the end)


def _run(command: click.Command, words: list[str], flags: Flags, extra: dict[str, Any]) -> int:
    error: ForgeError
    try:
        # click puts `flags` itself at the root of its contexts: what a command line gave is seen here too
        done = command.main(args=words, prog_name="modelforge", standalone_mode=False, obj=flags, **extra)
    except (KeyboardInterrupt, click.Abort):
        error = Interrupted("interrupted")
    except click.ClickException as wrong:
        error = _usage(wrong)
    except ForgeError as wrong:
        error = wrong
        if flags.debug:
            import traceback  # noqa: PLC0415

            traceback.print_exc()
    except (Exception, SystemExit) as bug:  # noqa: BLE001 (the last place before the user)
        # how click ends when it completed a word, and where nobody reads its --help
        if isinstance(bug, SystemExit) and (bug.code == 0 or _reader_gone()):
            return ExitCode.OK
        error = Interrupted("interrupted") if interrupts.has_come() else _bug(bug, debug=flags.debug)
    else:
        return int(done) if isinstance(done, int) else ExitCode.OK
    return _show(flags, error)


def _reader_gone() -> bool:
    """Whether nobody can read our standard output any more."""
    import select  # noqa: PLC0415 (only then)

    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _show(flags: Flags, error: ForgeError) -> int:
    flags.console().error(error)
    return int(error.exit_code)


def _usage(error: click.ClickException) -> UsageProblem:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "modelforge"
    message = error.format_message()
    return UsageProblem(
        problems=[Problem(kind="usage", message=message[:1].lower() + message[1:], hint=f"{command} --help")]
    )


def _bug(error: BaseException, *, debug: bool) -> InternalError:
    import tempfile  # noqa: PLC0415 (only for bugs)
    import traceback  # noqa: PLC0415

    text = "".join(traceback.format_exception(error))
    if debug:
        sys.stderr.write(text)
    with tempfile.NamedTemporaryFile(
        "w", prefix="modelforge-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        log.write(text)
    return InternalError(
        f"this is a bug in modelforge: {type(error).__name__}: {error}",
        hint=f"the traceback is in {Path(log.name)}; please report it with that file",
    )
