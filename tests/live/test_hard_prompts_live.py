"""What the profile says is what the model gets: every hard text, byte for byte, through the whole pipeline.

Read back in two ways that have nothing to do with our own client: a plain HTTP call, and the blobs of the store.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.errors import BuildFailed, ExitCode
from tests.live.forge import quickstart
from tests.live.servers import choices
from tests.live.sites import build_once, bureau
from tests.prompts import HARD_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from modelforge.build import BuildResult
    from modelforge.targets import Work
    from tests.live.servers import Server
    from tests.live.sites import Bureau

TEMPLATES = ["", "mine.j2"]
MINE = '''\
FROM [[ base ]]
# Quotes around a text are the template's; those of the text are the text's.
SYSTEM """[[ system ]]"""
[% for name, value in parameters.items() %]
PARAMETER [[ name ]] [[ value ]]
[% endfor %]
MESSAGE user """[[ messages[0].content ]]"""
MESSAGE assistant [[ messages[1].content ]]
LICENSE """[[ license[0] ]]"""
'''
BARE = """\
FROM [[ base ]]
SYSTEM [[ system ]]
PARAMETER num_ctx 512
[% for message in messages %]
MESSAGE [[ message.role ]] [[ message.content ]]
[% endfor %]
LICENSE [[ license[0] ]]
"""
PROFILE = """\
system_file = "prompt.md"
license_file = "license.txt"
{template}
[base]
model = "./models/tiny.gguf"

[parameters]
num_ctx = 512

[resolve]
headroom = "0B"

[[messages]]
role = "user"
content = {question}

[[messages]]
role = "assistant"
content = "Yes."
"""
FEW = [
    "docstrings",
    "triple quote at a line end",
    "only a triple quote",
    "leading newline",
    "trailing newlines",
    "leading and trailing blanks",
    "CRLF",
    "lone CR",
    "a Modelfile",
    "our own delimiters",
    "Persian with ZWNJ",
    "NBSP at the ends",
    "NUL",
    "C0 controls",
    "byte order mark first",
    "100 kB",
]


def toml(text: str) -> str:
    """A text as a TOML string that stands for just that text."""
    plain = {"\\": "\\\\", '"': '\\"'}
    return (
        '"'
        + "".join(plain.get(c, f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c) for c in text)
        + '"'
    )


def put(
    place: Bureau, template: str, system: str, question: str = "Ready?", license_text: str = "Free."
) -> None:
    place.write(
        {
            "templates/mine.j2": MINE.encode(),
            "templates/bare.j2": BARE.encode(),
            "prompt.md": system.encode(),
            "license.txt": license_text.encode(),
            "profiles/hard.toml": PROFILE.format(
                template=f'template = "{template}"' if template else "", question=toml(question)
            ).encode(),
        }
    )


def layers(store: Path, name: str) -> dict[str, list[bytes]]:
    """What a store's manifest has, by the last word of each layer's type."""
    repository, _, tag = name.partition(":")
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / repository / (tag or "latest")
    found: dict[str, list[bytes]] = {}
    for layer in json.loads(manifest.read_bytes())["layers"]:
        blob = store / "blobs" / layer["digest"].replace(":", "-")
        kind = layer["mediaType"].rpartition(".")[2]
        if kind != "model":
            content = blob.read_bytes()
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == layer["digest"]
            assert len(content) == layer["size"]
            found.setdefault(kind, []).append(content)
    return found


def show(server: Server, name: str) -> dict[str, Any]:
    status, text = server.call("POST", "/api/show", {"model": name})
    assert status == 200, text
    shown: dict[str, Any] = json.loads(text)
    return shown


@pytest.fixture
def on_server(server: Server, tmp_path: Path) -> Bureau:
    environment = {**server.environment, "HOME": str(tmp_path)}
    return bureau(tmp_path / "bureau", environment, runtime="ollama", host=server.host)


@pytest.fixture
def on_store(tmp_path: Path) -> Bureau:
    folder = tmp_path / "bureau"
    return bureau(folder, {"HOME": str(tmp_path)}, runtime="embedded", store=str(folder / "store"))


def built(
    place: Bureau, work: Work, template: str, texts: Mapping[str, str]
) -> Iterator[tuple[str, str, BuildResult]]:
    """Builds a model for each text: its name, the text, and how it ended."""
    for number, text in enumerate(texts.values()):
        put(place, template, text)
        name = f"hard:{number}"
        yield name, text, build_once(work, "hard", name)


def wrong_in_store(store: Path, name: str, text: str) -> list[str]:
    found = layers(store, name)
    expected = {"system": [text.encode()], "license": [b"Free."]}
    wrong = [f"{kind} in the store" for kind, content in expected.items() if found.get(kind) != content]
    turns = [{"role": "user", "content": "Ready?"}, {"role": "assistant", "content": "Yes."}]
    if [json.loads(content) for content in found.get("messages", [])] != [turns]:
        wrong.append("messages in the store")
    return wrong


@pytest.mark.parametrize("template", TEMPLATES, ids=["default", "quoted"])
def test_every_prompt_on_a_server(server: Server, on_server: Bureau, template: str) -> None:
    work = on_server.work()
    wrong = []
    for (name, text, result), title in zip(
        built(on_server, work, template, HARD_PROMPTS), HARD_PROMPTS, strict=True
    ):
        if result.status != "built":
            wrong.append((title, str(result.error)))
            continue
        if show(server, name).get("system") != text:
            wrong.append((title, "system as the server shows it"))
        wrong += [(title, what) for what in wrong_in_store(server.models, name, text)]
        server.call("DELETE", "/api/delete", {"model": name})
    work.close()
    assert wrong == []


@pytest.mark.parametrize("template", TEMPLATES, ids=["default", "quoted"])
def test_every_prompt_in_an_own_store(
    on_store: Bureau, template: str, servers: Callable[[str], Server]
) -> None:
    work = on_store.work()
    wrong = []
    texts = {}
    for (name, text, result), title in zip(
        built(on_store, work, template, HARD_PROMPTS), HARD_PROMPTS, strict=True
    ):
        if result.status != "built":
            wrong.append((title, str(result.error)))
            continue
        texts[name] = text
        wrong += [(title, what) for what in wrong_in_store(on_store.store, name, text)]
    work.close()
    assert wrong == []
    for choice in choices():
        wrong += shown_wrong(servers(choice), on_store.store, texts)
    assert wrong == []


def shown_wrong(server: Server, store: Path, texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """What a server that is started on a store shows otherwise."""
    server.restart(OLLAMA_MODELS=str(store))
    try:
        return [
            (name, f"{server.version} shows it otherwise")
            for name, text in texts.items()
            if show(server, name).get("system") != text
        ]
    finally:
        server.stop()
        server.settings = {}


def few() -> Iterator[tuple[str, str]]:
    return ((title, HARD_PROMPTS[title]) for title in FEW)


@pytest.mark.parametrize("template", [*TEMPLATES, "bare.j2"], ids=["default", "quoted", "bare"])
def test_messages_and_license_on_a_server(server: Server, on_server: Bureau, template: str) -> None:
    work = on_server.work()
    wrong = []
    for title, text in few():
        put(on_server, template, "Be short.", question=text, license_text=text)
        result = build_once(work, "hard", "hard:x")
        assert result.status == "built", (title, result.error)
        shown, stored = show(server, "hard:x"), layers(server.models, "hard:x")
        wrong += [(title, what) for what in wrong_texts(shown, stored, text)]
        server.call("DELETE", "/api/delete", {"model": "hard:x"})
    work.close()
    assert wrong == []


def wrong_texts(shown: Mapping[str, Any], stored: Mapping[str, list[bytes]], text: str) -> Iterator[str]:
    if shown["messages"][0]["content"] != text:
        yield "the message as the server shows it"
    if json.loads(stored["messages"][0])[0]["content"] != text:
        yield "the message in the store"
    if shown["license"] != text:
        yield "the license as the server shows it"
    if stored["license"] != [text.encode()]:
        yield "the license in the store"


@pytest.mark.parametrize("template", [*TEMPLATES, "bare.j2"], ids=["default", "quoted", "bare"])
def test_messages_and_license_in_an_own_store(on_store: Bureau, template: str) -> None:
    work = on_store.work()
    for title, text in few():
        put(on_store, template, "Be short.", question=text, license_text=text)
        result = build_once(work, "hard", "hard:x")
        assert result.status == "built", (title, result.error)
        stored = layers(on_store.store, "hard:x")
        assert json.loads(stored["messages"][0])[0]["content"] == text, title
        assert stored["license"] == [text.encode()], title
    work.close()


@pytest.mark.parametrize("template", TEMPLATES, ids=["default", "quoted"])
def test_over_the_command_a_prompt_is_exact_or_refused(
    server: Server, on_server: Bureau, template: str
) -> None:
    work = on_server.work(via="cli")
    refused, wrong = [], []
    for (name, text, result), title in zip(
        built(on_server, work, template, HARD_PROMPTS), HARD_PROMPTS, strict=True
    ):
        if result.status == "built":
            if show(server, name).get("system") != text:
                wrong.append((title, "system as the server shows it"))
            wrong += [(title, what) for what in wrong_in_store(server.models, name, text)]
            server.call("DELETE", "/api/delete", {"model": name})
            continue
        refused.append(title)
        if not isinstance(result.error, BuildFailed) or "SYSTEM" not in result.error.problems[0].message:
            wrong.append((title, str(result.error)))
    work.close()
    assert wrong == []
    assert "NBSP" in refused  # the command drops what is not printable
    assert {"tabs", "Jinja", "Go template", "format strings"}.isdisjoint(refused)


@pytest.mark.parametrize("title", ["docstrings", "C0 controls", "mixed line ends"])
def test_the_command_line_end_to_end(server: Server, tmp_path: Path, title: str) -> None:
    forge = quickstart(tmp_path / "forge", OLLAMA_HOST=server.host, PATH=server.environment["PATH"])
    text = HARD_PROMPTS[title]
    (forge.project / "prompt.md").write_bytes(text.encode())
    forge.edit(
        "profiles/coding-assistant.toml",
        'system = "Use type hints and docstrings."',
        'system_file = "prompt.md"',
    )
    words = ("build", "coding-assistant", "--runtime", "ollama", "--no-smoke", "--json")
    done = forge.run(*words)
    assert done.code == 0, done.err
    assert show(server, "coding-assistant")["system"] == text
    assert layers(server.models, "coding-assistant")["system"] == [text.encode()]
    done = forge.run(*words, "--via", "cli", "--name", "by-command")
    if done.code == 0:
        assert show(server, "by-command")["system"] == text
    else:
        assert done.code == ExitCode.BUILD_FAILED
        assert done.document["variants"][0]["status"] == "failed"
        assert server.call("POST", "/api/show", {"model": "by-command"})[0] == 404
