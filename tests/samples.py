"""Sample plans, builds and reports for the tests of what people and machines are shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelforge.build import BuildResult
from modelforge.checks import Check
from modelforge.hardware import Device, Hardware
from modelforge.journal import JournalEntry
from modelforge.resolve import Assessed, Bytes, Need, Plan, RunSettings
from modelforge.runtimes import RuntimeInfo
from modelforge.smoke import SmokeReport, SmokeResult
from modelforge.units import GIB
from tests.fakes import some_candidate

CHECK = Check(kind="contains", verdict="passed", expected="3", got="found at 1:1")


def a_result(**changes: Any) -> SmokeResult:
    result = SmokeResult(
        name="adds",
        verdict="passed",
        prompt="Add 1 and 2.",
        reply="3",
        checks=(CHECK,),
        seconds=0.5,
        tokens_per_second=61.0,
        runs=1,
        passed_runs=1,
        loaded_on="gpu",
    )
    return replace(result, **changes)


def a_build(**changes: Any) -> BuildResult:
    result = BuildResult(
        variant="coder:latest",
        name="coder:latest",
        status="built",
        plan=some_plan(),
        runtime=RuntimeInfo(kind="ollama", version="0.32.15", endpoint="127.0.0.1:11434"),
        digests={"plan": "sha256:1", "content": "sha256:2", "manifest": "sha256:3"},
        smoke=SmokeReport(results=(a_result(),)),
        seconds={"resolve": 0.1, "create": 2.0, "smoke": 0.5, "promote": 0.2},
    )
    return replace(result, **changes)


def an_entry(**changes: Any) -> JournalEntry:
    entry = JournalEntry(
        event="promoted",
        time=1_789_992_000.0,
        name="coder:latest",
        runtime="ollama",
        endpoint="127.0.0.1:11434",
        version="0.32.15",
        project="/project",
        profile="coder",
        hardware="this",
        picked="coder:14b-instruct-q5_K_M",
        commit="0123456789abcdef",
        plan="sha256:1",
        content="sha256:2",
        manifest="sha256:3",
        replaced="",
        tests="sha256:4",
        smoke={"passed": 2, "failed": 0, "skipped": 0, "results": []},
    )
    return replace(entry, **changes)


def some_assessed(
    size: str = "7b", quant: str = "Q8_0", total: float = 8.7, budget: float = 11.0, **changes: Any
) -> Assessed:
    """A candidate and its need, in GiB; the verdict follows from them."""
    kv, compute = int(0.9 * GIB), int(0.3 * GIB)
    needs, most = int(total * GIB), int(budget * GIB)
    assessed = Assessed(
        candidate=some_candidate(ref=f"coder:{size}-instruct-{quant.lower()}", size=size, quant=quant),
        exact=True,
        bytes=Bytes(weights=needs - kv - compute, kv=kv, compute=compute, projector=0),
        devices=(Need(name="RTX 3060", needs=needs, budget=most),),
        slack=most - needs,
        verdict="fits" if needs <= most else "too-big",
        reason="",
        tokens_per_second=(34.0, 44.0) if needs <= most else None,
    )
    return replace(assessed, **changes)


def some_hardware(name: str = "rtx-3060-12gb", memory: float = 12.0, **changes: Any) -> Hardware:
    """One CUDA device, its memory in GiB."""
    device = Device(name="RTX 3060", memory=int(memory * GIB), bandwidth=360 * 10**9)
    return replace(Hardware(name=name, backend="cuda", devices=(device,)), **changes)


def some_plan(*candidates: Assessed, **changes: Any) -> Plan:
    """A plan over these candidates (default: one that fits); the picked one is marked so."""
    rows = candidates or (some_assessed(verdict="picked", reason="best quality that fits"),)
    picked = next((one for one in rows if one.verdict == "picked"), None)
    plan = Plan(
        profile="coder",
        variant="coder:rtx-3060-12gb",
        hardware=some_hardware(),
        settings=RunSettings(
            num_ctx=16384,
            num_batch=512,
            parallel=1,
            kv_cache="f16",
            flash_attention="auto",
            headroom=GIB,
            engine="0.32",
            prefer="quality",
            num_ctx_is_default=False,
        ),
        decision="fits" if picked else "too-big",
        picked=picked,
        candidates=rows,
        next_better=None,
        warnings=(),
    )
    return replace(plan, **changes)
