"""What lies in examples/ loads, and its pieces say the same."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from modelforge.profile.load import load_profile, profile_names
from modelforge.project import Project, find_project
from modelforge.serving import settings_of
from tests.documents import ROOT

EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if (path / "modelforge.toml").exists())


class Loader(yaml.SafeLoader):
    """YAML with the tags of compose files."""


Loader.add_constructor("!reset", lambda _loader, _node: None)


def compose(name: str) -> dict[str, Any]:
    text = (ROOT / "examples" / "docker" / name).read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    return found


def project(name: str) -> Project:
    return find_project(ROOT / "examples" / name, environment={})


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads(folder: Any) -> None:
    found = find_project(folder, environment={})
    names = profile_names(found)
    assert names
    for name in names:
        assert load_profile(found, name).smoke


def test_the_users_own_server_runs_as_the_plan_counts_on() -> None:
    found = project("docker")
    service = compose("compose.yaml")["services"]["ollama"]
    assert service["environment"] == settings_of(load_profile(found, "coding-assistant"))
    assert service["image"] == found.settings.docker.image
    assert service["volumes"] == [f"{found.settings.docker.volume}:/root/.ollama"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_users_own_server_has_the_gpus_unless_they_are_taken_away() -> None:
    (devices,) = compose("compose.yaml")["services"]["ollama"]["deploy"]["resources"]["reservations"][
        "devices"
    ]
    assert (devices["driver"], devices["capabilities"]) == ("nvidia", ["gpu"])
    assert compose("compose.cpu.yaml")["services"]["ollama"] == {"deploy": None}


def test_the_volume_is_one_that_modelforge_may_have_made() -> None:
    assert compose("compose.yaml")["volumes"] == {"ollama": {"external": True}}
