from __future__ import annotations

from xml.etree import ElementTree as ET

from modelforge.checks import Check
from modelforge.errors import BuildFailed, SmokeFailed
from modelforge.junit import junit, junit_of_smoke
from modelforge.smoke import SmokeReport
from tests.samples import a_build, a_result

FAILED = Check(kind="json", verdict="failed", expected="yes", got="not JSON at 1:1")
SKIPPED = Check(kind="loaded_on", verdict="skipped", expected="on gpu", got="not judged")


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 (our own)


def mixed() -> SmokeReport:
    return SmokeReport(
        results=(
            a_result(),
            a_result(name="json", verdict="failed", checks=(FAILED,), reply="Sure!\x1b\x00 <&\ud800"),
            a_result(name="gpu", verdict="skipped", checks=(SKIPPED,)),
        )
    )


def test_a_suite_for_each_variant_a_case_for_each_test() -> None:
    text = junit(
        [a_build(status="smoke-failed", smoke=mixed(), error=SmokeFailed("1 of 3 failed")), a_build()]
    )
    root = parsed(text)
    first, second = root.findall("testsuite")
    assert first.attrib | {"time": ""} == {
        "name": "coder:latest",
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
        "time": "",
    }
    assert [case.get("name") for case in first.findall("testcase")] == [
        "coder:latest adds",
        "coder:latest json",
        "coder:latest gpu",
    ]
    assert first.findall("testcase")[0].get("time") == "0.500"
    assert second.get("tests") == "1"
    assert root.get("tests") == "4"
    properties = {one.get("name"): one.get("value") for one in first.iter("property")}
    assert (properties["hardware"], properties["quant"], properties["digest"]) == (
        "rtx-3060-12gb",
        "Q8_0",
        "sha256:2",
    )


def test_a_failure_tells_prompt_and_reply_without_what_xml_cannot_hold() -> None:
    root = parsed(junit_of_smoke("coder:latest", mixed()))
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "json yes: not JSON at 1:1"
    assert failure.text == "prompt:\nAdd 1 and 2.\n\nreply:\nSure!\ufffd\ufffd <&\ufffd"
    skipped = root.find(".//skipped")
    assert skipped is not None
    assert skipped.get("message") == "not judged"


def test_a_build_that_failed_is_an_error_of_its_own() -> None:
    error = BuildFailed("disk full", hint="free some")
    root = parsed(junit([a_build(status="failed", smoke=None, error=error)]))
    case = root.find(".//testcase")
    assert case is not None
    assert case.get("name") == "coder:latest build"
    found = case.find("error")
    assert found is not None
    assert (found.get("type"), found.get("message"), found.text) == ("build", "disk full", "free some")


def test_a_build_without_tests_is_a_case_that_passed() -> None:
    root = parsed(junit([a_build(smoke=None)]))
    assert (root.get("tests"), root.get("errors"), root.get("failures")) == ("1", "0", "0")


def test_names_are_unique() -> None:
    report = SmokeReport(results=(a_result(), a_result(), a_result(name="adds (2)")))
    names = [case.get("name") for case in parsed(junit_of_smoke("c:x", report)).iter("testcase")]
    assert names == ["c:x adds", "c:x adds (2)", "c:x adds (2) (2)"]
