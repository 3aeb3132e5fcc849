from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from modelforge import report
from modelforge.errors import BuildFailed, DoesNotFit, Problem, ProfileProblem, SmokeFailed
from modelforge.finding import Finding
from modelforge.resolve import NextBetter
from modelforge.runtimes import Entry, ToolCall, Turn
from modelforge.runtimes.docker.spec import Preview
from modelforge.smoke import SmokeReport
from tests.fakes import some_candidate, some_rendered, some_reply
from tests.samples import a_build, a_result, an_entry, some_assessed, some_hardware, some_plan


def head(document: dict[str, Any]) -> tuple[Any, ...]:
    """What all documents begin with; checks on the way that it is JSON."""
    json.dumps(document, allow_nan=False)
    assert list(document)[:3] == ["schema", "exit_code", "errors"]
    return document["schema"], document["exit_code"], [error["message"] for error in document["errors"]]


def test_an_error_has_its_place() -> None:
    error = ProfileProblem(
        problems=[
            Problem(message="m", file="a.toml", line=1, column=2, expected="a number", hint="h"),
            Problem(message="n", kind="key"),
        ]
    )
    document = report.error_document(error)
    assert head(document) == ("modelforge.error/1", 2, ["m", "n"])
    assert document["errors"][0] == {
        "kind": "profile",
        "message": "m",
        "file": "a.toml",
        "line": 1,
        "column": 2,
        "expected": "a number",
        "hint": "h",
    }
    assert document["errors"][1]["kind"] == "key"


def test_a_plan_tells_all_of_every_candidate() -> None:
    big = some_assessed("14b", "Q8_0", 18.0)
    small = some_assessed("7b", "Q8_0", 8.0, verdict="picked", reason="picked: best quality that fits")
    better = NextBetter(ref=big.candidate.ref, lacks=7, would_fit_with=("num_ctx 8192",))
    document = report.resolve_document([some_plan(big, small, next_better=better)], 0)
    assert head(document) == ("modelforge.resolve/1", 0, [])
    (plan,) = document["plans"]
    assert {
        key: plan[key] for key in ("profile", "hardware", "variant", "engine", "decision", "warnings")
    } == {
        "profile": "coder",
        "hardware": "rtx-3060-12gb",
        "variant": "coder:rtx-3060-12gb",
        "engine": "0.32",
        "decision": "fits",
        "warnings": [],
    }
    assert plan["next_better"] == {"ref": big.candidate.ref, "lacks": 7, "would_fit_with": ["num_ctx 8192"]}
    assert plan["picked"] == plan["candidates"][1]
    picked = plan["picked"]
    assert set(picked) == {
        "ref",
        "size",
        "quant",
        "digest",
        "exact",
        "bytes",
        "devices",
        "verdict",
        "reason",
        "tokens_per_second",
    }
    assert picked["tokens_per_second"] == [34.0, 44.0]
    assert picked["bytes"]["total"] == sum(
        picked["bytes"][key] for key in ("weights", "kv", "compute", "projector")
    )
    assert picked["devices"] == [
        {"name": "RTX 3060", "needs": picked["bytes"]["total"], "budget": small.devices[0].budget}
    ]
    assert plan["candidates"][0]["tokens_per_second"] is None


def test_a_plan_without_a_pick() -> None:
    document = report.resolve_document(
        [some_plan(some_assessed("14b", "Q8_0", 18.0))], 4, [DoesNotFit("too big")]
    )
    assert head(document) == ("modelforge.resolve/1", 4, ["too big"])
    assert document["plans"][0]["picked"] is None
    assert document["plans"][0]["next_better"] is None
    assert document["plans"][0]["decision"] == "too-big"


def test_a_smoke_report_comes_back_as_it_was() -> None:
    known = SmokeReport(
        results=(a_result(), a_result(verdict="skipped", tokens_per_second=None, loaded_on=None))
    )
    data = json.loads(json.dumps(report.smoke_dict(known)))
    assert (data["passed"], data["failed"], data["skipped"]) == (1, 0, 1)
    assert report.smoke_from_dict(data) == known


@pytest.mark.parametrize("data", [{}, {"results": [{}]}, {"results": 7}], ids=["empty", "no-keys", "no-list"])
def test_what_is_no_smoke_report_is_none(data: dict[str, Any]) -> None:
    assert report.smoke_from_dict(data) is None


def test_a_build_tells_each_variant() -> None:
    document = report.build_document([a_build()], 0)
    assert head(document) == ("modelforge.build/1", 0, [])
    (variant,) = document["variants"]
    assert (variant["variant"], variant["name"], variant["status"]) == (
        "coder:latest",
        "coder:latest",
        "built",
    )
    assert variant["runtime"] == {
        "kind": "ollama",
        "version": "0.32.15",
        "endpoint": "127.0.0.1:11434",
        "image": "",
        "gpus": "",
    }
    assert variant["digests"] == {"plan": "sha256:1", "content": "sha256:2", "manifest": "sha256:3"}
    assert variant["seconds"] == {"resolve": 0.1, "create": 2.0, "smoke": 0.5, "promote": 0.2}
    brought = report.build_dict(replace(a_build(), seconds={"bring": 60.0, "create": 2.0}))
    assert brought["seconds"] == {
        "resolve": None,
        "create": 2.0,
        "smoke": None,
        "promote": None,
        "bring": 60.0,
    }
    (result,) = variant["smoke"]["results"]
    assert {
        key: result[key] for key in ("name", "verdict", "prompt", "reply", "seconds", "tokens_per_second")
    } == {
        "name": "adds",
        "verdict": "passed",
        "prompt": "Add 1 and 2.",
        "reply": "3",
        "seconds": 0.5,
        "tokens_per_second": 61.0,
    }
    assert result["checks"] == [
        {"kind": "contains", "verdict": "passed", "expected": "3", "got": "found at 1:1"}
    ]


def test_a_refused_build_has_nulls_and_its_error() -> None:
    error = DoesNotFit("coder does not fit")
    refused = a_build(
        status="refused",
        plan=some_plan(some_assessed("14b", "Q8_0", 18.0)),
        runtime=None,
        smoke=None,
        digests={"plan": "sha256:1", "content": "", "manifest": ""},
        seconds={},
        error=error,
    )
    document = report.build_document([refused, a_build(error=BuildFailed("disk full"))], 4)
    assert head(document) == ("modelforge.build/1", 4, ["coder does not fit", "disk full"])
    variant = document["variants"][0]
    assert (variant["picked"], variant["runtime"], variant["smoke"]) == (None, None, None)
    assert variant["digests"] == {"plan": "sha256:1", "content": None, "manifest": None}
    assert variant["seconds"] == {"resolve": None, "create": None, "smoke": None, "promote": None}


def test_smoke_alone() -> None:
    document = report.smoke_document(
        "coder:latest", SmokeReport(results=(a_result(),)), 8, [SmokeFailed("1 of 1 failed")]
    )
    assert head(document) == ("modelforge.smoke/1", 8, ["1 of 1 failed"])
    assert document["name"] == "coder:latest"
    assert document["smoke"]["results"][0]["name"] == "adds"


def test_render_has_the_requests_fields() -> None:
    made = some_rendered(
        system="Be brief.\x00",
        parameters={"stop": ("a", "b"), "num_ctx": 8},
        messages=(Turn(role="user", content="hi"),),
        adapters=(Path("/p/a.gguf"),),
    )
    document = report.render_document(made, some_plan())
    assert head(document) == ("modelforge.render/1", 0, [])
    assert document["request"]["system"] == "Be brief.\x00"
    assert document["request"]["parameters"] == {"stop": ["a", "b"], "num_ctx": 8}
    assert document["request"]["messages"] == [{"role": "user", "content": "hi"}]
    assert document["request"]["template"] is None
    assert document["modelfile"].startswith("FROM ")


def test_hardware_has_all_names_and_aliases() -> None:
    document = report.hardware_document([some_hardware()], {"rtx-4090": ("4090",), "t4": ()})
    assert head(document) == ("modelforge.hardware/1", 0, [])
    assert document["names"] == [{"name": "rtx-4090", "aliases": ["4090"]}, {"name": "t4", "aliases": []}]
    assert document["hardware"][0]["devices"][0]["memory"] == 12 * (1 << 30)


def test_history_is_newest_first() -> None:
    document = report.history_document("coder:latest", [an_entry(time=1.0), an_entry(time=2.0)])
    assert head(document) == ("modelforge.history/1", 0, [])
    assert [entry["time"] for entry in document["entries"]] == [2.0, 1.0]


def test_validate_says_which_files_are_wrong() -> None:
    error = ProfileProblem(problems=[Problem(message="m", file="profiles/b.toml", line=1, column=1)])
    document = report.validate_document(["profiles/a.toml", "profiles/b.toml"], 2, [error])
    assert head(document) == ("modelforge.validate/1", 2, ["m"])
    assert document["profiles"] == [
        {"file": "profiles/a.toml", "valid": True},
        {"file": "profiles/b.toml", "valid": False},
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """A change and a written file in one."""

    name: str = "coder:latest"
    plan: Any = None
    stands: bool = True
    differences: tuple[str, ...] = ("system differs",)
    container: Preview | None = None
    fetches: int = 0
    warnings: tuple[str, ...] = ()
    path: str = "profiles/assistant.toml"
    purpose: str = "the profile"


def test_small_documents() -> None:
    thing = Thing(plan=some_plan())
    finding = Finding(good=False, text="no server answers", remedy="start it")
    doctor = report.doctor_document([finding], 10)
    assert head(doctor) == ("modelforge.doctor/1", 10, [])
    assert doctor["findings"] == [{"good": False, "text": "no server answers", "remedy": "start it"}]
    dry = report.dry_run_document([thing])
    assert head(dry) == ("modelforge.dry-run/1", 0, [])
    assert dry["variants"][0]["differences"] == ["system differs"]
    assert dry["variants"][0]["container"] is None
    assert dry["variants"][0]["fetches"] == 0
    assert dry["variants"][0]["warnings"] == []
    dry = report.dry_run_document([replace(thing, warnings=("the template leaves out system",))])
    assert dry["variants"][0]["warnings"] == ["the template leaves out system"]
    container = Preview(image="ollama/ollama", volume="v", gpus="all", request={"Cmd": ("serve",)}, note="n")
    dry = report.dry_run_document([replace(thing, container=container)])
    assert dry["variants"][0]["container"] == {
        "image": "ollama/ollama",
        "volume": "v",
        "gpus": "all",
        "note": "n",
        "request": {"Cmd": ["serve"]},
    }
    init = report.init_document(Path("/p"), [thing])
    assert init["files"] == [{"path": "profiles/assistant.toml", "purpose": "the profile"}]
    rollback = report.rollback_document(an_entry(event="rolled-back"))
    assert head(rollback) == ("modelforge.rollback/1", 0, [])
    reply = some_reply("hi", tool_calls=(ToolCall(name="add", arguments={"a": (1, 2)}),))
    assert report.run_document("coder:latest", reply)["tool_calls"] == [
        {"name": "add", "arguments": {"a": [1, 2]}}
    ]


def test_list_shows_what_stands() -> None:
    profile: Any = type(
        "P",
        (),
        {
            "name": "coder",
            "model_name": "coder",
            "file": "profiles/coder.toml",
            "description": "d",
            "base": type("B", (), {"model": "qwen"}),
            "targets": ("t4",),
            "smoke": (),
        },
    )
    entry = Entry(name="coder:t4", digest="sha256:1", bytes=5, modified=1.0)
    document = report.list_document([profile], {"coder": [entry]})
    assert head(document) == ("modelforge.list/1", 0, [])
    (listed,) = document["profiles"]
    assert (listed["name"], listed["base"], listed["targets"]) == ("coder", "qwen", ["t4"])
    assert listed["standing"][0]["name"] == "coder:t4"


def test_a_digest_that_is_not_known_is_null() -> None:
    assert report.candidate_dict(some_assessed(candidate=some_candidate()))["digest"] is None
