"""The JSON Schema of a profile gives the loader's verdict, at the loader's place."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import tomli

from modelforge import resources, schemas
from modelforge.errors import Problem, ProfileProblem
from modelforge.hardware import files
from modelforge.names import valid_tag
from modelforge.profile import names, schema, tables
from modelforge.profile.json_schema import profile_schema
from modelforge.profile.load import load_profile
from modelforge.profile.positions import TOP, positions
from modelforge.profile.rules import rule_of
from modelforge.project import find_project
from modelforge.scaffold import Found, new_project
from tests.documents import ROOT, all_blocks, text_of
from tests.spoiled import SPOILED, UNSAID, VALID
from tests.trees import write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from modelforge.profile.positions import KeyPath

VALIDATOR = jsonschema.Draft7Validator(profile_schema())


def refused(text: str, validator: Any = VALIDATOR) -> set[KeyPath]:
    """The places that the schema finds fault with; that of an unknown key is the key's."""
    return {place for error in validator.iter_errors(tomli.loads(text)) for place in places(error)}


def places(error: Any) -> Iterator[KeyPath]:
    path = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        yield (*path, str(error.instance))
    elif error.validator == "additionalProperties":
        yield from ((*path, key) for key in error.instance if key not in error.schema["properties"])
    else:
        yield path


def problems(root: Path, text: str) -> tuple[Problem, ...]:
    """What the loader finds fault with."""
    tree: dict[str, str | bytes] = {"profiles/coder.toml": text.encode(), "README.md": "x"}
    project = find_project(write_tree(root, tree), environment={})
    with pytest.raises(ProfileProblem) as caught:
        load_profile(project, "coder")
    return caught.value.problems


def assert_at(found: tuple[Problem, ...], text: str, path: KeyPath) -> None:
    """All of the loader's problems stand at the path's key or value."""
    place = positions(text)[path] if path else TOP
    at = {(place.line, place.column), (place.value_line, place.value_column)}
    assert {(problem.line, problem.column) for problem in found} <= at, [
        f"{problem.place}: {problem.message}" for problem in found
    ]


# -- the same verdict --------------------------------------------------------------------------------


def test_it_is_a_schema_of_the_draft_that_editors_know() -> None:
    for kind in schemas.KINDS:
        made = schemas.schema(kind)
        assert made["$schema"] == "http://json-schema.org/draft-07/schema#"
        jsonschema.Draft7Validator.check_schema(made)


def test_there_are_enough_mistakes() -> None:
    assert len({case.id for case in SPOILED}) == len(SPOILED) >= 120


@pytest.mark.parametrize("first", sorted({str(case.path[:1]) for case in SPOILED}))
def test_a_mistake_is_refused_where_the_loader_refuses_it(first: str, tmp_path: Path) -> None:
    """All those of a table in one test: there are hundreds, and each is told by its name if it fails."""
    for number, case in enumerate(case for case in SPOILED if str(case.path[:1]) == first):
        try:
            assert_at(problems(tmp_path / str(number), case.text), case.text, case.path)
            assert refused(case.text) == {(*case.path, *case.finer)}
        except AssertionError as error:
            raise AssertionError(case.id) from error


@pytest.mark.parametrize("name", UNSAID)
def test_what_the_schema_cannot_say_is_known(name: str, tmp_path: Path) -> None:
    case = UNSAID[name]
    assert_at(problems(tmp_path, case.text), case.text, case.path)
    assert refused(case.text) == set()
    assert f"- {name}" in text_of(ROOT / "docs" / "how-to" / "editor.md")


def test_the_page_names_no_other_difference() -> None:
    page = text_of(ROOT / "docs" / "how-to" / "editor.md")
    named = re.findall(r"^- (.*?)[:;.]", page.partition("## What only")[2], re.MULTILINE)
    assert set(named) == set(UNSAID)


BASE = "[base]\nmodel = 'x'\n"
WHOLE = {
    "valid": VALID,
    "any case": BASE + "quants = ['q8_0', 'Q4_k_m', ' fp16 ', 'MXFP4_MOE']\nquantize = 'q4_k'\n",
    "spellings": "name = 'host.com:5000/team/a'\nrequires = '0'\n[base]\nmodel = 'hf.co/a/b:Q8_0'\n"
    "[resolve]\nheadroom = ' 1.5 gib '\nengine = '0.33.0-rc2'\n[serve]\nkeep_alive = '-5m'\n",
    "numbers": BASE + "[parameters]\ntemperature = 1\nnum_ctx = 0x1000\n",
    "override": BASE + "sizes = ['7b']\n[hardware.T4]\nname = 'x'\nbase.tag = 'a'\nunset = ['base.sizes']\n"
    "smoke = []\nvars.x = 1\n",
    "paths": "system_file = './a/../b.md'\nadapters = ['..a', 'a..b/c']\n[base]\nmodel = './m/*.gguf'\n",
    "tool": BASE + "[[smoke]]\nname = 'x'\nprompt = 'x'\nruns = 3\nmin_pass = 2\n"
    "expect = { tool_call = { name = 'f', arguments = { a = 1 } } }\n",
    "embeddings": BASE
    + "[[smoke]]\nname = 'x'\nprompt = 'x'\nruns = 2\nmin_pass = 1\nparameters.num_ctx = 64\n"
    "expect = { dimensions = 768, closer_to = 'a', than = 'b', max_seconds = 1, max_vram = '1GiB' }\n",
    "full cache": BASE + "[resolve]\nflash_attention = 'off'\nkv_cache = 'bf16'\n",
    "dates of one's own": BASE + "[vars]\nday = 1979-05-27\nlist = [1, 'a', { b = inf }]\n",
}
PROFILES = [*ROOT.glob("profiles/*.toml"), *ROOT.glob("examples/*/profiles/*.toml")]
GOOD = {
    **{str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in PROFILES},
    **{block.id: block.text for block in all_blocks("toml", "profile")},
    "a new project's": next(file.text for file in new_project(Found(model="x")) if "[base]" in file.text),
    "fragment": "[base]\nvariant = 'instruct'\n[parameters]\ntop_k = 5\n",
    "empty fragment": "",
    "child": "extends = 'x'\nunset = ['parameters.stop', 'vars.\"a b\"']\nbase.tag = '7b'\n",
    **WHOLE,
}


@pytest.mark.parametrize("text", WHOLE.values(), ids=list(WHOLE))
def test_good_profiles_are_good(text: str, tmp_path: Path) -> None:
    others = dict.fromkeys(("a/x", "b.md", "..a", "a..b/c"), "x")
    root = write_tree(tmp_path, {"profiles/coder.toml": text.encode(), **others})
    load_profile(find_project(root, environment={}), "coder")


def test_nothing_that_the_loader_takes_is_refused() -> None:
    assert {name: found for name, text in GOOD.items() if (found := refused(text))} == {}


# -- validators and their patterns -------------------------------------------------------------------

SEEDS = (
    *(
        "8GiB",
        "512 MB",
        "0",
        "1024",
        "1.5kb",
        " 8 tib ",
        "1008GB/s",
        "0.32",
        "0.32.15",
        "0.33.0-rc2+x",
        "8.9",
    ),
    *("30m", "1h30m", "-1", "250ms", "0s", "1d", "{size}-{variant}-{quant}", "coder", "team/coder", "/ns/m"),
    *("host.com:5000/team/a", "ModelForge/x", "h/modelforge/x", "team/modelforge", "modelforge/a/b", "//m"),
    *("LOCAL", "x-cloud", "-cloud", "rtx-4090", "a:b", "http://x", "a/b/c/d", "", "m" * 81),
)
VALIDATORS: tuple[Callable[[str], object], ...] = (
    *(tables._size, schema._engine, schema._requires, schema._keep_alive, schema._pattern),
    *(names.model_name, names.tag_name, names.namespace_name, files._rate, files._capability),
)


def changed(text: str, dice: random.Random) -> str:
    characters = list(text)
    for _ in range(dice.randint(0, 3)):
        at = dice.randrange(len(characters) + 1)
        characters[at : at + dice.randint(0, 1)] = dice.choice("0123456789.-+/:{}aAgGiIbBmMsShHdDkK _xcloudv")
    return "".join(characters)


@pytest.mark.parametrize("validator", VALIDATORS, ids=lambda one: one.__name__)
def test_a_validators_pattern_takes_what_it_takes(validator: Callable[[str], object]) -> None:
    pattern = re.compile(rule_of(validator)["pattern"])
    dice = random.Random(validator.__name__)
    for text in (changed(dice.choice(SEEDS), dice) for _ in range(3000)):
        try:
            validator(text)
            good = True
        except ValueError:
            good = False
        assert bool(pattern.search(text)) == good, text


# -- for people --------------------------------------------------------------------------------------


def test_every_key_says_what_it_is_for() -> None:
    for kind in schemas.KINDS:
        made = schemas.schema(kind)
        tables = [made, *made["definitions"].values()]
        values = [value for table in tables for value in table["properties"].values()]
        followed = [
            made["definitions"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            for value in values
        ]
        assert [value for value in followed if not value.get("description")] == []
        assert all(
            table["additionalProperties"] is False
            for table in tables
            if table is not made.get("definitions", {}).get("Targets")
        )


def test_quants_are_offered_as_llama_cpp_spells_them() -> None:
    quants = profile_schema()["definitions"]["Base"]["properties"]["quants"]["items"]["anyOf"]
    assert {"Q8_0", "Q4_K_M", "IQ4_XS"} <= set(quants[0]["enum"])


# -- the file that ships -----------------------------------------------------------------------------


def test_the_shipped_schema_is_fresh() -> None:
    assert resources.profile_schema() == schemas.text("profile"), "run: make docs"


@pytest.mark.parametrize("file", PROFILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_schema_line_leads_to_the_schema(file: Path) -> None:
    found = re.match(r"#:schema (\S+)\n", file.read_text(encoding="utf-8"))
    if file.parent == resources.profiles():
        assert found is not None
    if found is not None:
        assert (file.parent / found[1]).resolve() == resources.profiles() / resources.PROFILE_SCHEMA


def test_a_new_project_has_the_schema_beside_its_profiles(tmp_path: Path) -> None:
    tree = {file.path: file.text for file in new_project(Found(model="x"))}
    write_tree(tmp_path, tree)
    first = (tmp_path / "profiles/assistant.toml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "#:schema ./profile.schema.json"
    written = (tmp_path / "profiles" / "profile.schema.json").read_text(encoding="utf-8")
    assert written == resources.profile_schema()
    assert valid_tag("profile.schema")  # a name that a profile could have: only .toml files are profiles


# -- modelforge.toml and hardware --------------------------------------------------------------------

PROJECT = jsonschema.Draft7Validator(schemas.schema("project"))
HARDWARE = jsonschema.Draft7Validator(schemas.schema("hardware"))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("runtime = 'dokcer'", ("runtime",)),
        ("[runtime]\ndefault = 'x'", ("runtime", "default")),
        ("[runtime.docker]\nmemory = '16 gigs'", ("runtime", "docker", "memory")),
        ("[runtime.docker]\nimages = 'x'", ("runtime", "docker", "images")),
        ("[runtime.docker.env]\nA = 1", ("runtime", "docker", "env", "A")),
        ("[hosts.a]\nhardware = 'x'", ("hosts", "a")),
        ("[timeouts]\nload = '5 min'", ("timeouts", "load")),
        ("[timeouts]\ncall = 0", ("timeouts", "call")),
        ("registry = 'a/modelforge'", ("registry",)),
        ("keep = 1001", ("keep",)),
        ("kep = 3", ("kep",)),
    ],
)
def test_a_mistake_in_modelforge_toml(text: str, path: KeyPath, tmp_path: Path) -> None:
    with pytest.raises(ProfileProblem) as caught:
        find_project(write_tree(tmp_path, {"modelforge.toml": text}), environment={})
    assert_at(caught.value.problems, text, path)
    assert refused(text, PROJECT) == {path}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("backend = 'cdua'\n[[device]]\nmemory = '1GiB'", ("backend",)),
        ("backend = 'cpu'\n[[device]]\nlike = 't4'", ("backend",)),
        ("backend = 'cuda'\nsystem_memory = '1GiB'", ("backend",)),
        ("description = 'x'", ()),
        ("[[device]]\nmemory = '1GiB'", ()),
        ("backend = 'cuda'\n[[device]]\nname = 'x'", ("device", 0)),
        ("[[device]]\nlike = 't4'\nmemory = '1GiB'", ("device", 0, "memory")),
        ("[[device]]\nlike = 't4'\ncount = 0", ("device", 0, "count")),
        ("system_memory = '0GiB'", ("system_memory",)),
        ("system_memory = '1GiB'\nsystem_bandwidth = '5GB'", ("system_bandwidth",)),
        (
            "backend = 'cuda'\n[[device]]\nmemory = '1GiB'\ncompute_capability = 8.9",
            ("device", 0, "compute_capability"),
        ),
    ],
)
def test_a_mistake_in_a_hardware_file(text: str, path: KeyPath, tmp_path: Path) -> None:
    write_tree(tmp_path, {"hardware/desk.toml": text})
    with pytest.raises(ProfileProblem) as caught:
        files.load_hardware(tmp_path / "hardware" / "desk.toml", root=tmp_path)
    assert_at(caught.value.problems, text, path)
    assert refused(text, HARDWARE) == {path}


def test_good_files_of_a_project_are_taken() -> None:
    for block in all_blocks("toml", "project"):
        assert refused(block.text, PROJECT) == set(), block.id
    for block in all_blocks("toml", "hardware"):
        assert refused(block.text, HARDWARE) == set(), block.id
    for file in ROOT.glob("examples/*/*.toml"):
        assert refused(file.read_text(encoding="utf-8"), PROJECT) == set(), file
    for file in ROOT.glob("examples/*/hardware/*.toml"):
        assert refused(file.read_text(encoding="utf-8"), HARDWARE) == set(), file
