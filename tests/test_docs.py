"""The documentation says what the code does: its examples load, its command lines parse, its tables are fresh."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any

import click
import pytest

from docs import generate
from modelforge import __version__, report
from modelforge.cli import COMMANDS, cli
from modelforge.errors import ExitCode, ForgeError, UsageProblem
from modelforge.finding import Finding
from modelforge.hardware.files import load_hardware
from modelforge.pipeline import Change
from modelforge.profile.load import load_profile
from modelforge.profile.schema import ProfileFile
from modelforge.project import find_project
from modelforge.resolve import NextBetter
from modelforge.runtimes import Entry
from modelforge.runtimes.docker.spec import Preview
from modelforge.scaffold import NewFile
from modelforge.smoke import SmokeReport
from tests.commands import Commands
from tests.documents import PAGES, ROOT, Block, all_blocks, blocks, forge_words, links, text_of, typed
from tests.fakes import some_rendered, some_reply
from tests.ggufs import tiny_llama
from tests.samples import a_build, a_result, an_entry, some_hardware, some_plan

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.project import Project

REFERENCE = ROOT / "docs" / "reference"
CONSOLES = all_blocks("console")
WIDTH = 125


def ids(found: list[Block]) -> list[str]:
    return [block.id for block in found]


def page_ids(pages: tuple[Path, ...]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


# -- examples ----------------------------------------------------------------------------------------


def project_with(folder: Path, name: str, text: str) -> Project:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return find_project(folder, environment={})


PROFILES = all_blocks("toml", "profile")
PROJECTS = all_blocks("toml", "project")
HARDWARE = all_blocks("toml", "hardware")


def test_there_are_examples_of_everything() -> None:
    assert PROFILES
    assert PROJECTS
    assert HARDWARE
    unmarked = [block.id for block in all_blocks("toml") if len(block.words) == 1]
    assert unmarked == []


def test_every_profile_loads(tmp_path: Path) -> None:
    for number, block in enumerate(PROFILES):
        try:
            load_example(block, tmp_path / str(number))
        except ForgeError as error:
            raise AssertionError(block.id) from error


def load_example(block: Block, tmp_path: Path) -> None:
    tmp_path.mkdir()
    for file in re.findall(r'^(?:system|license|chat_template)_file *= *"([^"]+)"', block.text, re.MULTILINE):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("Text.", encoding="utf-8")
    for file in re.findall(r'^template *= *"([^"]+)"', block.text, re.MULTILINE):
        (tmp_path / "templates").mkdir()
        (tmp_path / "templates" / file).write_text("FROM [[ base ]]\n", encoding="utf-8")
    project = project_with(tmp_path, "profiles/example.toml", block.text)
    load_profile(project, "example")


@pytest.mark.parametrize("block", PROJECTS, ids=ids(PROJECTS))
def test_every_project_file_loads(block: Block, tmp_path: Path) -> None:
    project = project_with(tmp_path, "modelforge.toml", block.text)
    assert set(project.settings.sources.values()) != set()


@pytest.mark.parametrize("block", HARDWARE, ids=ids(HARDWARE))
def test_every_hardware_file_loads(block: Block, tmp_path: Path) -> None:
    project_with(tmp_path, "hardware/example.toml", block.text)
    load_hardware(tmp_path / "hardware" / "example.toml", root=tmp_path)


def test_a_piece_that_is_added_to_a_profile_has_only_known_keys() -> None:
    pieces = [block for block in all_blocks("toml") if block.word("append")]
    assert pieces
    for block in pieces:
        heads = re.findall(r"^\[+([a-z]+)", block.text, re.MULTILINE)
        assert set(heads) <= set(ProfileFile.model_fields), block.id


def test_the_template_page_word_for_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template, profile, console, error = blocks(ROOT / "docs" / "how-to" / "template.md")
    tiny_llama(tmp_path / "tiny-Q8_0.gguf", "Q8_0")
    with_file = profile.text.replace('"qwen2.5-coder"', '"./tiny-Q8_0.gguf"')
    project_with(tmp_path, "profiles/coder.toml", with_file)
    project_with(tmp_path, "templates/team.j2", template.text)
    (line,) = typed(console)
    (words,) = forge_words(line.line)
    forge = Commands(project=tmp_path, capture=capsys)
    done = forge(*words, "--runtime", "embedded")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "MESSAGE assistant The platform team."
    project_with(tmp_path, "templates/team.j2", template.text.replace("vars.team", "vars.taem"))
    assert forge(*words, "--runtime", "embedded").err == error.text


def test_plans_for_named_hardware_are_told_with_their_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same on every machine, so the pages have the very numbers."""
    init = Commands(project=tmp_path, capture=capsys)("init", "--runtime", "embedded")
    assert init.code == 0, init.err
    pages = {"tutorial.md": tmp_path, "fit.md": ROOT / "examples" / "quickstart"}
    seen = []
    for block in CONSOLES:
        for told in typed(block) if block.page.name in pages else ():
            if " resolve " in told.line and " -H " in told.line:
                done = Commands(project=pages[block.page.name], capture=capsys)(*forge_words(told.line)[0])
                assert [line.rstrip() for line in done.out.splitlines()] == list(told.output), block.id
                seen.append(block.page.name)
    assert sorted(seen) == sorted(pages)


# -- command lines -----------------------------------------------------------------------------------


def check_words(words: list[str]) -> None:
    """Parses a command line without running it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = cli.make_context("modelforge", list(words), resilient_parsing=False)
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, command, arguments = cli.resolve_command(context, rest)
        assert command is not None
        command.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("block", CONSOLES, ids=ids(CONSOLES))
def test_every_command_line_parses(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = typed(block)
    assert lines, "a console block shows what is typed behind '$ '"
    for one in lines:
        for words in forge_words(one.line):
            try:
                check_words(words)
            except click.exceptions.Exit:  # --version, --help
                continue
            except click.ClickException as error:
                pytest.fail(f"{one.line}: {error.format_message()}")


@pytest.mark.parametrize("words", [["biuld"], ["build", "--no-smkoe"], ["run"]], ids=" ".join)
def test_a_command_line_that_is_wrong_is_found(words: list[str]) -> None:
    with pytest.raises((click.ClickException, UsageProblem)):
        check_words(words)


def test_commands_in_prose_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"`modelforge ([a-z]+)[^`]*`", text_of(page)):
            assert name in COMMANDS, f"{page}: modelforge {name}"


def test_flags_in_prose_exist() -> None:
    known = {"--merge", "--image"}  # other programs'
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        known.update(spelling for one in command.params for spelling in one.opts)
    for page in PAGES:
        assert set(re.findall(r"`(--[a-z-]+)", text_of(page))) <= {*known, "--version", "--help"}, page


# -- generated tables --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", generate.PAGES, ids=lambda page: page.stem)
def test_generated_parts_are_fresh(page: Path) -> None:
    text = text_of(page)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fresh = generate.filled(text)
    assert fresh == text, "run: make docs"


def test_everything_that_can_be_generated_is_somewhere() -> None:
    whole = "".join(text_of(page) for page in generate.PAGES)
    shown = {match["name"] for match in generate.PART.finditer(whole)}
    assert shown == {
        *generate.TABLES,
        *("commands", "common flags", "environment", "hardware names", "foreign"),
        *("quants", "figures", "speed", "versions", "built-in names"),
    }


def test_no_other_page_has_generated_parts() -> None:
    assert {page for page in PAGES if generate.PART.search(text_of(page))} <= set(generate.PAGES)


def test_a_stale_part_is_seen() -> None:
    stale = "before\n<!-- generated: Head -->\nold\n<!-- end -->\nafter\n"
    fresh = generate.filled(stale)
    assert fresh.startswith("before\n")
    assert fresh.endswith("after\n")
    assert "old" not in fresh
    assert "| `extends` | text | – | the profile that this one adds to, by its name |" in fresh


def test_every_key_has_its_words() -> None:
    for table in generate.TABLES.values():
        for row in generate.keys_table(table).splitlines()[2:]:
            assert not re.search(r"\|\s*\|", row), row


def test_exit_codes_are_all_there_and_only_those() -> None:
    rows = re.findall(r"^\| (\d+) \|", text_of(REFERENCE / "exit-codes.md"), re.MULTILINE)
    assert [int(row) for row in rows] == sorted(int(code) for code in ExitCode)


# -- JSON --------------------------------------------------------------------------------------------


def documents() -> dict[str, dict[str, Any]]:
    """Every document that a command can print, from sample records."""
    full = SmokeReport(results=(a_result(),))
    better = NextBetter(ref="coder:14b", lacks=7, would_fit_with=("num_ctx 8192",))
    plan = some_plan(next_better=better)
    built = a_build(plan=plan, smoke=full)
    entry = an_entry()
    standing = Entry(name="coder:latest", digest="sha256:1", bytes=1, modified=1.0)
    container = Preview(image="i", volume="v", gpus="all", request={}, note="")
    made = [
        report.resolve_document([plan], 0),
        report.build_document([built], 0),
        report.dry_run_document(
            [Change(name="coder:latest", plan=plan, stands=True, differences=("x",), container=container)]
        ),
        report.smoke_document("coder:latest", full, 0),
        report.render_document(some_rendered(), plan),
        report.run_document("coder:latest", some_reply()),
        report.history_document("coder:latest", [entry]),
        report.rollback_document(entry),
        report.list_document([], {"coder": [standing]}),
        report.validate_document(["profiles/coder.toml"], 0),
        report.schema_document("profile", {"type": "object"}),
        report.hardware_document([some_hardware()], {"rtx-4090": ["4090"]}),
        report.doctor_document([Finding(good=True, text="x")], 0),
        report.init_document(ROOT, [NewFile(path="a", text="b", purpose="c")]),
        report.error_document(UsageProblem("x")),
    ]
    return {str(one["schema"]): json.loads(json.dumps(one)) for one in made}


DOCUMENTS = documents()
EXAMPLES = {
    str(example["schema"]): example
    for block in all_blocks("json")
    if block.page.stem == "json"
    for example in [json.loads(block.text)]
}


def keys_agree(example: Any, real: Any, place: str) -> None:
    """The same keys in the same order, all the way down; null, and `{"…": …}`, stand for anything."""
    if isinstance(example, dict) and isinstance(real, dict):
        if "…" in example:
            return
        if place.rpartition(".")[2] not in {"parameters", "arguments"}:
            assert list(example) == list(real), place
        for key in example.keys() & real.keys():
            keys_agree(example[key], real[key], f"{place}.{key}")
    elif isinstance(example, list) and isinstance(real, list) and example and real:
        keys_agree(example[0], real[0], f"{place}[]")
    elif None not in {type(example), type(real)} and example is not None and real is not None:
        numbers = isinstance(example, int | float) and isinstance(real, int | float)
        assert numbers or type(example) is type(real), place


def test_every_document_is_described_and_no_other() -> None:
    assert set(EXAMPLES) == set(DOCUMENTS)
    headings = re.findall(r"^## (modelforge\.\S+)", text_of(REFERENCE / "json.md"), re.MULTILINE)
    assert set(headings) == set(DOCUMENTS)
    source = (ROOT / "modelforge" / "report.py").read_text(encoding="utf-8")
    made = {f"modelforge.{name}/1" for name in re.findall(r'document\(\s*"([a-z-]+)"', source)}
    assert made == set(DOCUMENTS)


@pytest.mark.parametrize("schema", sorted(DOCUMENTS))
def test_the_keys_of_a_document_are_those_described(schema: str) -> None:
    keys_agree(EXAMPLES[schema], DOCUMENTS[schema], schema)


def test_a_key_that_is_not_described_is_found() -> None:
    real = DOCUMENTS["modelforge.resolve/1"]
    changed = {**real, "plans": [{**real["plans"][0], "new": 1}]}
    with pytest.raises(AssertionError, match=r"plans\[\]"):
        keys_agree(EXAMPLES["modelforge.resolve/1"], changed, "modelforge.resolve/1")


# -- pages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=page_ids(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", text_of(target), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings}, (
                link
            )


def test_every_page_can_be_reached() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        found = [
            (page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link
        ]
        waiting += [one for one in found if one.suffix == ".md" and one not in seen]
    assert {page for page in PAGES if "docs" in page.parts} <= seen


@pytest.mark.parametrize("page", PAGES, ids=page_ids(PAGES))
def test_lines_are_short(page: Path) -> None:
    text = re.sub(r"^(`{3,}).*?^\1$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > WIDTH and not line.startswith("|")]
    assert long == []


def test_the_first_screen_of_the_readme_says_what_it_is_and_then_two_lines() -> None:
    screen = text_of(ROOT / "README.md").splitlines()[:14]
    assert screen[0] == "# modelforge"
    typed_first = [line for line in screen if line.startswith("$ ")]
    assert [line.split()[-1] for line in typed_first] == ["modelforge", "quickstart"]
    assert len(typed_first) == 2
    before = screen[: screen.index(typed_first[0])]
    assert len(" ".join(before).split()) <= 80


def test_the_changelog_knows_this_version() -> None:
    assert f"## {__version__}" in text_of(ROOT / "CHANGELOG.md")


def test_make_targets_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"^(?:\$|   ) make ([a-z]+)|`make ([a-z]+)`", text_of(page), re.MULTILINE)
        assert {one or other for one, other in named} <= targets, page
