"""init, doctor, completion: the first minute."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from modelforge.doctor import packages
from modelforge.runtimes import choose
from tests.doctors import serve
from tests.ggufs import tiny_llama

if TYPE_CHECKING:
    from tests.commands import Commands


def test_init_writes_a_project_that_is_valid(forge: Commands) -> None:
    done = forge("init", "fresh")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "cd fresh && modelforge build assistant"
    files = {line.split()[0] for line in done.out.splitlines()[:-2]}
    profiles = {"profiles/assistant.toml", "profiles/profile.schema.json"}
    rest = {"prompts/assistant.md", "modelforge.toml", ".gitignore", "models/forge-tiny-Q8_0.gguf"}
    assert files == profiles | rest
    assert {f"fresh/{file}" for file in files} <= forge.tree()
    assert forge("validate", "-C", "fresh").code == 0
    assert forge("resolve", "assistant", "-C", "fresh").code == 0


def test_init_takes_the_weights_that_are_there(forge: Commands) -> None:
    tiny_llama(forge.project / "fresh" / "own-Q8_0.gguf")
    assert forge("init", "fresh").code == 0
    profile = (forge.project / "fresh" / "profiles" / "assistant.toml").read_text()
    assert 'model = "./own-Q8_0.gguf"' in profile
    assert not (forge.project / "fresh" / "models").exists()


def test_the_next_step_can_be_pasted(forge: Commands) -> None:
    assert forge("init", "my project").out.splitlines()[-1] == "cd 'my project' && modelforge build assistant"


def test_init_passes_over_weights_that_cannot_be_planned_for(forge: Commands) -> None:
    forge.write("fresh/a-damaged.gguf", "<html>")
    tiny_llama(forge.project / "fresh" / "own-Q8_0.gguf", context=512)
    assert forge("init", "fresh").code == 0
    profile = (forge.project / "fresh" / "profiles" / "assistant.toml").read_text()
    assert 'model = "./own-Q8_0.gguf"' in profile
    assert "num_ctx = 512\n" in profile


def test_init_where_nothing_can_be_written_leaves_nothing(forge: Commands) -> None:
    forge.write("file", "")
    before = forge.tree()
    done = forge("init", "file/fresh")
    assert (done.code, done.out) == (2, "")
    assert "cannot be written (Not a directory)" in done.err
    forge.write("has/modelforge.toml", "")
    assert forge("init", "has").code == 2
    assert forge.tree() == before | {"has/modelforge.toml"}


def test_init_in_a_folder_with_files_of_its_own(forge: Commands) -> None:
    forge.write("mine/.gitignore", "*.log\n")
    forge.write("mine/README.md", "Mine.\n")
    done = forge("init", "mine")
    assert done.code == 0
    assert ".modelforge/.gitignore" in done.out
    assert (forge.project / "mine/.modelforge/.gitignore").read_text() == "*\n"
    assert (forge.project / "mine/.gitignore").read_text() == "*.log\n"
    assert (forge.project / "mine/README.md").read_text() == "Mine.\n"


def test_init_tells_all_files_as_json(forge: Commands) -> None:
    document = forge("init", "fresh", "--json").document
    assert document["root"] == str(forge.project / "fresh")
    told = {file["path"]: file["purpose"] for file in document["files"]}
    assert {f"fresh/{path}" for path in told} <= forge.tree()
    assert told["models/forge-tiny-Q8_0.gguf"] == "the demo model"


def test_init_overwrites_nothing(forge: Commands) -> None:
    assert forge("init", "fresh").code == 0
    before = forge.tree()
    done = forge("init", "fresh")
    assert (done.code, done.out) == (2, "")
    assert "has a project already" in done.err
    assert forge.tree() == before


@pytest.mark.processes
def test_doctor_finds_and_remedies(forge: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch)
    monkeypatch.setenv("MODELFORGE_STORE", str(forge.project / "store"))
    before = forge.tree()
    done = forge("doctor")
    assert (done.code, done.err) == (0, "")
    assert "✓ 2 profiles in" in done.out
    nothing = "No Ollama answers at 127.0.0.1:11434 (connection refused)."
    assert f"✗ {nothing}\n    start it:           ollama serve\n" in done.out
    assert done.out.splitlines()[-1].startswith("✓ models are built by the runtime embedded")
    findings = forge("doctor", "--json").document["findings"]
    assert [one["text"] for one in findings if one["text"] == nothing and "ollama serve" in one["remedy"]]
    assert forge.tree() == before


def test_doctor_without_any_runtime(forge: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch)
    monkeypatch.setattr(choose, "embedded_installed", lambda: False)
    monkeypatch.setattr(packages, "embedded_installed", lambda: False)
    done = forge("doctor")
    assert done.code == 10
    assert "✗ no runtime can be had, so nothing can be built here\n    start an Ollama" in done.out
    assert forge("doctor", "--json").document["exit_code"] == 10


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(forge: Commands, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.shell_completion import BashComplete  # noqa: PLC0415

    monkeypatch.setattr(BashComplete, "_check_version", lambda _self: None)  # it asks bash itself
    done = forge("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert "_MODELFORGE_COMPLETE" in done.out


def completed(forge: Commands, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """What bash would offer after a line."""
    words = line.split(" ")
    monkeypatch.setenv("_MODELFORGE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.chdir(forge.project)
    done = forge()
    monkeypatch.delenv("_MODELFORGE_COMPLETE")
    return [row.partition(",")[2] for row in done.out.split()]


def test_completion_offers_commands_profiles_and_hardware(
    forge: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completed(forge, monkeypatch, "modelforge ro") == ["rollback"]
    assert completed(forge, monkeypatch, "modelforge build co") == ["coder"]
    assert completed(forge, monkeypatch, "modelforge build coder -H rtx-4080-s") == ["rtx-4080-super"]
    assert os.environ.get("_MODELFORGE_COMPLETE") is None


def test_completing_a_word_is_no_bug(forge: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MODELFORGE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"modelforge -C {forge.project} build co")
    monkeypatch.setenv("COMP_CWORD", "4")
    done = forge()
    assert (done.code, done.out, done.err) == (0, "plain,coder\n", "")
