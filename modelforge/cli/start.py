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
from modelforge.errors import ExitCode, ForgeError, UsageProblem
from modelforge.scaffold import Found, NewFile, new_project

if TYPE_CHECKING:
    from modelforge.site import Site


@click.command("init")
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@common_flags
@click.pass_context
def init_command(ctx: click.Context, directory: Path) -> int:
    """Start a project that builds at once.

    Takes what this machine has: GGUF files in DIR, else a model of the Ollama server that answers, else a tiny demo
    model that is copied into the project. Files that are there are left as they are.
    """
    from modelforge import report  # noqa: PLC0415

    flags = flags_of(ctx)
    root = flags.start() / directory
    paths = [file.path for file in new_project(Found(model="")) if file.path != ".gitignore"]
    taken = [path for path in paths if os.path.lexists(root / path)]
    if taken:
        raise UsageProblem(f"{root} has a project already: {', '.join(taken)}", hint="choose another folder")
    try:
        written = [file for file in new_project(_found(site_of(flags), root)) if _write(root, file)]
    except OSError as error:
        where = error.filename or root
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
    console.show(["", f"{place}modelforge build assistant"])
    return ExitCode.OK


def _found(site: Site, root: Path) -> Found:
    from modelforge.resources import demo_model  # noqa: PLC0415

    own = _local(site, root)
    if own is not None:
        return own
    served = _served(site)
    if served is not None:
        return Found(model=served)
    source = demo_model()
    target = root / "models" / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return Found(model=f"./models/{source.name}", training_context=1024, demo=True)


def _local(site: Site, root: Path) -> Found | None:
    """The first GGUF file in the folder that a plan could be made for."""
    from modelforge.bases.local import local_candidates  # noqa: PLC0415
    from modelforge.profile.schema import Base  # noqa: PLC0415

    for path in (*sorted(root.glob("*.gguf")), *sorted(root.glob("models/*.gguf"))):
        try:
            base = Base(model=f"./{path.relative_to(root).as_posix()}")
            (found,) = local_candidates(base, root=root, hashes=site.hashes)
        except ForgeError:
            continue
        return Found(model=found.ref, training_context=found.shape.training_context)
    return None


def _served(site: Site) -> str | None:
    """A model of the server that answers, the largest that is not ours."""
    from modelforge.runtimes import OWN  # noqa: PLC0415
    from modelforge.runtimes.choose import host_of, open_ollama  # noqa: PLC0415

    try:
        runtime = open_ollama(site, host_of(site))
        entries = [entry for entry in runtime.list() if entry.name.rpartition(":")[0] not in OWN]
        runtime.close()
    except ForgeError:
        return None
    return max(entries, key=lambda entry: entry.bytes).name if entries else None


def _write(root: Path, file: NewFile) -> bool:
    path = root / file.path
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
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
