"""list, validate, schema, hardware, resolve, render: data on stdout, nothing touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge import resources, schemas
from modelforge.errors import Unreachable

if TYPE_CHECKING:
    from tests.commands import Commands
    from tests.fakes import FakeRuntime


# -- list ----------------------------------------------------------------------------------------------


def test_list_shows_profiles_and_what_stands(forge: Commands) -> None:
    forge("build", "coder", "-H", "rtx-4090")
    done = forge("list")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == ["coder", "✓", "reviewer"]
    assert "coder:rtx-4090" in lines[1]
    assert "modelforge/" not in done.out


def test_list_without_a_runtime_lists_the_profiles_alone(forge: Commands, runtime: FakeRuntime) -> None:
    runtime.fail("list", Unreachable("nobody there"))
    done = forge("list")
    assert (done.code, len(done.out.splitlines())) == (0, 2)
    assert "What stands is not known: nobody there" in done.err


def test_list_shows_the_valid_ones_and_the_errors_of_the_others(forge: Commands) -> None:
    forge.write("profiles/coder.toml", "system = 7\n")
    done = forge("list")
    assert done.code == 2
    assert done.out.split()[0] == "reviewer"
    assert "profiles/coder.toml:1:10" in done.err
    document = forge("list", "--json").document
    assert [profile["name"] for profile in document["profiles"]] == ["reviewer"]
    assert document["errors"][0]["file"] == "profiles/coder.toml"


# -- validate ------------------------------------------------------------------------------------------


def test_validate_says_how_many_are_sound(forge: Commands) -> None:
    done = forge("validate")
    assert (done.code, done.out, done.err) == (0, "2 checked, no errors\n", "")


def test_validate_tells_every_error_at_once(forge: Commands) -> None:
    forge.edit("profiles/coder.toml", "temperature = 0.2", "temprature = 0.2\ntop_p = 7")
    forge.write("profiles/reviewer.toml", "system = 7\n")
    done = forge("validate")
    assert (done.code, done.out) == (2, "")
    for words in (
        "profiles/coder.toml:9:1: unknown key 'temprature' in [parameters]",
        "profiles/coder.toml:10:9: 'top_p' is 7",
        "profiles/reviewer.toml:1:10: 'system' is 7",
    ):
        assert words in done.err
    document = forge("validate", "--json").document
    assert {(error["file"], error["line"]) for error in document["errors"]} >= {
        ("profiles/coder.toml", 9),
        ("profiles/coder.toml", 10),
        ("profiles/reviewer.toml", 1),
    }
    assert [(file["file"], file["valid"]) for file in document["profiles"]] == [
        ("profiles/coder.toml", False),
        ("profiles/reviewer.toml", False),
    ]


def test_validate_of_some(forge: Commands) -> None:
    forge.write("profiles/reviewer.toml", "system = 7\n")
    assert forge("validate", "coder").code == 0
    assert forge("validate", "reviewer").code == 2


# -- hardware ------------------------------------------------------------------------------------------


def test_hardware_shows_this_machine_and_all_names(forge: Commands) -> None:
    forge.write("hardware/desk.toml", 'backend = "cpu"\nsystem_memory = "32GiB"\n')
    done = forge("hardware")
    assert done.code == 0
    assert done.out.startswith("this: cpu\n  16.0 GiB system memory")
    assert "rtx-4090, " in done.out
    names = [entry["name"] for entry in forge("hardware", "--json").document["names"]]
    assert names[0] == "desk"
    assert len(names) > 140


def test_hardware_by_name_alias_and_size(forge: Commands) -> None:
    assert forge("hardware", "4090").out.startswith("rtx-4090: cuda")
    (machine,) = forge("hardware", "8GiB", "--json").document["hardware"]
    assert machine["devices"][0]["memory"] == 8 << 30


# -- resolve -------------------------------------------------------------------------------------------


def test_resolve_shows_candidates_and_the_pick(forge: Commands) -> None:
    done = forge("resolve", "coder", "-H", "rtx-4090")
    assert done.code == 0
    picked, other = done.out.splitlines()[-2:]
    assert "Q8_0" in picked
    assert picked.endswith("picked: best quality that fits")
    assert "Q4_0" in other


def test_resolve_all_for_all_hardware_as_a_document(forge: Commands) -> None:
    document = forge("resolve", "--all", "--all-hardware", "--json").document
    plans = document["plans"]
    assert [plan["variant"] for plan in plans] == [
        "coder:rtx-4090",
        "coder:rtx-3060-12gb",
        "reviewer:cpu-16gb",
    ]
    assert set(plans[0]) >= {
        "profile", "hardware", "variant", "engine", "decision", "picked", "candidates", "next_better", "warnings",
    }  # fmt: skip
    assert plans[0]["picked"]["verdict"] == "picked"
    assert plans[0]["picked"] in plans[0]["candidates"]


def test_resolve_of_what_does_not_fit_says_what_would(forge: Commands) -> None:
    done = forge("resolve", "coder", "-H", "1MiB", "-H", "rtx-4090", "--json")
    assert done.code == 4
    too_small, fits = done.document["plans"]
    assert (too_small["decision"], too_small["picked"], fits["decision"]) == ("too-big", None, "fits")
    assert set(too_small["next_better"]) == {"ref", "lacks", "would_fit_with"}
    assert done.document["errors"][0]["kind"] == "does-not-fit"


def test_resolve_verbose_shows_each_setting_and_its_source(forge: Commands) -> None:
    done = forge("resolve", "coder", "-v")
    assert "profiles/coder.toml:8" in done.out


def test_resolve_explain_shows_the_sources_alone(forge: Commands) -> None:
    done = forge("resolve", "coder", "-H", "rtx-4090", "--explain")
    assert done.code == 0
    assert "settings of coder for rtx-4090:" in done.out
    assert any(
        line.split() == ["parameters.num_ctx", "1024", "profiles/coder.toml:15:12"]
        for line in done.out.splitlines()
    )
    assert any(line.split() == ["resolve.kv_cache", "f16", "default"] for line in done.out.splitlines())
    assert "   MiB " in done.out  # not the bytes of -v


def test_resolve_for_a_context_of_ones_own(forge: Commands) -> None:
    done = forge("resolve", "coder", "-H", "rtx-4090", "--context", "256", "--json")
    (plan,) = done.document["plans"]
    assert (plan["settings"]["num_ctx"], plan["num_ctx_from"]) == (256, "given")
    assert forge("resolve", "coder", "--context", "256").out.startswith("coder: num_ctx 256 (given), ")
    explained = forge("resolve", "coder", "--context", "256", "--explain").out
    assert any(line.split() == ["parameters.num_ctx", "256", "--context"] for line in explained.splitlines())


def test_resolve_for_the_longest_context_of_each_target(forge: Commands) -> None:
    done = forge("resolve", "coder", "--all-hardware", "--context", "max", "--json")
    plans = done.document["plans"]
    assert [(plan["settings"]["num_ctx"], plan["num_ctx_from"]) for plan in plans] == [(1024, "longest")] * 2
    text = forge("resolve", "coder", "--all-hardware", "--context", "max").out
    assert text.count("longest: num_ctx 1024 is all that it was trained for with ") == 2
    assert text.startswith("coder: num_ctx 1024 (longest), ")


@pytest.mark.parametrize("wrong", ["long", "3", "-1", "1e4", "99999999", ""])
def test_a_context_that_is_none_is_told(forge: Commands, wrong: str) -> None:
    done = forge("resolve", "coder", "--context", wrong)
    assert done.code == 2
    assert "is neither a number of tokens from 4 to 16777216 nor 'max'" in done.err


def test_a_context_that_nothing_was_trained_for_is_told(forge: Commands) -> None:
    done = forge("resolve", "coder", "--context", "5000")
    assert done.code == 2
    assert (
        "a context of 5000 tokens was asked for, but './models/tiny-*.gguf' was trained for 1024" in done.err
    )


def test_resolve_off_a_terminal_is_the_same_text_each_time(
    forge: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("resolve", "--all", "--all-hardware")
    texts = set()
    for width in ("40", "80", "400"):
        monkeypatch.setenv("COLUMNS", width)
        texts.add(forge(*words).out)
    (text,) = texts
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert text.splitlines()[0].startswith("coder: num_ctx ")


# -- render --------------------------------------------------------------------------------------------


def test_render_is_the_modelfile_and_nothing_else(forge: Commands) -> None:
    done = forge("render", "coder")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].startswith("FROM ")
    assert "SYSTEM Be short." in done.out
    assert "PARAMETER num_ctx 512" in done.out
    assert "PARAMETER num_ctx 1024" in forge("render", "coder", "-H", "rtx-4090").out


def test_render_names_what_a_text_cannot_carry(forge: Commands) -> None:
    forge.edit("profiles/coder.toml", '"Be short."', '"10\\u00a0000"')
    done = forge("render", "coder")
    assert done.code == 0
    assert "cannot carry" in done.err
    document = forge("render", "coder", "--json").document
    assert document["request"]["system"] == "10\u00a0000"
    assert document["losses"][0]["instruction"] == "SYSTEM"


def test_render_is_for_one_hardware(forge: Commands) -> None:
    done = forge("render", "coder", "-H", "rtx-4090", "-H", "t4")
    assert done.code == 2
    assert "give -H once" in done.err


# -- schema ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_schema_prints_nothing_but_the_schema(forge: Commands, kind: schemas.Kind) -> None:
    done = forge("schema", kind)
    assert (done.code, done.out, done.err) == (0, schemas.text(kind), "")
    document = forge("schema", kind, "--json").document
    assert document["kind"] == kind
    assert document["json_schema"] == schemas.schema(kind)


def test_schema_is_the_profiles_unless_told_otherwise(forge: Commands) -> None:
    assert forge("schema").out == resources.profile_schema()
    assert forge("schema", "profil").code == 2
