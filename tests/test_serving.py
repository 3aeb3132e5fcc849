"""What a server that is started for a profile runs with is what its plan counts on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.profile.load import load_profile
from modelforge.project import find_project
from modelforge.serving import need_of, settings_of
from tests.projects import GAMER, LAPTOP, REVIEWER, Place, place

if TYPE_CHECKING:
    from pathlib import Path


def settings(tmp_path: Path, more: str) -> dict[str, str]:
    made: Place = place(tmp_path, reviewer=REVIEWER + more)
    return settings_of(load_profile(find_project(made.root, environment={}), "reviewer"))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", {"OLLAMA_KV_CACHE_TYPE": "f16", "OLLAMA_NUM_PARALLEL": "1"}),
        (
            '[resolve]\nkv_cache = "q8_0"\nparallel = 4\n',
            {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_NUM_PARALLEL": "4", "OLLAMA_FLASH_ATTENTION": "1"},
        ),
        (
            '[resolve]\nflash_attention = "off"\n',
            {"OLLAMA_KV_CACHE_TYPE": "f16", "OLLAMA_NUM_PARALLEL": "1", "OLLAMA_FLASH_ATTENTION": "0"},
        ),
        (
            '[resolve]\nflash_attention = "on"\n[serve]\nkeep_alive = "30m"\n',
            {
                "OLLAMA_KV_CACHE_TYPE": "f16",
                "OLLAMA_NUM_PARALLEL": "1",
                "OLLAMA_FLASH_ATTENTION": "1",
                "OLLAMA_KEEP_ALIVE": "30m",
            },
        ),
    ],
)
def test_settings(tmp_path: Path, more: str, expected: dict[str, str]) -> None:
    assert settings(tmp_path, more) == expected


def test_as_many_gpus_as_the_hardware_has(tmp_path: Path) -> None:
    made = place(tmp_path)
    profile = load_profile(find_project(made.root, environment={}), "coder")
    assert need_of(profile, GAMER).gpus == 1
    assert need_of(profile, LAPTOP).gpus == 0
