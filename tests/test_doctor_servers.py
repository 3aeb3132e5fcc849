"""What the doctor says of Ollamas, their programs and models, and of proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.doctor import packages
from tests.doctors import DEFAULT, diagnose, program, remedy, serve, told, well
from tests.projects import CODER, place
from tests.trees import write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.doctor import Diagnosis

SERVED = CODER.replace("./models/tiny-*.gguf", "gpt-oss")


@pytest.fixture(autouse=True)
def no_llama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_devices", lambda *_words: (("CPU",), ""))


def about(found: Diagnosis, word: str) -> list[str]:
    """What is not well and has that word."""
    return [text for text in told(found) if word in text]


# -- servers -----------------------------------------------------------------------------------------


def test_a_server_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, versions={DEFAULT: "0.32.15"})
    found = diagnose(place(tmp_path))
    assert f"Ollama 0.32.15 answers at {DEFAULT}" in well(found)
    assert about(found, "Ollama") == []


def test_a_server_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, versions={DEFAULT: "0.1.32"})
    what = remedy(diagnose(place(tmp_path)), f"The Ollama at {DEFAULT} is too old: 0.1.32.")
    assert "upgrade it to 0.5.5 or newer" in what


def test_a_server_that_plans_are_not_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, versions={DEFAULT: "0.24.0"})
    here = place(
        tmp_path,
        coder=CODER,
        older=f'{CODER.split("[base]")[0]}[resolve]\nengine = "0.24"\n[base]\nmodel = "x"\n',
    )
    what = remedy(diagnose(here), "Ollama 0.24.0 is older than what plans are for")
    assert what == 'upgrade it to 0.32 or newer, or set engine = "0.24" in [resolve]'
    assert about(diagnose(here), "is older")[0].endswith("(coder)")
    serve(monkeypatch, versions={DEFAULT: "0.0.0"})  # a plain build is as new as can be
    assert about(diagnose(here), "is older") == []


def test_two_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {DEFAULT: "0.24.0", "127.0.0.1:9999": "0.32.15"}
    serve(monkeypatch, versions=versions)
    here = place(tmp_path)
    what = remedy(
        diagnose(here, host="127.0.0.1:9999"),
        f"two Ollamas answer: 0.32.15 at 127.0.0.1:9999, which is meant, and 0.24.0 at {DEFAULT}",
    )
    assert "set OLLAMA_HOST" in what
    assert about(diagnose(here), "two Ollamas") == []
    del versions[DEFAULT]
    assert about(diagnose(here, host="127.0.0.1:9999"), "two Ollamas") == []


# -- models that run elsewhere -----------------------------------------------------------------------


def test_models_in_the_cloud_and_what_is_built_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, versions={DEFAULT: "0.32.15"}, remote={"gpt-oss:20b": "https://ollama.com:443"})
    here = place(tmp_path, coder=CODER, cloudy=SERVED)
    found = diagnose(here)
    what = remedy(
        found, "gpt-oss:20b has no weights here: the server passes its prompts on to https://ollama.com"
    )
    assert what.endswith("ollama rm gpt-oss:20b")
    what = remedy(found, "cloudy builds on gpt-oss, which the server has no weights of")
    assert "set another base.model in profiles/cloudy.toml" in what
    assert about(found, "coder builds") == []
    assert about(diagnose(here, runtime="embedded"), "gpt-oss") == []


def test_models_with_weights_are_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, versions={DEFAULT: "0.32.15"})
    assert about(diagnose(place(tmp_path, cloudy=SERVED)), "weights") == []


# -- programs ----------------------------------------------------------------------------------------


def told_version(version: str) -> tuple[str, str]:
    return "Warning: could not connect to a running Ollama instance", f"Warning: client version is {version}"


@pytest.mark.processes
def test_two_programs_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch)
    here = place(tmp_path)
    one = program(tmp_path / "a", "ollama", *told_version("0.24.0"))
    two = program(tmp_path / "b", "ollama", *told_version("0.32.15"))
    same = program(tmp_path / "c", "ollama", *told_version("0.24.0"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "ollama").symlink_to(one)
    here.environment["PATH"] = f"{one.parent}:{two.parent}:{tmp_path / 'none'}:"
    text = f"2 ollama programs on PATH, of different versions: {one} (0.24.0), {two} (0.32.15)"
    assert "remove all but one" in remedy(diagnose(here), text)
    here.environment["PATH"] = f"{one.parent}:{tmp_path / 'd'}:{same.parent}"
    assert about(diagnose(here), "programs") == []


@pytest.mark.processes
def test_a_command_that_is_not_the_servers_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, versions={DEFAULT: "0.32.15", "gpu-box:11434": "0.32.15"})
    here = place(tmp_path)
    command = program(tmp_path / "a", "ollama", *told_version("0.24.0"))
    here.environment["PATH"] = str(command.parent)
    text = f"the command {command} is Ollama 0.24.0, the server at {DEFAULT} is 0.32.15"
    assert "start the server again" in remedy(diagnose(here), text)
    assert about(diagnose(here, host="gpu-box"), "the command") == []
    program(tmp_path / "a", "ollama", *told_version("0.32.15"))
    assert about(diagnose(here), "the command") == []
    program(tmp_path / "a", "ollama", "what?")
    assert about(diagnose(here), "the command") == []


# -- proxies -----------------------------------------------------------------------------------------


@pytest.fixture
def behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    serve(monkeypatch, versions={"gpu-box:11434": "0.32.15", "[fd00::1]:11434": "0.32.15"})
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "host", "text"),
    [
        pytest.param({"HTTP_PROXY": "http://p:1"}, "gpu-box", "HTTP_PROXY is set", id="http"),
        pytest.param(
            {"http_proxy": "http://p:1", "HTTP_PROXY": "x"}, "gpu-box", "http_proxy is set", id="small"
        ),
        pytest.param({"ALL_PROXY": "http://p:1"}, "gpu-box", "ALL_PROXY is set", id="all"),
        pytest.param({"HTTPS_PROXY": "http://p:1"}, "https://gpu-box", "HTTPS_PROXY is set", id="https"),
        pytest.param({"HTTPS_PROXY": "http://p:1"}, "gpu-box", "", id="of another scheme"),
        pytest.param(
            {"HTTP_PROXY": "http://p:1"}, "localhost", "", id="this machine is never asked through it"
        ),
        pytest.param({"HTTP_PROXY": "http://p:1", "NO_PROXY": "a, gpu-box"}, "gpu-box", "", id="named"),
        pytest.param({"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, "gpu-box", "", id="all are"),
        pytest.param({"HTTP_PROXY": "http://p:1", "NO_PROXY": "lan"}, "box.lan", "", id="domain"),
        pytest.param({"HTTP_PROXY": "http://p:1", "no_proxy": ".lan"}, "box.lan", "", id="domain with a dot"),
        pytest.param(
            {"HTTP_PROXY": "http://p:1", "NO_PROXY": "ox"}, "gpu-box", "HTTP_PROXY", id="an end is no domain"
        ),
    ],
)
def test_a_proxy_between(behind: Path, variables: dict[str, str], host: str, text: str) -> None:
    here = place(behind)
    here.environment |= variables
    found = about(diagnose(here, host=host), "through the proxy")
    assert len(found) == bool(text)
    assert text in "".join(found)


def test_the_remedy_keeps_what_no_proxy_names(behind: Path) -> None:
    here = place(behind)
    here.environment |= {"HTTP_PROXY": "http://p:1", "NO_PROXY": "a,b"}
    what = remedy(diagnose(here, host="gpu-box"), "NO_PROXY does not name gpu-box:11434")
    assert what == "to ask it directly: export NO_PROXY=a,b,gpu-box"


def test_hosts_that_the_project_names_count(behind: Path) -> None:
    here = place(behind)
    write_tree(here.root, {"modelforge.toml": '[hosts.lab]\nurl = "http://lab:11434"\n'})
    here.environment["HTTP_PROXY"] = "http://p:1"
    assert "export NO_PROXY=lab" in remedy(diagnose(here), "NO_PROXY does not name lab:11434")
    here.environment["NO_PROXY"] = "lab"
    assert about(diagnose(here), "proxy") == []
