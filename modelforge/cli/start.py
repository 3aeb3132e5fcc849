"""The commands of the first minute: init, doctor, completion."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelforge.cli.flags import common_flags, flags_of
from modelforge.cli.site import site_of
from modelforge.errors import ExitCode, UsageProblem
from modelforge.scaffold import PROFILE_NAME, Found, new_project

if TYPE_CHECKING:
    from modelforge.scaffold import NewFile


@click.command("init")
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@common_flags
@click.pass_context
def init_command(ctx: click.Context, directory: Path) -> int:
    """Start a project that builds at once.

    Takes what this machine has: a GGUF file in DIR, else the largest model of the Ollama server that answers which
    fits, else a tiny demo model that is copied into the project. Files that are there are left as they are.
    """
    from modelforge import report  # noqa: PLC0415
    from modelforge.starting import starting_point  # noqa: PLC0415 (it can plan, so it brings nearly all)

    flags = flags_of(ctx)
    root = flags.start() / directory
    paths = [file.path for file in new_project(Found(model="")) if file.path != ".gitignore"]
    taken = [path for path in paths if os.path.lexists(root / path)]
    if taken:
        raise UsageProblem(f"{root} has a project already: {', '.join(taken)}", hint="choose another folder")
    found = starting_point(site_of(flags), root)
    files = new_project(found, has_gitignore=os.path.lexists(root / ".gitignore"))
    try:
        written = [file for file in files if _write(root, file)]
    except OSError as error:
        where = error.filename2 or error.filename or root
        raise UsageProblem(
            f"{where} cannot be written ({error.strerror})", hint="choose another folder"
        ) from error
    console = flags.console()
    if flags.json:
        console.document(report.init_document(root, written))
        return ExitCode.OK
    width = max(len(file.path) for file in written)
    console.show([f"  {file.path:{width}}  {file.purpose}" for file in written])
    place = "" if directory == Path() else f"cd {shlex.quote(str(directory))} && "
    console.show(["", f"{place}modelforge build {PROFILE_NAME}"])
    return ExitCode.OK


def _write(root: Path, file: NewFile) -> bool:
    path = root / file.path
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.copy_of is not None:
        shutil.copyfile(file.copy_of, path)
    else:
        path.write_text(file.text, encoding="utf-8")
    return True


@click.command("doctor")
@common_flags
@click.pass_context
def doctor_command(ctx: click.Context) -> int:
    """Look for what would get in the way, with a remedy each.

    Exits 0 if a runtime can be had, else 10.
    """
    from modelforge import report  # noqa: PLC0415
    from modelforge.doctor import examine  # noqa: PLC0415
    from modelforge.views.machines import doctor_lines  # noqa: PLC0415

    flags = flags_of(ctx)
    found = examine(site_of(flags))
    code = ExitCode.OK if found.ready else ExitCode.UNREACHABLE
    console = flags.console()
    if flags.json:
        console.document(report.doctor_document(found.findings, code))
    else:
        console.show(doctor_lines(found.findings))
    return code


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_flags
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> int:
    """Print the completion script of a shell.

    For example: eval "$(modelforge completion bash)"
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    found = get_completion_class(shell)
    if found is None:
        raise UsageProblem(f"no completion for {shell}")
    script = found(ctx.find_root().command, {}, "modelforge", "_MODELFORGE_COMPLETE").source()
    flags = flags_of(ctx)
    if flags.json:
        from modelforge import report  # noqa: PLC0415

        flags.console().document(report.document("completion", 0, (), {"shell": shell, "script": script}))
    flags.console().show(script.splitlines())
    return ExitCode.OK
