"""What lies in examples/ loads, and its pieces say the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from modelforge.bases import LocalFile
from modelforge.hardware import table
from modelforge.modelfile import Modelfile
from modelforge.profile.find import shipped_names
from modelforge.profile.load import load_profile, profile_names
from modelforge.project import Project, find_project
from modelforge.resolve import resolve
from modelforge.resources import demo_model
from modelforge.serving import settings_of
from modelforge.unused import unused
from tests import shapes
from tests.documents import ROOT
from tests.plans import candidate, settings

if TYPE_CHECKING:
    from pathlib import Path

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


EVERY = [
    *((folder, name) for folder in EXAMPLES for name in profile_names(find_project(folder, environment={}))),
    *((ROOT, name) for name in shipped_names()),
]


@pytest.mark.parametrize("engine", ["0.24", "0.32"])
@pytest.mark.parametrize(("folder", "name"), EVERY, ids=[f"{folder.name} {name}" for folder, name in EVERY])
def test_no_example_and_no_shipped_profile_says_what_a_server_never_uses(
    folder: Path, name: str, engine: str
) -> None:
    profile = load_profile(find_project(folder, environment={}), name)
    parameters = profile.parameters.model_dump(exclude_none=True)
    asked = Modelfile(
        from_="x",
        system=profile.system,
        template=profile.chat_template,
        parameters=parameters,
        renderer=profile.renderer,
        parser=profile.parser,
    )
    tiny = demo_model()
    base = candidate(shapes.LLAMA_8B, "8b", "Q8_0")
    if profile.base.model.startswith("./"):
        base = replace(base, source=LocalFile(path=tiny, bytes=tiny.stat().st_size))
    assert list(unused(profile, asked, base, settings(engine=engine))) == []


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


HYBRID_FILES = tuple(
    candidate(model, size, quant)
    for model, size in ((shapes.QWEN25_14B, "14b"), (shapes.QWEN25_7B, "7b"), (shapes.QWEN25_3B, "3b"))
    for quant in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
)


def hybrid(name: str, device: str) -> str:
    hardware = table.named(device)
    assert hardware is not None
    plan = resolve(load_profile(project("hybrid"), name), hardware, HYBRID_FILES, variant="v")
    assert plan.picked is not None
    return f"{plan.picked.candidate.size} {plan.picked.candidate.quant}"


def test_deep_and_fast_differ_on_the_same_hardware() -> None:
    deep, fast = (load_profile(project("hybrid"), name) for name in ("deep", "fast"))
    assert profile_names(project("hybrid")) == ("deep", "fast")
    assert (deep.base, deep.system, deep.smoke) == (fast.base, fast.system, fast.smoke)
    for device in deep.targets:
        assert hybrid("deep", device) != hybrid("fast", device), device


def test_the_readme_of_deep_and_fast_tells_the_picks() -> None:
    text = " ".join((ROOT / "examples" / "hybrid" / "README.md").read_text(encoding="utf-8").split())
    deep, fast = (hybrid(name, "rtx-3060-12gb") for name in ("deep", "fast"))
    assert f"`deep` takes {deep}, which" in text
    assert f"`fast` {fast}." in text
