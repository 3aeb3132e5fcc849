"""The files that come with modelforge, in a wheel and in the source tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge import resources

if TYPE_CHECKING:
    from pathlib import Path


def made(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)


def test_a_wheel_carries_its_own(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "modelforge"
    made(package / "templates", package / "profiles", tmp_path / "site-packages" / "templates")
    assert resources.templates(package) == package / "templates"
    assert resources.profiles(package) == package / "profiles"


def test_the_source_tree_has_them_beside_the_package(tmp_path: Path) -> None:
    package = tmp_path / "modelforge"
    made(package, tmp_path / "templates", tmp_path / "profiles")
    (tmp_path / "pyproject.toml").touch()
    assert resources.templates(package) == tmp_path / "templates"
    assert resources.profiles(package) == tmp_path / "profiles"


def test_somebody_elses_folder_beside_an_installed_package_is_not_taken(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "modelforge"
    made(package, tmp_path / "site-packages" / "profiles")
    assert resources.profiles(package) == package / "profiles"


def test_the_small_model_is_the_packages_or_the_examples(tmp_path: Path) -> None:
    package = tmp_path / "modelforge"
    assert resources.demo_model(package) == tmp_path / "examples/quickstart/models" / resources.DEMO_MODEL
    made(package / "data")
    (package / "data" / resources.DEMO_MODEL).touch()
    assert resources.demo_model(package) == package / "data" / resources.DEMO_MODEL
    assert resources.demo_model().is_file()


def test_data_is_read_from_the_package() -> None:
    assert "rtx-4090" in resources.data("hardware.toml")
    with pytest.raises(FileNotFoundError):
        resources.data("no-such-file.toml")
