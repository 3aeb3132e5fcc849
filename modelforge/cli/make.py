"""`build`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from modelforge import pipeline, targets
from modelforge.cli import interrupts
from modelforge.cli.complete import hardware_names, profile_names
from modelforge.cli.flags import Flags, common_flags, flags_of, gpus_flag
from modelforge.cli.site import working
from modelforge.errors import ExitCode, ForgeError, Interrupted, Unreachable, UsageProblem

if TYPE_CHECKING:
    from modelforge.build import BuildResult
    from modelforge.pipeline import BuildOptions
    from modelforge.resolve import Plan
    from modelforge.targets import Target, Work


@click.command("build")
@click.argument("profiles", nargs=-1, metavar="[PROFILE]...", shell_complete=profile_names)
@click.option(
    "-H",
    "--hardware",
    multiple=True,
    metavar="NAME",
    shell_complete=hardware_names,
    help="Build for this hardware: a name, a size such as 8GiB, or 'this'.",
)
@click.option("--all", "every", is_flag=True, help="All of the project's profiles.")
@click.option("--all-hardware", is_flag=True, help="All targets that the profile names.")
@click.option("--select", metavar="GLOB", help="Profiles, or PROFILE@HARDWARE, that match.")
@click.option("--name", help="The model's name, for this build alone.")
@click.option("--dry-run", is_flag=True, help="The plan and what would change; nothing is touched.")
@click.option("--no-smoke", is_flag=True, help="Promote untested.")
@click.option(
    "--keep-failed", is_flag=True, help="Leave a model that failed its tests, under its staged name."
)
@click.option("--no-wait", is_flag=True, help="End with code 9 if the name is being built already.")
@click.option("--free", is_flag=True, help="Plan on free memory instead of all of it.")
@click.option(
    "--via",
    type=click.Choice(["api", "cli"]),
    default="api",
    help="How Ollama is asked: its API, or 'ollama create'.",
)
@click.option("--link", is_flag=True, help="Embedded: hard-link weights into the store instead of copying.")
@click.option(
    "--junit",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the tests' results as JUnit XML.",
)
@gpus_flag
@common_flags
@click.pass_context
def build_command(
    ctx: click.Context,
    profiles: tuple[str, ...],
    hardware: tuple[str, ...],
    every: bool,
    all_hardware: bool,
    select: str | None,
    name: str | None,
    dry_run: bool,
    no_smoke: bool,
    keep_failed: bool,
    no_wait: bool,
    free: bool,
    via: Literal["api", "cli"],
    link: bool,
    junit: Path | None,
) -> int:
    """Build, test and promote a profile's model.

    Picks the size and quant that fits, creates the model under a name of our own, runs the profile's smoke tests, and
    only then gives it its name. What stood there is kept for rollback.
    """
    options = pipeline.BuildOptions(
        name=name, smoke=not no_smoke, wait=not no_wait, keep_failed=keep_failed, use_free=free
    )
    flags = flags_of(ctx)
    with working(flags, via=via, link=link, look=dry_run) as work:
        chosen = targets.select(work.site, profiles, every=every, pattern=select)
        found = targets.all_targets(work, chosen, hardware, all_hardware=all_hardware, pattern=select)
        if name is not None and len(found) > 1:
            raise UsageProblem(
                f"--name {name} is for one model, and {len(found)} would be built",
                hint="name one profile and one hardware",
            )
        if dry_run:
            return _dry_run(flags, work, found, options)
        ends = _build_all(flags, work, found, options)
    return _report(flags, ends, junit)


def _build_all(
    flags: Flags, work: Work, found: tuple[Target, ...], options: BuildOptions
) -> list[BuildResult | ForgeError]:
    """How each target ended. Without a runtime, or when interrupted, the rest is not tried."""
    ends: list[BuildResult | ForgeError] = []
    for target in found:
        try:
            ends.append(_build(flags, work, target, options))
        except Unreachable as error:
            return [*ends, error]
        except KeyboardInterrupt:
            return [*ends, _interrupted(target, options)]
        except ForgeError as error:  # of this target alone, before there was a plan
            ends.append(error)
        except Exception:
            if not interrupts.has_come():
                raise
            return [*ends, _interrupted(target, options)]
    return ends


def _build(flags: Flags, work: Work, target: Target, options: BuildOptions) -> BuildResult:
    from modelforge.views.builds import next_lines, outcome_lines  # noqa: PLC0415

    console = flags.console()

    def tell(plan: Plan) -> None:
        from modelforge.views.plans import plan_lines  # noqa: PLC0415 (only where something is built)

        console.talk(plan_lines(plan))

    result = pipeline.build_target(work, target, options, on_plan=tell)
    console.talk(outcome_lines(result))
    console.talk(next_lines(result))
    return result


def _dry_run(flags: Flags, work: Work, found: tuple[Target, ...], options: BuildOptions) -> int:
    from modelforge import report  # noqa: PLC0415
    from modelforge.views.changes import dry_run_lines  # noqa: PLC0415

    changes = [pipeline.dry_run(work, target, options) for target in found]
    console = flags.console()
    if flags.json:
        console.document(report.dry_run_document(changes))
    for change in changes:
        console.show(dry_run_lines(change))
    return ExitCode.OK


def _interrupted(target: Target, options: BuildOptions) -> Interrupted:
    name = options.name or f"{target.profile.model_name}:{target.tag}"
    return Interrupted(
        f"interrupted while {name} was built; nothing half-made has taken its name",
        hint="run the same command again: it takes away what was left and builds what is missing",
    )


def _report(flags: Flags, ends: list[BuildResult | ForgeError], junit: Path | None) -> int:
    if len(ends) == 1 and isinstance(ends[0], ForgeError):  # no result at all
        raise ends[0]
    results = [end for end in ends if not isinstance(end, ForgeError)]
    if junit is not None:
        ends = [*ends, *_write_junit(junit, results)]
    errors = [error for end in ends if (error := _error_of(end)) is not None]
    code = _code_of(errors)
    console = flags.console()
    if flags.json:
        from modelforge.report import build_document, document  # noqa: PLC0415

        own = [end for end in ends if isinstance(end, ForgeError)]
        console.document(build_document(results, code, own) if results else document("error", code, own, {}))
    told = [result.error for result in results if flags.json or _told(result)]
    for error in errors:
        if error not in told:
            console.error(error)
    return code


def _code_of(errors: list[ForgeError]) -> int:
    """That of the first failure, in build order; an interrupted build says so whatever failed before."""
    stopped = [error for error in errors if isinstance(error, Interrupted)]
    return int((stopped or errors)[0].exit_code) if errors else int(ExitCode.OK)


def _error_of(end: BuildResult | ForgeError) -> ForgeError | None:
    return end if isinstance(end, ForgeError) else end.error


def _told(result: BuildResult) -> bool:
    """Failed tests were shown one by one while they ran."""
    return result.status == "smoke-failed" and result.smoke is not None


def _write_junit(file: Path, results: list[BuildResult]) -> list[ForgeError]:
    """Writes the results; the error if that cannot be done, which makes no build undone."""
    from modelforge.junit import junit  # noqa: PLC0415

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(junit(results), encoding="utf-8")
    except OSError as error:
        return [UsageProblem(f"--junit {file} cannot be written: {error.strerror}")]
    return []
