"""`modelforge build`, without tests that need a model: what is told, in which order, and the document."""

from __future__ import annotations

import signal
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, NoReturn

import pytest
from pydantic_core import SchemaError

from modelforge.errors import BuildFailed, Unreachable
from tests.projects import FakeAccess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Commands
    from tests.fakes import FakeRuntime


def test_a_build_talks_on_stderr_and_ends_with_what_to_type_next(forge: Commands) -> None:
    done = forge("build", "coder")
    assert (done.code, done.out) == (0, "")
    assert "✓ says ok" in done.err
    assert "promoted  coder:latest" in done.err
    assert done.err.strip().splitlines()[-1].endswith("run coder")


def test_an_unchanged_build_is_one_line(forge: Commands) -> None:
    forge("build", "coder")
    done = forge("build", "coder")
    assert (done.code, done.out) == (0, "")
    (line,) = [line for line in done.err.splitlines() if "reading" not in line]
    assert line.startswith("coder:latest is up to date (")
    assert line.endswith("Nothing to do.")


def test_the_document(forge: Commands) -> None:
    done = forge("build", "coder", "-H", "rtx-4090", "--json")
    assert done.code == 0
    (variant,) = done.document["variants"]
    assert (variant["variant"], variant["name"], variant["status"]) == (
        "coder:rtx-4090",
        "coder:rtx-4090",
        "built",
    )
    assert set(variant["runtime"]) == {"kind", "version", "endpoint", "image", "gpus"}
    assert set(variant["digests"]) == {"plan", "content", "manifest"}
    assert set(variant["seconds"]) == {"resolve", "create", "smoke", "promote"}
    assert variant["picked"]["ref"] == "./models/tiny-Q8_0.gguf"
    assert set(variant["picked"]) >= {
        "ref", "size", "quant", "digest", "exact", "bytes", "devices", "verdict", "reason", "tokens_per_second",
    }  # fmt: skip
    assert set(variant["picked"]["bytes"]) == {"weights", "kv", "compute", "projector", "total"}
    smoke = variant["smoke"]
    assert (smoke["passed"], smoke["failed"], smoke["skipped"]) == (1, 0, 0)
    (result,) = smoke["results"]
    assert set(result) >= {"name", "verdict", "prompt", "reply", "checks", "seconds", "tokens_per_second"}
    assert result["checks"] == [
        {"kind": "contains", "verdict": "passed", "expected": "ok", "got": "found at 1:1"}
    ]
    again = forge("build", "coder", "-H", "rtx-4090", "--json").document["variants"][0]
    assert (again["status"], again["smoke"], again["digests"]) == ("unchanged", smoke, variant["digests"])


def test_a_failing_test_is_told_once_with_question_and_answer(forge: Commands, runtime: FakeRuntime) -> None:
    runtime.default = "no way"
    done = forge("build", "coder")
    assert done.code == 8
    assert done.err.count("says ok") == 1
    for words in ("prompt    ok?", "expected  contains ok", "got       no way"):
        assert words in done.err
    document = forge("build", "coder", "--json").document
    assert document["exit_code"] == 8
    assert document["variants"][0]["status"] == "smoke-failed"
    assert [error["kind"] for error in document["errors"]] == ["smoke"]
    assert runtime.names() == []


def test_several_variants_are_all_tried_and_the_first_failure_gives_the_code(
    forge: Commands, runtime: FakeRuntime
) -> None:
    runtime.fail("create", BuildFailed("no space left on device"))
    done = forge("build", "coder", "reviewer", "-H", "rtx-4090", "-H", "1MiB", "--json")
    assert done.code == 7
    statuses = {variant["name"]: variant["status"] for variant in done.document["variants"]}
    assert statuses == {
        "coder:rtx-4090": "failed",
        "coder:1MiB": "refused",
        "reviewer:rtx-4090": "built",
        "reviewer:1MiB": "refused",
    }
    assert [error["kind"] for error in done.document["errors"]] == ["build", "does-not-fit", "does-not-fit"]


def test_a_profile_without_weights_does_not_keep_the_others_from_being_built(
    forge: Commands, runtime: FakeRuntime
) -> None:
    forge.edit("profiles/coder.toml", "tiny-*.gguf", "tny-*.gguf")
    done = forge("build", "--all", "--json")
    assert done.code == 2
    document = done.document
    assert (document["schema"], document["exit_code"]) == ("modelforge.build/1", 2)
    assert [variant["status"] for variant in document["variants"]] == ["built"]
    assert [error["kind"] for error in document["errors"]] == ["base"]
    assert runtime.names() == ["reviewer:latest"]
    assert "tny" in forge("build", "--all").err


def test_without_a_runtime_the_rest_is_not_tried(forge: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def nobody(_access: object, need: object) -> None:
        asked.append(need)
        raise Unreachable("nobody there")

    monkeypatch.setattr(FakeAccess, "open", nobody)
    done = forge("build", "--all")
    assert (done.code, len(asked)) == (10, 1)
    assert done.err.count("nobody there") == 1


def test_ctrl_c_ends_all_and_tells_what_was_done(forge: Commands, runtime: FakeRuntime) -> None:
    runtime.fail("create", KeyboardInterrupt(), nth=2)
    done = forge("build", "--all", "--json")
    assert done.code == 130
    document = done.document
    assert [variant["status"] for variant in document["variants"]] == ["built"]
    assert document["errors"][-1]["kind"] == "interrupted"
    assert "reviewer:latest" in document["errors"][-1]["message"]
    assert runtime.names() == ["coder:latest"]


def test_an_interrupt_that_pydantic_wraps_is_still_one(
    forge: Commands, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wraps(*_words: object, **_named: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise SchemaError("KeyboardInterrupt: ") from error

    monkeypatch.setattr("modelforge.build.promote", wraps)
    done = forge("build", "coder", "--json")
    assert done.code == 130
    (error,) = done.document["errors"]
    assert (error["kind"], "interrupted while coder:latest was built" in error["message"]) == (
        "interrupted",
        True,
    )
    assert runtime.names() == []


def test_a_bug_within_a_build_stays_one(
    forge: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_words: object, **_named: object) -> NoReturn:
        raise ZeroDivisionError

    monkeypatch.setattr("modelforge.build.promote", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert forge("build", "coder").code == 1


def test_one_name_is_for_one_model(forge: Commands, runtime: FakeRuntime) -> None:
    done = forge("build", "--all", "--name", "mine")
    assert done.code == 2
    assert "--name mine is for one model, and 2 would be built" in done.err
    assert forge("build", "coder", "--name", "mine").code == 0
    assert runtime.names() == ["mine:latest"]


def test_no_smoke_and_keep_failed(forge: Commands, runtime: FakeRuntime) -> None:
    runtime.default = "no"
    assert forge("build", "coder", "--keep-failed").code == 8
    assert [name for name in runtime.names() if name.startswith("modelforge/staged:")]
    done = forge("build", "coder", "--no-smoke")
    assert done.code == 0
    assert "untested" in done.err
    assert runtime.names() == ["coder:latest"]


def test_a_dry_run_touches_nothing(forge: Commands, runtime: FakeRuntime) -> None:
    done = forge("build", "coder", "--dry-run")
    assert done.code == 0
    assert "does not stand yet" in done.out
    assert runtime.names() == []
    forge("build", "coder")
    assert "up to date" in forge("build", "coder", "--dry-run").out
    forge.edit("profiles/coder.toml", "Be short.", "Be long.")
    assert "system differs" in forge("build", "coder", "--dry-run").out
    document = forge("build", "coder", "--dry-run", "--json").document
    assert document["variants"][0]["stands"] is True
    assert runtime.models["coder:latest"].system == "Be short."


def test_junit(forge: Commands, runtime: FakeRuntime, tmp_path: Path) -> None:
    runtime.default = "no"
    file = tmp_path / "out" / "junit.xml"
    assert forge("build", "coder", "--junit", str(file)).code == 8
    assert ET.parse(file).getroot().iter("failure") is not None  # noqa: S314 (our own file)
    assert "says ok" in file.read_text()


def test_a_junit_file_that_cannot_be_written_undoes_nothing(
    forge: Commands, runtime: FakeRuntime, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = forge("build", "coder", "--junit", str(tmp_path / "file" / "junit.xml"), "--json")
    assert done.code == 2
    assert done.document["variants"][0]["status"] == "built"
    assert "cannot be written" in done.document["errors"][0]["message"]
    assert runtime.names() == ["coder:latest"]


PLANNED = "num_gpu is set: the server then loads without checking that the model fits"
LEFT_OUT = "the template leaves out system"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(("resolve", "coder"), (PLANNED,), id="resolve"),
        pytest.param(("render", "coder"), (LEFT_OUT,), id="render"),
        pytest.param(("build", "coder"), (PLANNED, LEFT_OUT), id="build"),
        pytest.param(("build", "coder", "--dry-run"), (PLANNED, LEFT_OUT), id="dry run"),
    ],
)
def test_each_warning_is_told_once(forge: Commands, words: tuple[str, ...], told: tuple[str, ...]) -> None:
    forge.write("templates/own.j2", "FROM [[ base ]]\nPARAMETER num_ctx 512\nPARAMETER num_gpu 0\n")
    forge.write(
        "profiles/coder.toml",
        'template = "own.j2"\nsystem = "Be short."\n[base]\nmodel = "./models/tiny-*.gguf"\n'
        "[parameters]\nnum_ctx = 512\nnum_gpu = 0\n",
    )
    done = forge(*words)
    assert done.code == 0, done.err
    said = [
        line.partition("warning: ")[2] for line in (done.out + done.err).splitlines() if "warning: " in line
    ]
    assert sorted(line for line in said if line in {PLANNED, LEFT_OUT}) == sorted(told)
    assert len(said) == len(set(said))
    if words[-1] == "--dry-run":
        variant = forge(*words, "--json").document["variants"][0]
        assert variant["warnings"] == [LEFT_OUT]
        assert variant["plan"]["warnings"].count(PLANNED) == 1
