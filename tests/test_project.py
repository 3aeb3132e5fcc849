from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelforge.errors import ExitCode, ProfileProblem, UsageProblem
from modelforge.project import Settings, find_project
from modelforge.project_settings import KnownHost, Timeouts
from tests.trees import write_tree

if TYPE_CHECKING:
    from collections.abc import Mapping


def settings(root: Path, text: str = "", environment: Mapping[str, str] | None = None) -> Settings:
    write_tree(root, {"modelforge.toml": text})
    return find_project(root, environment=environment or {}).settings


def problems(root: Path, text: str) -> list[str]:
    with pytest.raises(ProfileProblem) as caught:
        settings(root, text)
    assert caught.value.exit_code == ExitCode.USAGE
    return [f"{problem.place}: {problem.message}" for problem in caught.value.problems]


# -- the root ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "root"),
    [
        pytest.param(["modelforge.toml", "a/profiles/x.toml"], ".", id="modelforge.toml above profiles"),
        pytest.param(["modelforge.toml", "a/modelforge.toml"], "a", id="the nearest modelforge.toml"),
        pytest.param(["profiles/x.toml", "a/profiles/x.toml"], "a", id="the nearest profiles"),
        pytest.param(["profiles/x.toml"], ".", id="profiles above"),
        pytest.param(["other"], "a/b", id="nothing: the start"),
    ],
)
def test_the_root(tmp_path: Path, files: list[str], root: str) -> None:
    write_tree(tmp_path, {**dict.fromkeys(files, ""), "a/b/x": ""})
    project = find_project(tmp_path / "a/b", environment={})
    assert project.root == tmp_path / root
    assert project.profiles == tmp_path / root / "profiles"
    assert project.templates == tmp_path / root / "templates"
    assert project.hardware == tmp_path / root / "hardware"


def test_a_project_without_a_file_needs_no_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "modelforge.project_file", raising=False)
    find_project(tmp_path, environment={})
    assert "modelforge.project_file" not in sys.modules


def test_folders(tmp_path: Path) -> None:
    write_tree(tmp_path, {"modelforge.toml": "profiles = 'p'\nhardware = 'a/h'"})
    project = find_project(tmp_path, environment={})
    assert (project.profiles, project.hardware) == (tmp_path / "p", tmp_path / "a/h")


# -- settings ----------------------------------------------------------------------------------------


def test_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found == Settings()
    assert (found.runtime, found.store, found.host, found.keep) == ("auto", None, None, 3)
    assert found.timeouts == Timeouts(connect=5, call=30, load=300)
    assert (found.docker.image, found.docker.volume, found.docker.pull) == (
        "ollama/ollama:0.32.15",
        "ollama",
        "missing",
    )
    assert found.source("runtime") == "default"


def test_everything_in_the_file(tmp_path: Path) -> None:
    text = """\
        store = ".store"
        registry = "registry.example.com/team"
        keep = 5
        host = "gpu-box"

        [runtime]
        default = "docker"
        [runtime.docker]
        image = "ollama/ollama:0.32.15"
        volume = "models"
        pull = "never"
        env = { OLLAMA_DEBUG = "1" }
        memory = "16GiB"
        cpus = 4

        [hosts.gpu-box]
        url = "http://gpu-box:11434"
        hardware = "rtx-4090"

        [timeouts]
        connect = 2
        load = "10m"
        """
    found = settings(tmp_path, text)
    assert (found.runtime, found.store, found.keep) == ("docker", tmp_path / ".store", 5)
    assert found.registry == "registry.example.com/team"
    assert (found.docker.image, found.docker.pull, found.docker.env) == (
        "ollama/ollama:0.32.15",
        "never",
        {"OLLAMA_DEBUG": "1"},
    )
    assert (found.docker.memory, found.docker.cpus) == (16 << 30, 4.0)
    assert found.hosts == {"gpu-box": KnownHost(url="http://gpu-box:11434", hardware="rtx-4090")}
    assert found.host == "http://gpu-box:11434"
    assert found.timeouts == Timeouts(connect=2, call=30, load=600)
    assert found.source("keep") == "modelforge.toml:3:1"
    assert found.source("docker.pull") == "modelforge.toml:11:1"
    assert found.source("runtime") == "modelforge.toml:7:1"


def test_runtime_as_a_text(tmp_path: Path) -> None:
    found = settings(tmp_path, "runtime = 'embedded'")
    assert (found.runtime, found.source("runtime")) == ("embedded", "modelforge.toml:1:1")


def test_the_environment_wins_over_the_file_and_flags_over_both(tmp_path: Path) -> None:
    write_tree(tmp_path, {"modelforge.toml": "runtime = 'docker'\nkeep = 1\nstore = 's'"})
    environment = {"MODELFORGE_RUNTIME": "embedded", "MODELFORGE_KEEP": "2", "MODELFORGE_STORE": ""}
    found = find_project(tmp_path, environment=environment, flags={"runtime": "ollama"}).settings
    assert (found.runtime, found.keep, found.store) == ("ollama", 2, tmp_path / "s")
    assert [found.source(key) for key in ("runtime", "keep", "store")] == [
        "command line",
        "MODELFORGE_KEEP",
        "modelforge.toml:3:1",
    ]


def test_modelforges_variables_win_over_ollamas(tmp_path: Path) -> None:
    environment = {"OLLAMA_MODELS": '"/o"', "OLLAMA_HOST": " o ", "DOCKER_HOST": "unix:///d"}
    found = settings(tmp_path, "store = 's'", environment)
    assert (found.store, found.host, found.docker.host) == (Path("/o"), "o", "unix:///d")
    environment |= {"MODELFORGE_STORE": "m", "MODELFORGE_HOST": "h"}
    found = settings(tmp_path, "store = 's'", environment)
    assert (found.store, found.host) == (tmp_path / "m", "h")


def test_a_relative_store_in_the_environment_is_seen_from_where_the_user_stands(tmp_path: Path) -> None:
    write_tree(tmp_path, {"modelforge.toml": "", "a/x": ""})
    found = find_project(tmp_path / "a", environment={"OLLAMA_MODELS": "models"}).settings
    assert found.store == tmp_path / "a/models"


def test_wrong_variables_are_told_at_once(tmp_path: Path) -> None:
    environment = {"MODELFORGE_RUNTIME": "olama", "MODELFORGE_KEEP": "-1", "MODELFORGE_LOAD_TIMEOUT": "soon"}
    with pytest.raises(UsageProblem) as caught:
        settings(tmp_path, environment=environment)
    assert [(problem.message, problem.hint) for problem in caught.value.problems] == [
        (
            "MODELFORGE_RUNTIME is \"olama\", expected one of 'auto', 'ollama', 'docker', 'embedded'",
            "did you mean 'ollama'?",
        ),
        ('MODELFORGE_KEEP is "-1", expected an integer, 0 or more', "change it, or unset MODELFORGE_KEEP"),
        (
            "MODELFORGE_LOAD_TIMEOUT is \"soon\", expected a duration such as '30s', '5m' or '1h30m'",
            "change it, or unset MODELFORGE_LOAD_TIMEOUT",
        ),
    ]


# -- mistakes in the file ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "runtme = 'ollama'\nkeep = 'x'",
            ["1:1: unknown key 'runtme'", "2:8: 'keep' is \"x\", expected an integer from 0 to 1000"],
            id="two at once",
        ),
        pytest.param(
            "runtime = 'olama'",
            [
                "1:11: 'runtime' is \"olama\", expected one of 'auto', 'ollama', 'docker', 'embedded' or a table"
            ],
            id="runtime",
        ),
        pytest.param(
            "[runtime]\ndefault = 'olama'\n[runtime.docker]\npul = 'never'",
            [
                "2:11: 'default' is \"olama\", expected one of 'auto', 'ollama', 'docker', 'embedded'",
                "4:1: unknown key 'pul' in [runtime.docker]",
            ],
            id="runtime as a table",
        ),
        pytest.param("[hosts.gpu]\nhardware = 'x'", ["1:8: [hosts.gpu] has no 'url'"], id="host without url"),
        pytest.param(
            "[timeouts]\nload = -1",
            ["2:8: 'load' is -1, expected a number above 0 or a string"],
            id="timeout",
        ),
        pytest.param(
            "registry = 'a/b/c'",
            [
                "1:12: 'registry' is \"a/b/c\", expected a namespace such as 'team' or 'registry.example.com/team'"
            ],
            id="registry",
        ),
        pytest.param(
            "profiles = '../p'",
            ["1:12: 'profiles' is \"../p\", expected a path inside the project"],
            id="folder outside",
        ),
    ],
)
def test_mistakes(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert problems(tmp_path, text) == [f"modelforge.toml:{line}" for line in expected]


def test_runtime_as_text_and_table_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ProfileProblem) as caught:
        settings(tmp_path, "runtime = 'ollama'\n[runtime.docker]\nimage = 'x'")
    (problem,) = caught.value.problems
    assert (problem.line, problem.hint) == (
        2,
        "'runtime' cannot be both: write default = \"…\" in [runtime] instead",
    )
