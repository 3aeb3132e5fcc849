"""The main job on real servers: build, unchanged, mended by hand, failing tests, rollback."""

from __future__ import annotations

import json
import subprocess  # noqa: TID251 (Ollama's own command is the witness)
from typing import TYPE_CHECKING

import pytest

from tests.live.forge import Forge, quickstart

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.servers import Server

NAME = "coding-assistant"
PROMPT = "Write a function that adds two numbers."
ANSWER = 'def add(a: float, b: float) -> float:\n    """Adds two numbers."""\n    return a + b'


@pytest.fixture
def forge(server: Server, tmp_path: Path) -> Forge:
    return quickstart(tmp_path / "forge", OLLAMA_HOST=server.host)


def ollama(server: Server, *words: str) -> str:
    """Ollama's own command, as a user would type it."""
    done = subprocess.run(
        [str(server.binary), *words],
        env=server.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def answer(server: Server, name: str = NAME) -> str:
    body = {
        "model": name,
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": False,
        "options": {"temperature": 0, "seed": 1},
    }
    status, text = server.call("POST", "/api/chat", body)
    assert status == 200, text
    content: str = json.loads(text)["message"]["content"]
    return content


def names(server: Server) -> set[str]:
    _status, text = server.call("GET", "/api/tags")
    return {model["name"] for model in json.loads(text)["models"]}


def stamps(server: Server) -> dict[str, str]:
    """When each name was last written."""
    _status, text = server.call("GET", "/api/tags")
    return {model["name"]: model["modified_at"] for model in json.loads(text)["models"]}


def build(forge: Forge, *words: str) -> tuple[int, dict[str, object]]:
    done = forge.run("build", NAME, "--runtime", "ollama", "--json", *words)
    (variant,) = done.document["variants"]
    return done.code, variant


def test_the_model_is_what_the_profile_says(server: Server, forge: Forge) -> None:
    done = forge.run("build", NAME, "--runtime", "ollama")
    assert done.code == 0, done.err
    text = ollama(server, "show", NAME, "--modelfile")
    assert "SYSTEM Use type hints and docstrings." in text
    assert "PARAMETER num_ctx 1024" in text
    assert "PARAMETER temperature 0.2" in text
    assert ANSWER in answer(server)
    assert "def " in ollama(server, "run", NAME, PROMPT)
    assert {name.split(":")[0] for name in names(server)} == {NAME, "modelforge/weights"}


def test_a_second_build_is_unchanged_and_says_so(forge: Forge) -> None:
    assert build(forge)[1]["status"] == "built"
    code, variant = build(forge)
    assert (code, variant["status"]) == (0, "unchanged")
    again = forge.run("build", NAME, "--runtime", "ollama")
    assert "up to date" in again.out + again.err


def test_a_model_deleted_by_hand_is_built_again(server: Server, forge: Forge) -> None:
    build(forge)
    ollama(server, "rm", NAME)
    code, variant = build(forge)
    assert (code, variant["status"]) == (0, "built")
    assert ANSWER in answer(server)


def test_a_model_changed_by_hand_is_built_again(server: Server, forge: Forge) -> None:
    build(forge)
    server.call("POST", "/api/create", {"model": NAME, "from": NAME, "system": "Talk like a pirate."})
    assert "Arr!" in answer(server)
    code, variant = build(forge)
    assert (code, variant["status"]) == (0, "built")
    assert ANSWER in answer(server)


def test_a_failing_smoke_test_leaves_the_old_model_answering(server: Server, forge: Forge) -> None:
    build(forge)
    before = answer(server)
    forge.edit(f"profiles/{NAME}.toml", "Use type hints and docstrings.", "Talk like a pirate.")
    done = forge.run("build", NAME, "--runtime", "ollama")
    assert done.code == 8
    assert "Arr!" in done.err
    assert answer(server) == before
    assert {name.split(":")[0] for name in names(server)} == {NAME, "modelforge/weights"}


def test_rollback_restores_what_stood_before(server: Server, forge: Forge) -> None:
    build(forge)
    forge.edit(f"profiles/{NAME}.toml", "num_ctx = 1024", "num_ctx = 512")
    assert build(forge)[1]["status"] == "built"
    assert "num_ctx 512" in ollama(server, "show", NAME, "--modelfile")
    done = forge.run("rollback", NAME)
    assert done.code == 0, done.err
    assert "num_ctx 1024" in ollama(server, "show", NAME, "--modelfile")
    assert ANSWER in answer(server)
    assert forge.run("rollback", NAME).code == 0
    assert "num_ctx 512" in ollama(server, "show", NAME, "--modelfile")


def test_only_the_tests_changed_so_only_they_run(server: Server, forge: Forge) -> None:
    build(forge)
    before = stamps(server)
    forge.edit(f"profiles/{NAME}.toml", 'contains = "Berlin"', 'contains = "Berlin."')
    code, variant = build(forge)
    assert (code, variant["status"]) == (0, "unchanged")
    assert stamps(server) == before
    forge.edit(f"profiles/{NAME}.toml", 'contains = "Berlin."', 'contains = "Paris"')
    assert build(forge)[0] == 8
    assert ANSWER in answer(server)


def test_a_name_for_one_build_and_one_hardware(server: Server, forge: Forge) -> None:
    assert build(forge, "-H", "matchbox")[1]["name"] == f"{NAME}:matchbox"
    assert build(forge, "--name", "mine:v1")[1]["name"] == "mine:v1"
    assert {f"{NAME}:matchbox", "mine:v1"} <= names(server)


def test_two_builds_at_once_wait_for_each_other(server: Server, forge: Forge) -> None:
    first = forge.start("build", NAME, "--runtime", "ollama", "--json")
    second = forge.start("build", NAME, "--runtime", "ollama", "--json")
    codes = [first.wait(120), second.wait(120)]
    statuses = {
        json.loads(process.stdout.read())["variants"][0]["status"]
        for process in (first, second)
        if process.stdout
    }
    for process in (first, second):
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
    assert codes == [0, 0]
    assert statuses == {"built", "unchanged"}
    assert ANSWER in answer(server)
