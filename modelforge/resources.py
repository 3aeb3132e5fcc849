"""Where the files that come with modelforge lie: templates, profiles, data and a small model."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent
DEMO_MODEL = "forge-tiny-Q8_0.gguf"
PROFILE_SCHEMA = "profile.schema.json"
"""Lies beside profiles, ours and a project's, so that a profile's `#:schema` line is good in every folder of them."""


def templates(package: Path = PACKAGE) -> Path:
    """The folder of the built-in Jinja templates."""
    return _folder("templates", package)


def profiles(package: Path = PACKAGE) -> Path:
    """The folder of the shipped profiles."""
    return _folder("profiles", package)


def profile_schema(package: Path = PACKAGE) -> str:
    """The JSON Schema of profiles, as `schemas` made it."""
    return (profiles(package) / PROFILE_SCHEMA).read_text(encoding="utf-8")


def demo_model(package: Path = PACKAGE) -> Path:
    """A small model to begin with, where there is no other."""
    inside = package / "data" / DEMO_MODEL
    return inside if inside.is_file() else package.parent / "examples" / "quickstart" / "models" / DEMO_MODEL


def data(name: str) -> str:
    """The text of a data file of the package."""
    return (PACKAGE / "data" / name).read_text(encoding="utf-8")


def _folder(name: str, package: Path) -> Path:
    """The package's own folder (a wheel carries it), else the one beside the package (the source tree).

    A file `pyproject.toml` tells the source tree from a site-packages folder, where a sibling of that name
    would belong to somebody else.
    """
    inside, beside = package / name, package.parent / name
    is_source_tree = (package.parent / "pyproject.toml").is_file()
    return beside if is_source_tree and beside.is_dir() and not inside.is_dir() else inside
