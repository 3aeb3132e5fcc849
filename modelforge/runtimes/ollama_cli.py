"""`--via cli`: the `ollama create` command itself, for those who want to see it at work.

A Modelfile cannot carry every text, so what it would alter is refused before anything runs. The weights are
there already: FROM names a model of the server.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from modelforge import process
from modelforge.errors import BuildFailed, Problem
from modelforge.modelfile import Modelfile, format_modelfile, losses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelforge.modelfile import Loss
    from modelforge.process import Completed
    from modelforge.render import Rendered, Request
    from modelforge.runtimes.ollama_host import Host

Command: TypeAlias = "Callable[[str, bytes], Completed]"
"""Runs `ollama create` with a name and a Modelfile's bytes."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FILE = "Modelfile (modelforge)"  # no model can have this name, so FROM cannot mean the file


def refuse_losses(rendered: Rendered) -> None:
    """Stops where the command would make something else than what is asked for.

    Raises:
        BuildFailed: with a problem for each loss.
    """
    found = rendered.losses or losses(_modelfile(rendered.request, from_="base"))
    if found:
        raise BuildFailed(
            "a Modelfile cannot carry this profile as it is", problems=[_problem(loss) for loss in found]
        )


def create(request: Request, *, from_: str, name: str, command: Command) -> None:
    """Has `ollama create NAME -f Modelfile` run against a server.

    Args:
        request: what the model gets.
        from_: the base, a model of the server.
        name: the new model.
        command: runs it.

    Raises:
        BuildFailed: there is no `ollama`, or it ended with an error.
    """
    # bytes, as a text file's line ends would be the machine's
    done = command(name, format_modelfile(_modelfile(request, from_=from_)).encode())
    if done.code != 0:
        raise BuildFailed(f"ollama create ended with {done.code}: {_last_words(done.stderr)}")


def local_command(host: Host, *, environment: Mapping[str, str], seconds: float) -> Command:
    """The `ollama` that is on PATH, for a server at `host`.

    Args:
        host: the server.
        environment: where `ollama` is found on PATH, and what it runs with.
        seconds: longest time that it may take.
    """

    def run(name: str, modelfile: bytes) -> Completed:
        program = shutil.which("ollama", path=environment.get("PATH", ""))
        if program is None:
            raise BuildFailed(
                "--via cli needs the ollama command, which is not on PATH",
                hint="install Ollama here, or leave out --via cli: the server's API needs no command",
            )
        with tempfile.TemporaryDirectory(prefix="modelforge-") as folder:
            file = Path(folder) / _FILE
            file.write_bytes(modelfile)
            return process.run(
                [program, "create", name, "-f", str(file)],
                environment={**environment, "OLLAMA_HOST": host.url},
                folder=Path(folder),
                seconds=seconds,
            )

    return run


def _last_words(stderr: str) -> str:
    """The last line, without terminal controls and what everyone's begins with."""
    lines = _CONTROL.sub("", stderr).strip().splitlines()
    return lines[-1].strip().removeprefix("Error: ") if lines else "it said nothing"


def _modelfile(request: Request, *, from_: str) -> Modelfile:
    return Modelfile(
        from_=from_,
        system=request.system,
        template=request.template,
        license=request.license,
        parameters=request.parameters,
        messages=request.messages,
        adapters=tuple(str(path.absolute()) for path in request.adapters),
        renderer=request.renderer,
        parser=request.parser,
        requires=request.requires,
    )


def _problem(loss: Loss) -> Problem:
    return Problem(
        message=f"{loss.instruction}: {loss.reason}",
        kind=BuildFailed.kind,
        hint="leave out --via cli: the server's API carries every text",
    )
