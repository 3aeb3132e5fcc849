"""The flags that every command takes, before or after its name, and what they stand for."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelforge.console import Console

F = TypeVar("F", bound="Callable[..., Any]")

RUNTIMES = ("auto", "ollama", "docker", "embedded")


@dataclass
class Flags:
    """What was given so far; one object for a whole command line."""

    folder: Path | None = None
    json: bool = False
    quiet: int = 0
    verbose: int = 0
    debug: bool = False
    color: bool | None = None
    runtime: str | None = None
    host: str | None = None
    gpus: str | None = None
    _console: Console | None = None

    def console(self) -> Console:
        """The console that these flags ask for; the same one each time."""
        from modelforge.console import Console  # noqa: PLC0415

        if self._console is None:
            self._console = Console(
                sys.stdout,
                sys.stderr,
                json=self.json,
                quiet=self.quiet,
                verbose=self.verbose,
                color=self.color if self.color is not None else _wants_color(),
                terminal=sys.stderr.isatty(),
                ci=bool(os.environ.get("CI")),
            )
        return self._console

    def start(self) -> Path:
        """The folder that `-C` names, else the working directory."""
        try:
            return (self.folder or Path.cwd()).absolute()
        except FileNotFoundError:
            from modelforge.errors import UsageProblem  # noqa: PLC0415

            raise UsageProblem(
                "the working directory is gone", hint="cd to one that is there, or name it: -C DIR"
            ) from None


def _wants_color() -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty() and sys.stderr.isatty()


def flags_of(ctx: click.Context) -> Flags:
    """The command line's flags, made at the first call."""
    root = ctx.find_root()
    if not isinstance(root.obj, Flags):
        root.obj = Flags()
    return root.obj


def _keep(name: str, *, add: bool = False) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:  # noqa: ANN401
        if value is None or value is False or value == 0:
            return
        flags = flags_of(ctx)
        setattr(flags, name, getattr(flags, name) + value if add else value)

    return callback


def _folder(ctx: click.Context, parameter: click.Parameter, value: tuple[Path, ...]) -> None:
    flags = flags_of(ctx)
    for folder in value:
        flags.folder = (flags.folder or Path()) / folder  # a second one is below the first, as git does it
        if not flags.folder.is_dir():
            raise click.BadParameter(f"there is no folder {flags.folder}", ctx=ctx, param=parameter)


def _no_color(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        flags_of(ctx).color = False


_FLAGS = (
    click.option(
        "-C",
        "folder",
        metavar="DIR",
        multiple=True,
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_folder,
        help="Work as if started in DIR.",
    ),
    click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_keep("json"),
        help="One JSON document on stdout.",
    ),
    click.option(
        "-q", "--quiet", count=True, expose_value=False, callback=_keep("quiet", add=True), help="Say less."
    ),
    click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_keep("verbose", add=True),
        help="Say more.",
    ),
    click.option(
        "--debug", is_flag=True, expose_value=False, callback=_keep("debug"), help="Show tracebacks."
    ),
    click.option("--no-color", is_flag=True, expose_value=False, callback=_no_color, help="No colours."),
    click.option(
        "--runtime",
        type=click.Choice(RUNTIMES),
        expose_value=False,
        callback=_keep("runtime"),
        help="Where to build: an Ollama server, a container, or an own store.",
    ),
    click.option(
        "--host",
        metavar="HOST[:PORT]",
        expose_value=False,
        callback=_keep("host"),
        help="The Ollama server; default OLLAMA_HOST, else 127.0.0.1:11434.",
    ),
)


gpus_flag = click.option(
    "--gpus",
    metavar="auto|all|none|IDS",
    expose_value=False,
    callback=_keep("gpus"),
    help="What a container gets: those that the target needs, all, none, or ids such as 0,1.",
)


def common_flags(function: F) -> F:
    """Adds the flags that every command takes."""
    for option in reversed(_FLAGS):
        function = option(function)
    return function
