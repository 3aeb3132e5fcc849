"""The command line: click and nothing else. A module for each group of commands, imported when one is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from modelforge import __version__
from modelforge.cli.flags import common_flags, flags_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# In the order of a project's life. The words stand in `--help`, so that no command has to be imported for it.
COMMANDS = {
    "init": ("start", "Start a project that builds at once."),
    "doctor": ("start", "Look for what would get in the way, with a remedy each."),
    "completion": ("start", "Print the completion script of a shell."),
    "list": ("look", "The project's profiles, and what of them stands."),
    "validate": ("look", "Check profiles; every error at once."),
    "schema": ("look", "What a profile may say, as a JSON Schema for editors."),
    "hardware": ("look", "This machine, a named device, or all names."),
    "resolve": ("look", "Which size and quant fits, and why."),
    "render": ("look", "The Modelfile of a profile, on standard output."),
    "build": ("make", "Build, test and promote a profile's model."),
    "smoke": ("use", "Run a profile's tests against its built model."),
    "run": ("use", "Ask a built model; the answer as it comes."),
    "rollback": ("use", "Back to what stood before."),
    "history": ("use", "What stood under a name, and when."),
}

FIRST_SCREEN = """\
modelforge turns a profile in git into the Ollama model that fits the hardware, tested before it takes its name.

  modelforge init             start a project that builds at once
  modelforge build NAME       build, test and promote a profile's model
  modelforge resolve NAME     which size and quant fits, and why
  modelforge run NAME         ask the built model
  modelforge rollback NAME    back to what stood before

All commands: modelforge --help        One command: modelforge build --help
"""


class Forge(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"modelforge.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in `--help`, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command, or says which one was probably meant."""
        if args and args[0] not in COMMANDS:
            from modelforge.errors import did_you_mean  # noqa: PLC0415

            hint = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"there is no command '{args[0]}'" + (f"; {hint}" if hint else ""))
        return super().resolve_command(ctx, args)


@click.group(
    cls=Forge,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="modelforge %(version)s")
@common_flags
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Turn a profile in git into the Ollama model that fits the hardware, tested before it takes its name."""
    if ctx.invoked_subcommand is None:
        flags_of(ctx).console().show(FIRST_SCREEN.splitlines())


def main(arguments: Sequence[str] | None = None, **extra: Any) -> Any:  # noqa: ANN401
    """The console script: runs the command line and exits."""
    from modelforge.cli.door import enter  # noqa: PLC0415

    return enter(cli, arguments, **extra)
