"""Test results as JUnit XML, as GitLab, Jenkins and others read it.

One suite for each variant, one case for each smoke test. Some readers keep only the first of two cases with one
name, so a case's name holds the variant too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelforge.errors import ForgeError
    from modelforge.reported import Built
    from modelforge.smoke import SmokeReport, SmokeResult

# What XML 1.0 cannot hold, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Suite:
    """One variant's results. `error` is what kept it from being built or tested; `seconds` what all of it took."""

    name: str
    report: SmokeReport | None
    error: ForgeError | None
    properties: Mapping[str, str]
    seconds: float = 0.0


def junit(results: Sequence[Built]) -> str:
    """The XML text of builds, with its declaration."""
    return _xml([_suite_of(built) for built in results])


def _suite_of(built: Built) -> _Suite:
    picked, runtime = built.plan.picked, built.runtime
    failed_tests = built.smoke is not None and built.smoke.count("failed") > 0
    return _Suite(
        name=built.name,
        report=built.smoke,
        error=None if failed_tests else built.error,  # the cases tell of those themselves
        properties={
            "status": built.status,
            "hardware": built.plan.hardware.name,
            "base": picked.candidate.ref if picked else "",
            "quant": picked.candidate.quant if picked else "",
            "digest": built.digests.get("content", ""),
            "runtime": f"{runtime.kind} {runtime.version}" if runtime else "",
        },
        seconds=sum(built.seconds.values()),
    )


def junit_of_smoke(name: str, report: SmokeReport) -> str:
    """The XML text of tests alone, run against the model `name`."""
    return _xml([_Suite(name=name, report=report, error=None, properties={})])


def _xml(suites: Sequence[_Suite]) -> str:
    """The text. A suite without results has one case, `build`, with its error if any."""
    root = ET.Element("testsuites", name="modelforge")
    for suite in suites:
        _add_suite(root, suite)
    _count(root, list(root.iter("testcase")))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add_suite(root: ET.Element, suite: _Suite) -> None:
    element = ET.SubElement(root, "testsuite", name=_clean(suite.name))
    properties = ET.SubElement(element, "properties")
    for name, value in suite.properties.items():
        ET.SubElement(properties, "property", name=name, value=_clean(value))
    used: set[str] = set()
    results = suite.report.results if suite.report else ()
    for result in results:
        _add_test(element, suite, result, used)
    if suite.error is not None or not results:
        _add_build(element, suite, used)
    _count(element, element.findall("testcase"))


def _add_test(element: ET.Element, suite: _Suite, result: SmokeResult, used: set[str]) -> None:
    case = _add_case(element, suite, result.name, result.seconds, used)
    if result.verdict == "failed":
        failed = [check for check in result.checks if check.verdict == "failed"]
        message = "; ".join(f"{check.kind} {check.expected}: {check.got}" for check in failed)
        failure = ET.SubElement(case, "failure", type="smoke", message=_clean(message))
        failure.text = _clean(f"prompt:\n{result.prompt}\n\nreply:\n{result.reply}")
    elif result.verdict == "skipped":
        ET.SubElement(case, "skipped", message=_clean(result.checks[0].got if result.checks else ""))


def _add_build(element: ET.Element, suite: _Suite, used: set[str]) -> None:
    """A case for the build itself, so that a variant without test results is seen too."""
    case = _add_case(element, suite, "build", suite.seconds, used)
    if suite.error is not None:
        error = ET.SubElement(case, "error", type=suite.error.kind, message=_clean(str(suite.error)))
        error.text = _clean("\n".join(problem.hint or "" for problem in suite.error.problems).strip())


def _add_case(element: ET.Element, suite: _Suite, name: str, seconds: float, used: set[str]) -> ET.Element:
    return ET.SubElement(
        element,
        "testcase",
        classname="modelforge." + _clean(suite.name),
        name=_unique(_clean(f"{suite.name} {name}"), used),
        time=f"{seconds:.3f}",
    )


def _count(element: ET.Element, cases: Sequence[ET.Element]) -> None:
    element.set("tests", str(len(cases)))
    for kind, child in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(kind, str(sum(case.find(child) is not None for case in cases)))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")


def _unique(name: str, used: set[str]) -> str:
    """The name, with a number behind it where it was there before."""
    free, number = name, 1
    while free in used:
        number += 1
        free = f"{name} ({number})"
    used.add(free)
    return free


def _clean(text: str) -> str:
    """The text without characters that XML cannot hold; U+FFFD stands for each."""
    return _ILLEGAL.sub("\ufffd", text)
