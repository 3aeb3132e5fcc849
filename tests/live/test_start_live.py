"""The first minute on a machine with an Ollama: what the doctor finds there, and a project that builds at once."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.documents import ROOT, blocks
from tests.live.conftest import MODELS
from tests.live.forge import Forge
from tests.live.servers import NEW, OLD, binary_of
from tests.live.test_readme_live import as_user, shell

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.servers import Server

CLOUD = "gpt-oss:120b-cloud"


@pytest.fixture
def forge(server: Server, tmp_path: Path) -> Forge:
    """Commands in an empty folder, for that server alone; its own program is first on PATH."""
    made = Forge(folder=tmp_path, environment={"OLLAMA_HOST": server.host})
    made.environment["PATH"] = f"{server.binary.parent}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "home").mkdir()
    made.project.mkdir()
    return made


def give(server: Server, name: str) -> None:
    """The demo model on the server, under that name."""
    digest = server.send((MODELS / "forge-tiny-Q8_0.gguf").read_bytes())
    chat = "{{ .System }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n"
    body = {"model": name, "files": {"tiny-Q8_0.gguf": digest}, "template": chat, "stream": False}
    status, text = server.call("POST", "/api/create", body)
    assert status == 200, text


def make_cloud(server: Server, name: str) -> None:
    """A model without weights, which the server makes without asking anybody."""
    status, text = server.call("POST", "/api/create", {"model": name, "from": CLOUD, "stream": False})
    assert status == 200, text


def bad(forge: Forge, *words: str) -> dict[str, str]:
    """Text -> remedy of what the doctor finds not well."""
    done = forge.run("doctor", "--json", *words)
    assert done.code == 0, done.err
    return {one["text"]: one["remedy"] for one in done.document["findings"] if not one["good"]}


def test_init_takes_a_model_of_the_server_and_the_next_line_builds_it(server: Server, forge: Forge) -> None:
    make_cloud(server, "aa-cloudy")
    give(server, "mine")
    made = forge.run("init", "new")
    assert made.code == 0, made.err
    profile = (forge.project / "new" / "profiles" / "assistant.toml").read_text(encoding="utf-8")
    assert 'model = "mine:latest"\n' in profile
    assert "num_ctx = 1024\n" in profile
    assert made.out.splitlines()[-1] == "cd new && modelforge build assistant"
    built = forge.run("build", "assistant", "-C", "new", "--json")
    assert built.code == 0, built.err
    (variant,) = built.document["variants"]
    assert (variant["status"], variant["runtime"]["kind"]) == ("built", "ollama")
    assert "warning" not in built.err
    again = forge.run("init", "again")  # 'assistant' stands there now, and is no base of itself
    assert again.code == 0, again.err
    assert 'model = "mine:latest"\n' in (forge.project / "again/profiles/assistant.toml").read_text()


def test_init_where_the_server_has_no_weights(server: Server, forge: Forge) -> None:
    make_cloud(server, "cloudy")
    assert forge.run("init", "new").code == 0
    assert "forge-tiny" in (forge.project / "new" / "profiles" / "assistant.toml").read_text()
    built = forge.run("build", "assistant", "-C", "new", "--json")
    assert built.code == 0, built.err


def test_the_doctor_at_a_real_server(server: Server, forge: Forge) -> None:
    give(server, "mine")
    assert forge.run("init").code == 0
    before = sorted(forge.folder.rglob("*"))
    done = forge.run("doctor")
    assert (done.code, done.err) == (0, "")
    assert f"✓ Ollama {server.version} answers at {server.host}" in done.out
    assert "✓ models are built by the runtime ollama" in done.out
    is_old = server.version == OLD
    assert [text for text in bad(forge) if "is older than what plans are for" in text] == (
        [f"Ollama {OLD} is older than what plans are for: it needs other amounts of memory (assistant)"]
        if is_old
        else []
    )
    assert sorted(forge.folder.rglob("*")) == before
    make_cloud(server, "cloudy")
    found = [(text, what) for text, what in bad(forge).items() if text.startswith("cloudy:latest")]
    assert [what for _, what in found] == [
        "nothing can be built on it; to be rid of it: ollama rm cloudy:latest"
    ]
    forge.edit("profiles/assistant.toml", "mine:latest", "cloudy")
    assert [text for text in bad(forge) if text.startswith("assistant builds on cloudy")]


def test_the_doctor_knows_the_real_programs(server: Server, forge: Forge) -> None:
    programs = {version: binary for version in (OLD, NEW) if (binary := binary_of(version))}
    other = next((one for version, one in programs.items() if version != server.version), None)
    if other is None:
        pytest.skip("there is one Ollama here, and it takes two")
    assert not [text for text in bad(forge) if "ollama program" in text or "the command" in text]
    forge.environment["PATH"] = f"{other.parent}{os.pathsep}{forge.environment['PATH']}"
    found = bad(forge)
    (two,) = [text for text in found if text.startswith("2 ollama programs on PATH, of different versions")]
    assert all(f"({version})" in two for version in programs)
    assert [text for text in found if text.endswith(f"the server at {server.host} is {server.version}")]


def test_the_end_of_the_tutorial(server: Server, tmp_path: Path) -> None:
    """The lines for one's own card, but for the start of the server, which runs."""
    give(server, "mine")
    (lines,) = [block.text for block in blocks(ROOT / "docs" / "tutorial.md") if block.words == ("sh",)]
    commands = [re.sub(r" +#.*", "", line) for line in lines.splitlines()]
    assert commands.pop(0) == "ollama serve"
    assert commands.pop() == "ollama run assistant"  # it would wait for a person
    environment = as_user(tmp_path) | {"OLLAMA_HOST": server.host}
    code, output = shell(" && ".join(commands), tmp_path, environment)
    assert code == 0, output
    assert "promoted  assistant:latest" in output
    assert "assistant:latest" in json.dumps(server.call("GET", "/api/tags"))
