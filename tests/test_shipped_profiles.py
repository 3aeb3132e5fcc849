"""The profiles that come with modelforge load, fit something, and say how to check them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.hardware import table
from modelforge.profile.find import shipped_names
from modelforge.profile.load import load_profile
from modelforge.project import find_project

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.profile import Profile

NAMES = shipped_names()
CHATTING = tuple(name for name in NAMES if name != "embedder")
"""An embedding model has no system prompt, and is tested by what its vectors are near to."""


@pytest.fixture
def shipped(request: pytest.FixtureRequest, tmp_path: Path) -> Profile:
    return load_profile(find_project(tmp_path, environment={}), request.param)


def test_there_is_one_for_each_usual_job() -> None:
    assert set(NAMES) == {
        "coding-assistant",
        "code-reviewer",
        "embedder",
        "json-extractor",
        "rag-answerer",
        "small-assistant",
    }


@pytest.mark.parametrize("shipped", NAMES, indirect=True)
def test_a_shipped_profile_has_a_ladder_and_several_targets(shipped: Profile) -> None:
    assert len(shipped.base.sizes or ()) >= 2
    assert len(shipped.base.quants or ()) >= 2
    assert 3 <= len(shipped.targets) <= 5


@pytest.mark.parametrize("shipped", NAMES, indirect=True)
def test_a_shipped_profile_is_whole(shipped: Profile) -> None:
    assert shipped.description
    assert bool(shipped.system) == (shipped.name in CHATTING)
    assert shipped.model_name == shipped.name
    assert shipped.parameters.num_ctx is not None


@pytest.mark.parametrize("shipped", NAMES, indirect=True)
def test_a_shipped_profile_is_tested_by_more_than_one_prompt(shipped: Profile) -> None:
    assert 2 <= len(shipped.smoke) <= 4
    assert not [test.name for test in shipped.smoke if test.expect.max_seconds or test.expect.loaded_on]


@pytest.mark.parametrize("shipped", NAMES, indirect=True)
def test_a_shipped_profile_is_tested_by_what_its_model_does(shipped: Profile) -> None:
    assert {test.expect.of_embeddings for test in shipped.smoke} == {shipped.name not in CHATTING}


@pytest.mark.parametrize("shipped", ["embedder"], indirect=True)
def test_the_tests_of_vectors_hold_for_every_size_on_the_ladder(shipped: Profile) -> None:
    """Which differ in how long their vectors are."""
    assert all(test.expect.closer_to and test.expect.dimensions is None for test in shipped.smoke)


@pytest.mark.parametrize("shipped", NAMES, indirect=True)
def test_the_targets_of_a_shipped_profile_have_names_in_the_table(shipped: Profile) -> None:
    assert shipped.targets
    assert set(shipped.overrides) <= set(shipped.targets)
    assert all(table.named(target) for target in shipped.targets)


@pytest.mark.parametrize("shipped", NAMES, indirect=True)
def test_a_shipped_profile_names_no_files(shipped: Profile) -> None:
    """So that it works from a wheel, and extended from any project."""
    assert not shipped.base.model.startswith((".", "/"))
    assert shipped.adapters == ()


def test_a_projects_profile_may_extend_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "profiles" / "coding-assistant.toml"
    file.parent.mkdir()
    file.write_text('extends = "coding-assistant"\nbase.tag = "7b"\n', encoding="utf-8")
    own = load_profile(find_project(tmp_path, environment={}), "coding-assistant")
    assert (own.base.model, own.base.tag, own.base.sizes) == ("qwen2.5-coder", "7b", None)
    assert own.smoke[0].name == "adds two numbers"
