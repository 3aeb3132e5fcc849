from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from modelforge.profile.load import load_profile
from modelforge.project import find_project
from modelforge.scaffold import Found, new_project
from tests.trees import write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.profile import Profile


def made(root: Path, found: Found) -> Profile:
    write_tree(root, {file.path: file.text for file in new_project(found)})
    return load_profile(find_project(root, environment={}), "assistant")


@pytest.mark.parametrize(
    "model", ["./models/tiny-Q8_0.gguf", "./my model [1].gguf", './a "b" é\\.gguf', "qwen2.5-coder:14b"]
)
def test_a_new_profile_names_the_model_whatever_its_name(tmp_path: Path, model: str) -> None:
    if sys.platform == "win32":
        pytest.skip("no such names there")
    assert made(tmp_path, Found(model=model)).base.model == model


@pytest.mark.parametrize(("trained", "num_ctx"), [(None, None), (1024, 1024), (131072, 4096)])
def test_a_new_profile_asks_for_no_more_context_than_the_model_has(
    tmp_path: Path, trained: int | None, num_ctx: int | None
) -> None:
    """What is not known is left out: the default never exceeds what the model was trained for."""
    profile = made(tmp_path, Found(model="./tiny.gguf", training_context=trained))
    assert profile.parameters.num_ctx == num_ctx
    assert profile.smoke
