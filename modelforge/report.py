"""Records -> JSON documents, whose keys users rely on (docs/reference/json.md), and JUnit XML.

Sizes are bytes, times seconds. Every document has `schema`, `exit_code` and `errors`. Pure functions: nothing
is printed or written here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

from modelforge.checks import Check
from modelforge.checks.outcome import plain
from modelforge.smoke import SmokeReport, SmokeResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modelforge.errors import ForgeError, Problem
    from modelforge.finding import Finding
    from modelforge.hardware import Hardware
    from modelforge.journal import JournalEntry
    from modelforge.profile import Profile
    from modelforge.render import Rendered
    from modelforge.reported import Built, Changed, Container, Written
    from modelforge.resolve import Assessed, NextBetter, Plan
    from modelforge.runtimes import ChatReply, Entry

Document: TypeAlias = "dict[str, Any]"


def document(name: str, exit_code: int, errors: Sequence[ForgeError], body: Document) -> Document:
    """A document of schema `modelforge.NAME/1`: the three keys that all have, then its own."""
    return {
        "schema": f"modelforge.{name}/1",
        "exit_code": int(exit_code),
        "errors": [problem_dict(problem, error.kind) for error in errors for problem in error.problems],
        **body,
    }


def problem_dict(problem: Problem, kind: str = "error") -> Document:
    """One entry of `errors`; `kind` is the error class's, for problems without one of their own."""
    return {
        "kind": problem.kind or kind,
        "message": problem.message,
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "expected": problem.expected,
        "hint": problem.hint,
    }


def error_document(error: ForgeError) -> Document:
    """Where there is no result at all."""
    return document("error", error.exit_code, [error], {})


# -- plans -------------------------------------------------------------------------------------------


def candidate_dict(assessed: Assessed) -> Document:
    """A candidate with what was found about it. Bytes are what lies on the accelerator(s), or in RAM."""
    candidate, size = assessed.candidate, assessed.bytes
    speed = assessed.tokens_per_second
    return {
        "ref": candidate.ref,
        "size": candidate.size,
        "quant": candidate.quant,
        "digest": candidate.digest,
        "exact": assessed.exact,
        "bytes": {
            "weights": size.weights,
            "kv": size.kv,
            "compute": size.compute,
            "projector": size.projector,
            "total": size.total,
        },
        "devices": [asdict(device) for device in assessed.devices],
        "verdict": assessed.verdict,
        "reason": assessed.reason,
        "tokens_per_second": list(speed) if speed else None,
    }


def plan_dict(plan: Plan) -> Document:
    """One plan."""
    return {
        "profile": plan.profile,
        "hardware": plan.hardware.name,
        "variant": plan.variant,
        "engine": plan.settings.engine,
        "decision": plan.decision,
        "num_ctx_from": plan.num_ctx_from,
        "settings": asdict(plan.settings),
        "picked": candidate_dict(plan.picked) if plan.picked else None,
        "candidates": [candidate_dict(assessed) for assessed in plan.candidates],
        "next_better": _next_dict(plan.next_better),
        "next_size": _next_dict(plan.next_size),
        "warnings": list(plan.warnings),
    }


def _next_dict(better: NextBetter | None) -> Document | None:
    return {**asdict(better), "would_fit_with": list(better.would_fit_with)} if better else None


def resolve_document(plans: Sequence[Plan], exit_code: int, errors: Sequence[ForgeError] = ()) -> Document:
    """`modelforge.resolve/1`."""
    return document("resolve", exit_code, errors, {"plans": [plan_dict(plan) for plan in plans]})


# -- smoke reports -----------------------------------------------------------------------------------


def smoke_dict(report: SmokeReport) -> Document:
    """A smoke report: how many came out how, and each test. `smoke_from_dict` reads it back."""
    return {
        "passed": report.count("passed"),
        "failed": report.count("failed"),
        "skipped": report.count("skipped"),
        "results": [
            {
                "name": result.name,
                "verdict": result.verdict,
                "prompt": result.prompt,
                "reply": result.reply,
                "checks": [asdict(check) for check in result.checks],
                "seconds": result.seconds,
                "tokens_per_second": result.tokens_per_second,
                "runs": result.runs,
                "passed_runs": result.passed_runs,
                "loaded_on": result.loaded_on,
            }
            for result in report.results
        ],
    }


def smoke_from_dict(data: Mapping[str, Any]) -> SmokeReport | None:
    """The report that `smoke_dict` made; None for what is not one (another version's journal)."""
    try:
        return SmokeReport(results=tuple(_result(result) for result in data["results"]))
    except (KeyError, TypeError):
        return None


def _result(data: Mapping[str, Any]) -> SmokeResult:
    return SmokeResult(
        name=data["name"],
        verdict=data["verdict"],
        prompt=data["prompt"],
        reply=data["reply"],
        checks=tuple(
            Check(kind=one["kind"], verdict=one["verdict"], expected=one["expected"], got=one["got"])
            for one in data["checks"]
        ),
        seconds=data["seconds"],
        tokens_per_second=data["tokens_per_second"],
        runs=data.get("runs", 1),
        passed_runs=data.get("passed_runs", int(data["verdict"] != "failed")),
        loaded_on=data.get("loaded_on"),
    )


def smoke_document(
    name: str, report: SmokeReport | None, exit_code: int, errors: Sequence[ForgeError] = ()
) -> Document:
    """`modelforge.smoke/1`: the model's full name and the report, null where it could not be made."""
    return document(
        "smoke", exit_code, errors, {"name": name, "smoke": smoke_dict(report) if report else None}
    )


# -- builds ------------------------------------------------------------------------------------------


def build_dict(built: Built) -> Document:
    """One variant of a build."""
    picked = built.plan.picked
    return {
        "variant": built.variant,
        "name": built.name,
        "profile": built.plan.profile,
        "hardware": built.plan.hardware.name,
        "status": built.status,
        "picked": candidate_dict(picked) if picked else None,
        "runtime": asdict(built.runtime) if built.runtime else None,
        "digests": {key: built.digests.get(key) or None for key in ("plan", "content", "manifest")},
        "smoke": smoke_dict(built.smoke) if built.smoke else None,
        "seconds": {
            **{key: built.seconds.get(key) for key in ("resolve", "create", "smoke", "promote")},
            **{key: built.seconds[key] for key in ("bring",) if key in built.seconds},
        },
    }


def build_document(results: Sequence[Built], exit_code: int, errors: Sequence[ForgeError] = ()) -> Document:
    """`modelforge.build/1`. The variants' own errors come into `errors` too, in build order."""
    own = [built.error for built in results if built.error is not None and built.error not in errors]
    return document(
        "build", exit_code, [*own, *errors], {"variants": [build_dict(built) for built in results]}
    )


def render_document(rendered: Rendered, plan: Plan | None = None) -> Document:
    """`modelforge.render/1`: the request's fields (null or empty: inherited), the text, and what it cannot carry."""
    request = rendered.request
    body: Document = {
        "variant": plan.variant if plan else None,
        "base": rendered.base.ref,
        "request": {
            "system": request.system,
            "template": request.template,
            "license": list(request.license),
            "parameters": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in request.parameters.items()
            },
            "messages": [asdict(turn) for turn in request.messages],
            "adapters": [str(path) for path in request.adapters],
            "renderer": request.renderer,
            "parser": request.parser,
            "requires": request.requires,
        },
        "modelfile": rendered.modelfile,
        "losses": [asdict(loss) for loss in rendered.losses],
        "warnings": list(rendered.warnings),
    }
    return document("render", 0, (), body)


def dry_run_document(changes: Sequence[Changed]) -> Document:
    """`modelforge.dry-run/1`: for each variant the plan, whether something stands, and how it differs."""
    body = {
        "variants": [
            {
                "name": change.name,
                "stands": change.stands,
                "differences": list(change.differences),
                "fetches": change.fetches,
                "warnings": list(change.warnings),
                "plan": plan_dict(change.plan),
                "container": container_dict(change.container) if change.container else None,
            }
            for change in changes
        ]
    }
    return document("dry-run", 0, (), body)


def container_dict(container: Container) -> Document:
    """What an engine would be asked for; `request` is the body of its create call."""
    return {
        "image": container.image,
        "volume": container.volume,
        "gpus": container.gpus,
        "note": container.note,
        "request": plain(container.request),
    }


def run_document(name: str, reply: ChatReply) -> Document:
    """`modelforge.run/1`: one answer."""
    body: Document = {
        "name": name,
        "reply": reply.text,
        "tool_calls": [{"name": call.name, "arguments": plain(call.arguments)} for call in reply.tool_calls],
        "done_reason": reply.done_reason,
        "prompt_tokens": reply.prompt_tokens,
        "output_tokens": reply.output_tokens,
        "seconds": reply.seconds,
        "first_token_seconds": reply.first_token_seconds,
        "load_seconds": reply.load_seconds,
        "tokens_per_second": reply.tokens_per_second,
    }
    return document("run", 0, (), body)


def rollback_document(entry: JournalEntry) -> Document:
    """`modelforge.rollback/1`: the journal's line of what stands again."""
    return document("rollback", 0, (), {"entry": asdict(entry)})


def init_document(root: Path, written: Sequence[Written]) -> Document:
    """`modelforge.init/1`: the project's root and the files written in it."""
    files = [{"path": file.path, "purpose": file.purpose} for file in written]
    return document("init", 0, (), {"root": str(root), "files": files})


# -- looking -----------------------------------------------------------------------------------------


def hardware_dict(hardware: Hardware) -> Document:
    """One device set."""
    return {**asdict(hardware), "devices": [asdict(device) for device in hardware.devices]} | {
        "warnings": list(hardware.warnings)
    }


def hardware_document(
    machines: Sequence[Hardware], names: Mapping[str, Sequence[str]], exit_code: int = 0
) -> Document:
    """`modelforge.hardware/1`: the machines asked for, and all known names with their aliases."""
    body: Document = {
        "hardware": [hardware_dict(machine) for machine in machines],
        "names": [{"name": name, "aliases": list(aliases)} for name, aliases in names.items()],
    }
    return document("hardware", exit_code, (), body)


def list_document(
    profiles: Sequence[Profile],
    standing: Mapping[str, Sequence[Entry]],
    exit_code: int = 0,
    errors: Sequence[ForgeError] = (),
) -> Document:
    """`modelforge.list/1`: the profiles, and for each by its name the models of it that stand on the runtime."""
    body = {
        "profiles": [
            {
                "name": profile.name,
                "model": profile.model_name,
                "file": profile.file,
                "description": profile.description,
                "base": profile.base.model,
                "targets": list(profile.targets),
                "smoke_tests": len(profile.smoke),
                "standing": [asdict(entry) for entry in standing.get(profile.name, ())],
            }
            for profile in profiles
        ]
    }
    return document("list", exit_code, errors, body)


def history_document(name: str, entries: Sequence[JournalEntry]) -> Document:
    """`modelforge.history/1`: what the journal knows about a name, newest first."""
    newest_first = sorted(entries, key=lambda entry: entry.time, reverse=True)
    return document("history", 0, (), {"name": name, "entries": [asdict(entry) for entry in newest_first]})


def doctor_document(findings: Sequence[Finding], exit_code: int) -> Document:
    """`modelforge.doctor/1`."""
    body = {
        "findings": [
            {"good": finding.good, "text": finding.text, "remedy": finding.remedy} for finding in findings
        ]
    }
    return document("doctor", exit_code, (), body)


def validate_document(checked: Sequence[str], exit_code: int, errors: Sequence[ForgeError] = ()) -> Document:
    """`modelforge.validate/1`: the files that were looked at, each with whether it is valid."""
    wrong = {problem.file for error in errors for problem in error.problems}
    body = {"profiles": [{"file": file, "valid": file not in wrong} for file in checked]}
    return document("validate", exit_code, errors, body)


def schema_document(kind: str, json_schema: Document) -> Document:
    """`modelforge.schema/1`: the JSON Schema of a kind of file."""
    return document("schema", 0, (), {"kind": kind, "json_schema": json_schema})
