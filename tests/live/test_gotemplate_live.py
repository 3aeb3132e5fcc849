"""Both servers make of Go templates what we make of them, and models with such a template answer here as there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.go_prompt import go_prompt
from modelforge.gotemplate import GoTemplateProblem
from tests.live.forge import Forge, quickstart
from tests.live.servers import OK
from tests.test_gotemplate import GOLDEN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.servers import Server


def made(server: Server, template: str) -> bool:
    """Whether the server makes a model with that template."""
    body = {"model": "own", "from": "tiny", "template": template, "stream": False}
    status, text = server.call("POST", "/api/create", body)
    assert status == OK or "template error" in text, text
    return status == OK


def rendered(server: Server, turns: list[list[str]]) -> str | None:
    """The prompt for a conversation; None where the template fails."""
    messages = [{"role": role, "content": content} for role, content in turns]
    body = {"model": "own", "messages": messages, "stream": False, "_debug_render_only": True}
    status, text = server.call("POST", "/api/chat", {**body, "options": {"num_ctx": 512}})
    assert status == OK or "template:" in text, text
    found: str | None = json.loads(text)["_debug_info"]["rendered_template"] if status == OK else None
    return found


def test_servers_make_of_templates_what_we_make(server: Server, tiny: Path) -> None:
    server.put("tiny", tiny)
    wrong = []
    for row in GOLDEN["templates"]:
        there = made(server, row["template"])
        for name, wanted in row["texts"].items():
            got = rendered(server, GOLDEN["conversations"][name]) if there else None
            if got != wanted:
                wrong.append((row["template"], name, wanted, got))
    assert wrong == []


def test_what_servers_refuse_is_refused_before(server: Server, tiny: Path) -> None:
    server.put("tiny", tiny)
    for template in (
        "{{ .A",
        "{{ if .A }}",
        "{{ foo }}",
        "{{ $x }}",
        '{{ "\\q" }}',
        "{{ end }}",
    ):
        assert not made(server, template)
        with pytest.raises(GoTemplateProblem):
            go_prompt(template)


PROFILE = """\
system = "Use type hints and docstrings."
chat_template_file = "own.gotmpl"
[base]
model = "{model}"
[parameters]
num_ctx = 1024
num_thread = 1
stop = ["<|im_end|>"]
[[smoke]]
name = "answers"
prompt = "Write a function that adds two numbers."
expect = {{ contains = ["def ", "->"] }}
"""
TEMPLATE = """\
{{- range $i, $m := .Messages }}{{ if or (eq .Role "system") (ne .Content "") -}}
<|im_start|>{{ $m.Role }}
{{ $m.Content }}<|im_end|>
{{ end }}{{ end }}<|im_start|>assistant
"""


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    made = quickstart(tmp_path / "forge")
    made.profile("coder", PROFILE.format(model="./models/forge-tiny-Q8_0.gguf"))
    (made.project / "own.gotmpl").write_text(TEMPLATE, encoding="utf-8")
    return made


def reply(forge: Forge, *where: str) -> str:
    done = forge.run("build", "coder", *where, "--json")
    assert done.code == 0, done.err
    (variant,) = json.loads(done.out)["variants"]
    (result,) = variant["smoke"]["results"]
    found: str = result["reply"]
    return found


def test_a_template_of_ones_own_is_tested_embedded_as_on_servers(forge: Forge, server: Server) -> None:
    embedded = reply(forge, "--runtime", "embedded")
    assert embedded == reply(forge, "--runtime", "ollama", "--host", server.host)


def test_a_model_of_a_server_with_its_template_is_tested_embedded(forge: Forge, server: Server) -> None:
    """As a model of the library comes: its template is a layer, and nobody's format that we know."""
    forge.profile("coder", PROFILE.format(model="./models/forge-tiny-Q8_0.gguf"))
    over_server: dict[str, Any] = {"MODELFORGE_STORE": str(server.models)}
    first = reply(forge, "--runtime", "ollama", "--host", server.host, "--name", "theirs")
    forge.environment.update(over_server)
    text = PROFILE.format(model="theirs").replace('chat_template_file = "own.gotmpl"\n', "")
    forge.profile("coder", text)
    assert reply(forge, "--runtime", "embedded") == first
