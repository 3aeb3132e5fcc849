"""Every wrong input: one clear error that teaches, the right exit code, no traceback, nothing left behind."""

from __future__ import annotations

import http.server
import os
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.commands import Commands, Done, commands_in_quickstart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROFILE = "profiles/coding-assistant.toml"
NAME = "coding-assistant"


@pytest.fixture
def forge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return commands_in_quickstart(tmp_path / "project", capsys)


def assert_refused(done: Done, code: int, *words: str) -> None:
    """One clear error with these words, in this exit code's class."""
    assert done.code == code, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert "bug" not in done.err
    for word in words:
        assert word in done.err, done.err


def unknown_key(forge: Commands) -> None:
    forge.edit(PROFILE, "temperature = 0.2", "temprature = 0.2")


def wrong_type(forge: Commands) -> None:
    forge.edit(PROFILE, "temperature = 0.2", 'temperature = "warm"')


def out_of_range(forge: Commands) -> None:
    forge.edit(PROFILE, "temperature = 0.2", "top_p = 7")


def two_errors(forge: Commands) -> None:
    forge.edit(PROFILE, "temperature = 0.2", "top_p = 7\nseeed = 1")


def toml_syntax(forge: Commands) -> None:
    forge.edit(PROFILE, "temperature = 0.2", "temperature = = 0.2")


def not_utf8(forge: Commands) -> None:
    file = forge.project / PROFILE
    file.write_bytes(file.read_bytes().replace(b"Writes small", b"Writes \xff small"))


def missing_prompt_file(forge: Commands) -> None:
    forge.write("prompts/coding.md", "Code.")
    forge.edit(PROFILE, 'system = "Use type hints and docstrings."', 'system_file = "prompts/codng.md"')


def go_template(forge: Commands) -> None:
    forge.write("own.gotmpl", "{{ range .Messages }}\n  {{ .Content | upper }}{{ end }}")
    forge.edit(PROFILE, "description =", 'chat_template_file = "own.gotmpl"\ndescription =')


def path_outside(forge: Commands) -> None:
    (forge.project.parent / "secret.md").write_text("secret")
    forge.edit(PROFILE, 'system = "Use type hints and docstrings."', 'system_file = "../secret.md"')


def link_outside(forge: Commands) -> None:
    (forge.project.parent / "secret.md").write_text("secret")
    (forge.project / "linked.md").symlink_to(forge.project.parent / "secret.md")
    forge.edit(PROFILE, 'system = "Use type hints and docstrings."', 'system_file = "linked.md"')


def cyclic_extends(forge: Commands) -> None:
    forge.write("profiles/_a.toml", 'extends = "_b"\n')
    forge.write("profiles/_b.toml", 'extends = "_a"\n')
    forge.edit(PROFILE, "description =", 'extends = "_a"\ndescription =')


def unknown_parent(forge: Commands) -> None:
    forge.write("profiles/_assistant.toml", "")
    forge.edit(PROFILE, "description =", 'extends = "_asistant"\ndescription =')


def template_syntax(forge: Commands) -> None:
    forge.write("templates/mine.j2", "FROM [[ base ]]\n[% if system %]\nSYSTEM x\n")
    forge.edit(PROFILE, "description =", 'template = "mine.j2"\ndescription =')


def template_undefined(forge: Commands) -> None:
    forge.write("templates/mine.j2", "FROM [[ base ]]\nSYSTEM [[ sistem ]]\n")
    forge.edit(PROFILE, "description =", 'template = "mine.j2"\ndescription =')


def cut_gguf(forge: Commands) -> None:
    file = forge.project / "models/forge-tiny-Q8_0.gguf"
    file.write_bytes(file.read_bytes()[:100_000])


def corrupt_gguf(forge: Commands) -> None:
    file = forge.project / "models/forge-tiny-Q8_0.gguf"
    content = bytearray(file.read_bytes())
    content[8:16] = b"\xff" * 8
    file.write_bytes(content)


def foreign_gguf(forge: Commands) -> None:
    forge.write("models/forge-tiny-Q8_0.gguf", "<!DOCTYPE html><html><body>Please log in</body></html>")


def no_weights(forge: Commands) -> None:
    forge.edit(PROFILE, "./models/forge-tiny-*.gguf", "./models/forge-tny-*.gguf")


WRONG: list[tuple[Callable[[Commands], None], tuple[str, ...]]] = [
    (
        unknown_key,
        (f"{PROFILE}:10:1: ", "unknown key 'temprature' in [parameters]", "did you mean 'temperature'?"),
    ),
    (wrong_type, (f"{PROFILE}:10:15: ", "'temperature' is", "expected a number")),
    (out_of_range, (f"{PROFILE}:10:9: ", "'top_p' is 7, expected a number from 0 to 1")),
    (two_errors, (f"{PROFILE}:10:9: ", f"{PROFILE}:11:1: ", "did you mean 'seed'?")),
    (toml_syntax, (f"{PROFILE}:10:15: ",)),
    (not_utf8, (f"{PROFILE}:1:", "UTF-8")),
    (missing_prompt_file, (f"{PROFILE}:2:", "prompts/codng.md", "prompts/coding.md")),
    (go_template, ("own.gotmpl:2:17: no chat template in Go's language: there is no function upper", "^")),
    (path_outside, (f"{PROFILE}:2:", "../secret.md", "inside the project")),
    (link_outside, (f"{PROFILE}:2:", "linked.md", "a link on the way leads out of it")),
    (cyclic_extends, ("_a", "_b")),
    (unknown_parent, (f"{PROFILE}:1:", "_asistant", "_assistant")),
    (template_syntax, ("templates/mine.j2:",)),
    (template_undefined, ("templates/mine.j2:2", "sistem", "system")),
    (cut_gguf, ("models/forge-tiny-Q8_0.gguf", "missing")),
    (corrupt_gguf, ("models/forge-tiny-Q8_0.gguf",)),
    (foreign_gguf, ("models/forge-tiny-Q8_0.gguf", "web page")),
    (no_weights, ("./models/forge-tny-*.gguf", "forge-tiny")),
]


@pytest.mark.parametrize(("spoil", "words"), [pytest.param(*case, id=case[0].__name__) for case in WRONG])
def test_a_wrong_project(
    forge: Commands, spoil: Callable[[Commands], None], words: tuple[str, ...], tmp_path: Path
) -> None:
    spoil(forge)
    before = forge.tree()
    assert_refused(forge("build", NAME), 2, *words)
    assert forge.tree() == before
    assert not (tmp_path / "project" / ".modelforge").exists()


def test_a_wrong_project_as_one_json_document(forge: Commands) -> None:
    two_errors(forge)
    done = forge("build", NAME, "--json")
    assert done.code == 2
    assert done.document["exit_code"] == 2
    assert [(error["line"], error["column"]) for error in done.document["errors"]] == [(10, 9), (11, 1)]
    assert all(error["file"] == PROFILE for error in done.document["errors"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(("build", "coding-asistant"), ("coding-asistant", "coding-assistant"), id="profile"),
        pytest.param(("build", NAME, "-H", "matchbx"), ("matchbx", "matchbox"), id="hardware"),
        pytest.param(("build", NAME, "-H", "rtx-409"), ("rtx-409", "rtx-4090"), id="named-device"),
        pytest.param(("biuld", NAME), ("biuld", "build"), id="command"),
        pytest.param(("build", NAME, "--hardwear", "x"), ("--hardwear",), id="flag"),
        pytest.param(("build",), (NAME,), id="nothing-named"),
        pytest.param(("build", NAME, "--name", "a b"), ("'a b'",), id="model-name"),
        pytest.param(("build", NAME, "--name", "x:cloud"), ("cloud",), id="reserved-tag"),
    ],
)
def test_a_wrong_command_line(forge: Commands, words: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert_refused(forge(*words), 2, *expected)


def test_a_select_that_matches_nothing(forge: Commands) -> None:
    assert_refused(forge("build", "--select", "review*"), 3)


def test_a_hardware_that_is_too_small(forge: Commands) -> None:
    done = forge("build", NAME, "-H", "1MiB")
    assert_refused(done, 4, "does not fit 1MiB", "lacks")


# -- servers ---------------------------------------------------------------------------------------------------


@contextmanager
def serving(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server on loopback that answers everything in the same way."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_HEAD = do_GET

        def log_message(self, *_words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def login_page(handler: http.server.BaseHTTPRequestHandler) -> None:
    body = b"<html><title>Proxy</title><body>Please log in</body></html>"
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.network
def test_no_server(forge: Commands) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    done = forge("build", NAME, "--runtime", "ollama", "--host", f"127.0.0.1:{port}")
    assert_refused(done, 10, f"127.0.0.1:{port}", "ollama serve", "--host", "--runtime embedded")


@pytest.mark.network
def test_a_login_page_in_place_of_the_server(forge: Commands) -> None:
    with serving(login_page) as host:
        done = forge("build", NAME, "--runtime", "ollama", "--host", host)
    assert_refused(done, 10, host, "no Ollama", "text/html", "Please log in")


@pytest.mark.network
def test_a_server_that_hangs(forge: Commands) -> None:
    forge.write("modelforge.toml", "[timeouts]\nconnect = 0.2\ncall = 0.3\n")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        done = forge("build", NAME, "--runtime", "ollama", "--host", host)
    assert_refused(done, 10, host)


@pytest.mark.parametrize("host", ["http//x:1", "gpu box", "gpu:99999", "ftp://gpu", "127.0.0.1:port"])
def test_a_malformed_host(forge: Commands, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert_refused(forge("build", NAME, "--runtime", "ollama"), 2, "OLLAMA_HOST", host)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_store_that_cannot_be_written(
    forge: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    store.mkdir(mode=0o500)
    monkeypatch.setenv("MODELFORGE_STORE", str(store))
    assert_refused(forge("build", NAME, "--no-smoke"), 7, str(store))


def test_a_store_that_is_a_file(forge: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").write_text("not a folder")
    monkeypatch.setenv("MODELFORGE_STORE", str(tmp_path / "store"))
    done = forge("build", NAME, "--no-smoke")
    assert_refused(done, 7, str(tmp_path / "store"))
