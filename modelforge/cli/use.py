"""The commands about models that stand: smoke, run, rollback, history."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelforge import models, targets
from modelforge.cli.complete import hardware_names, profile_names
from modelforge.cli.flags import common_flags, flags_of, gpus_flag
from modelforge.cli.site import working
from modelforge.errors import ExitCode, SmokeFailed, UsageProblem

if TYPE_CHECKING:
    from modelforge.smoke import SmokeReport


@click.command("smoke")
@click.argument("profile", shell_complete=profile_names)
@click.option(
    "-H", "--hardware", metavar="NAME", shell_complete=hardware_names, help="The variant for this hardware."
)
@click.option("--name", help="The model to ask, instead of the profile's own name.")
@click.option(
    "--junit",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the results as JUnit XML.",
)
@gpus_flag
@common_flags
@click.pass_context
def smoke_command(
    ctx: click.Context, profile: str, hardware: str | None, name: str | None, junit: Path | None
) -> int:
    """Run a profile's tests against its built model.

    Asks the model that stands under the profile's name on the runtime that last promoted it; builds nothing.
    """
    from modelforge import report  # noqa: PLC0415
    from modelforge.smoke import count_text  # noqa: PLC0415

    flags = flags_of(ctx)
    console = flags.console()
    with working(flags) as work:
        target = targets.targets(work, profile, (hardware,) if hardware else ())[0]
        full, found = models.smoke_standing(work, target, name=name)
    error = None if found.passed else SmokeFailed(count_text(found))
    code = int(error.exit_code) if error else int(ExitCode.OK)
    if junit is not None:
        _write_junit(junit, full, found)
    if flags.json:
        console.document(report.smoke_document(full, found, code, [error] if error else []))
    elif error is None:
        console.show([f"{full}: {count_text(found)}"])
    else:  # the failed tests were told already, one by one
        console.talk([f"{full}: {count_text(found)}"])
    return code


def _write_junit(file: Path, name: str, found: SmokeReport) -> None:
    from modelforge.junit import junit_of_smoke  # noqa: PLC0415

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(junit_of_smoke(name, found), encoding="utf-8")
    except OSError as error:
        raise UsageProblem(f"--junit {file} cannot be written: {error.strerror}") from error


@click.command("run")
@click.argument("name", shell_complete=profile_names)
@click.argument("prompt", required=False)
@gpus_flag
@common_flags
@click.pass_context
def run_command(ctx: click.Context, name: str, prompt: str | None) -> int:
    """Ask a built model; the answer as it comes.

    NAME is a model's or a profile's. Without PROMPT it is read from standard input.
    """
    flags = flags_of(ctx)
    console = flags.console()
    text = prompt if prompt is not None else _read_prompt()
    with working(flags) as work:
        full = models.full_name(work.site, name)
        reply = models.ask(work, full, text, None if flags.json else console.stream)
    if flags.json:
        from modelforge.report import run_document  # noqa: PLC0415

        console.document(run_document(full, reply))
    else:
        console.stream("\n")
    return ExitCode.OK


def _read_prompt() -> str:
    if sys.stdin.isatty():
        raise UsageProblem("no prompt", hint='give it as an argument: modelforge run NAME "Who are you?"')
    return sys.stdin.read()


@click.command("rollback")
@click.argument("name", shell_complete=profile_names)
@common_flags
@click.pass_context
def rollback_command(ctx: click.Context, name: str) -> int:
    """Back to what stood before.

    Swaps NAME with the newest model that was kept for it; a second rollback swaps them again.
    """
    from modelforge import report  # noqa: PLC0415
    from modelforge.views.changes import rollback_lines  # noqa: PLC0415

    flags = flags_of(ctx)
    with working(flags) as work:
        entry = models.rollback_name(work, name)
    console = flags.console()
    if flags.json:
        console.document(report.rollback_document(entry))
    else:
        console.show(rollback_lines(entry))
    return ExitCode.OK


@click.command("history")
@click.argument("name", shell_complete=profile_names)
@common_flags
@click.pass_context
def history_command(ctx: click.Context, name: str) -> int:
    """What stood under a name, and when.

    From this machine's journal, newest first.
    """
    from modelforge import report  # noqa: PLC0415
    from modelforge.views.builds import history_lines  # noqa: PLC0415

    flags = flags_of(ctx)
    console = flags.console()
    with working(flags) as work:
        full, entries = models.history(work, name)
    if flags.json:
        console.document(report.history_document(full, entries))
    else:
        console.show(history_lines(full, entries))
    return ExitCode.OK
