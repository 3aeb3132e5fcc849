"""The commands that look and touch nothing: list, validate, schema, hardware, resolve, render."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal

import click

from modelforge import models, overview, pipeline, targets
from modelforge.cli.complete import hardware_names, profile_names
from modelforge.cli.flags import common_flags, flags_of, gpus_flag
from modelforge.cli.site import site_of, working
from modelforge.errors import ExitCode, ForgeError, ProfileProblem, UsageProblem
from modelforge.hardware import THIS

if TYPE_CHECKING:
    from modelforge.targets import Target

_MOST_TOKENS = 1 << 24
"""What `num_ctx` may be at most in a profile, too."""

_hardware = click.option(
    "-H",
    "--hardware",
    multiple=True,
    metavar="NAME",
    shell_complete=hardware_names,
    help="For this hardware: a name, a size such as 8GiB, or 'this'.",
)


class _Context(click.ParamType[Any]):
    """A number of tokens, or `max`."""

    name = "context"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """Click's hook: the value, or an error of usage."""
        text = str(value)
        if text.casefold() == "max":
            return "max"
        if not text.isascii() or not text.isdigit() or not 4 <= int(text) <= _MOST_TOKENS:  # noqa: PLR2004
            self.fail(
                f"'{text}' is neither a number of tokens from 4 to {_MOST_TOKENS} nor 'max'", param, ctx
            )
        return int(text)


@click.command("list")
@common_flags
@click.pass_context
def list_command(ctx: click.Context) -> int:
    """The project's profiles, and what of them stands.

    Looks at the runtime that is there; without one it lists the profiles alone.
    """
    from modelforge import report  # noqa: PLC0415
    from modelforge.views.machines import list_lines  # noqa: PLC0415

    flags = flags_of(ctx)
    console = flags.console()
    with working(flags, look=True) as work:
        profiles, errors = overview.load_all(work.site)
        standing, trouble = models.standing_models(work, profiles)
    code = int(errors[0].exit_code) if errors else int(ExitCode.OK)
    if flags.json:
        console.document(report.list_document(profiles, standing, code, errors))
        return code
    console.show(list_lines(profiles, standing))
    if trouble is not None:
        console.talk([f"What stands is not known: {trouble}"])
    for error in errors:
        console.error(error)
    return code


@click.command("validate")
@click.argument("profiles", nargs=-1, metavar="[PROFILE]...", shell_complete=profile_names)
@common_flags
@click.pass_context
def validate_command(ctx: click.Context, profiles: tuple[str, ...]) -> int:
    """Check profiles; every error at once.

    Without names it checks all of the project's profiles and hardware files.
    """
    from modelforge import report  # noqa: PLC0415
    from modelforge.views.problems import summary_line  # noqa: PLC0415

    flags = flags_of(ctx)
    console = flags.console()
    site = site_of(flags)
    checked, errors = overview.validate(site, profiles)
    code = int(errors[0].exit_code) if errors else int(ExitCode.OK)
    if flags.json:
        console.document(report.validate_document(checked, code, errors))
    elif errors:
        console.error(ProfileProblem(problems=[one for error in errors for one in error.problems]))
        problems = [one for error in errors for one in error.problems]
        console.talk([summary_line(problems, len(checked))])
    else:
        console.show([f"{len(checked)} checked, no errors"])
    return code


@click.command("schema")
@click.argument("kind", type=click.Choice(["profile", "project", "hardware"]), default="profile")
@common_flags
@click.pass_context
def schema_command(ctx: click.Context, kind: Literal["profile", "project", "hardware"]) -> int:
    """What a profile may say, as a JSON Schema for editors.

    Or what modelforge.toml (project) and hardware/NAME.toml (hardware) may say. Projects that init has made have the
    profile's in profiles/profile.schema.json: write it anew when modelforge is a newer one.
    """
    from modelforge import report, schemas  # noqa: PLC0415

    console = flags_of(ctx).console()
    if console.json:
        console.document(report.schema_document(kind, schemas.schema(kind)))
    else:
        console.stream(schemas.text(kind))
    return ExitCode.OK


@click.command("hardware")
@click.argument("name", required=False, shell_complete=hardware_names)
@gpus_flag
@common_flags
@click.pass_context
def hardware_command(ctx: click.Context, name: str | None) -> int:
    """This machine, a named device, or all names.

    Without a name: what was found here, and the names that -H takes.
    """
    from modelforge import report  # noqa: PLC0415
    from modelforge.hardware import choose, table  # noqa: PLC0415
    from modelforge.runtimes.choose import wanted_runtime  # noqa: PLC0415
    from modelforge.views.machines import hardware_lines  # noqa: PLC0415

    flags = flags_of(ctx)
    with working(flags, look=True) as work:
        site = work.site
        in_docker = wanted_runtime(site) == "docker"
        this = (lambda: targets.runtime_machine(work)) if in_docker else site.probe
        found = choose.by_name(name or THIS, folder=site.project.hardware, probe=this)
    names = overview.hardware_names(site)
    console = flags.console()
    if flags.json:
        console.document(report.hardware_document([found], names))
        return ExitCode.OK
    console.show(hardware_lines(found))
    if name is None:
        console.show(["", "names for -H:", *textwrap.wrap(", ".join(names), 98, break_on_hyphens=False)])
    known = table.match(found.devices[0].name, found.devices[0].memory) if found.devices else None
    if name is None and known:
        console.talk([f"plan for a machine like this with -H {known}"])
    return ExitCode.OK


@click.command("resolve")
@click.argument("profiles", nargs=-1, metavar="[PROFILE]...", shell_complete=profile_names)
@_hardware
@click.option("--all", "every", is_flag=True, help="All of the project's profiles.")
@click.option("--all-hardware", is_flag=True, help="All targets that the profile names.")
@click.option("--free", is_flag=True, help="Plan on free memory instead of all of it.")
@click.option(
    "--context",
    metavar="TOKENS|max",
    type=_Context(),
    help="Plan for this num_ctx; 'max': the longest that fits with the profile's pick.",
)
@click.option("--explain", is_flag=True, help="Show each setting with its value and where it is set.")
@gpus_flag
@common_flags
@click.pass_context
def resolve_command(
    ctx: click.Context,
    profiles: tuple[str, ...],
    hardware: tuple[str, ...],
    every: bool,
    all_hardware: bool,
    free: bool,
    context: int | Literal["max"] | None,
    explain: bool,
) -> int:
    """Which size and quant fits, and why.

    Every candidate with its weights, KV cache and compute, the pick, and what would make the next better one fit.
    """
    from modelforge import report  # noqa: PLC0415
    from modelforge.views.plans import explain_lines, resolve_lines  # noqa: PLC0415

    flags = flags_of(ctx)
    with working(flags, look=True) as work:
        chosen = targets.select(work.site, profiles, every=every, pattern=None)
        found: tuple[Target, ...] = targets.all_targets(work, chosen, hardware, all_hardware=all_hardware)
        plans = [pipeline.plan(work, target, use_free=free, context=context) for target in found]
    errors: list[ForgeError] = [pipeline.does_not_fit(plan) for plan in plans if plan.picked is None]
    code = int(errors[0].exit_code) if errors else int(ExitCode.OK)
    console = flags.console()
    if flags.json:
        console.document(report.resolve_document(plans, code, errors))
    else:
        console.show(resolve_lines(plans, verbose=flags.verbose))
        if explain or flags.verbose:
            for target, plan in zip(found, plans, strict=True):
                console.show(["", *explain_lines(target.profile, plan)])
        for plan in plans:
            console.talk([f"warning: {warning}" for warning in plan.warnings])
    return code


@click.command("render")
@click.argument("profile", shell_complete=profile_names)
@_hardware
@gpus_flag
@common_flags
@click.pass_context
def render_command(ctx: click.Context, profile: str, hardware: tuple[str, ...]) -> int:
    """The Modelfile of a profile, on standard output.

    What its text cannot carry is named on standard error; builds send the fields themselves and lose nothing.
    """
    from modelforge import report  # noqa: PLC0415
    from modelforge.views.changes import loss_lines  # noqa: PLC0415

    flags = flags_of(ctx)
    console = flags.console()
    with working(flags, look=True) as work:
        if len(hardware) > 1:
            raise UsageProblem("one Modelfile is for one hardware", hint="give -H once")
        target = targets.targets(work, profile, hardware)[0]
        plan = pipeline.plan(work, target)
        made = pipeline.rendered(work, target, plan)
    if flags.json:
        console.document(report.render_document(made, plan))
    else:
        console.stream(made.modelfile if made.modelfile.endswith("\n") else f"{made.modelfile}\n")
        console.talk([f"warning: {warning}" for warning in made.warnings])
        console.talk(loss_lines(made))
    return ExitCode.OK
