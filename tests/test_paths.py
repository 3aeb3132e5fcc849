from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.paths import UnfitPath, file_inside, inside, leaves_root
from tests.trees import write_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("text", ["a", "./a", "a/../b", "..a/b", "a..", "a~"])
def test_paths_that_stay(tmp_path: Path, text: str) -> None:
    assert leaves_root(text) is None
    assert inside(tmp_path, text) == tmp_path / text


@pytest.mark.parametrize("text", ["/a", "~/a", "~root/a", "\\\\host\\a", "C:\\a", "..", "a/../..", "../x"])
def test_paths_that_leave(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnfitPath, match="expected a path"):
        inside(tmp_path, text)


def test_a_root_that_is_a_link_is_no_way_out(tmp_path: Path) -> None:
    write_tree(tmp_path / "real", {"a": "x"})
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert file_inside(tmp_path / "root", "a") == tmp_path / "root/a"


def test_a_nul_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(UnfitPath, match="cannot be followed"):
        inside(tmp_path, "a\0b")


def test_the_nearest_is_looked_for_where_the_file_would_be(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a/one.md": "", "two.md": "", ".git/one.md": ""})
    for text, near in (
        ("a/on.md", "a/one.md"),
        ("to.md", "two.md"),
        ("A/one.md", "a/one.md"),
        ("b/one.md", "a/one.md"),
    ):
        with pytest.raises(UnfitPath) as caught:
            file_inside(tmp_path, text)
        assert caught.value.hint == f"did you mean '{near}'?"
