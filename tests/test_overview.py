"""A look over the project: every profile checked at once, all names of hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.errors import NothingSelected
from modelforge.overview import hardware_names, load_all, validate
from tests.projects import CODER, REVIEWER, Place, place

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return place(tmp_path, coder=CODER, reviewer=REVIEWER)


def wrong(here: Place, *names: str) -> list[str]:
    _, errors = validate(here.site(), names)
    return [f"{problem.place}: {problem.message}" for error in errors for problem in error.problems]


def test_a_sound_project(here: Place) -> None:
    assert validate(here.site(), ()) == (("profiles/coder.toml", "profiles/reviewer.toml"), ())


def test_every_error_of_every_profile_at_once(here: Place) -> None:
    here.write(
        coder=CODER.replace("temperature = 0.2", "temprature = 0.2").replace("num_ctx = 512", "num_ctx = -1"),
        reviewer=REVIEWER.replace('system = "Review."', "system = 7"),
    )
    found = wrong(here)
    assert [line.rpartition(":")[0].partition(": ")[0] for line in found]
    assert sorted(line.split(":")[0] for line in found) == [
        "profiles/coder.toml",
        "profiles/coder.toml",
        "profiles/reviewer.toml",
    ]


def test_two_profiles_of_one_model_name(here: Place) -> None:
    here.write(reviewer=f'name = "Coder"\n{REVIEWER}')
    assert wrong(here) == [
        "profiles/reviewer.toml:1:1: the model's name 'Coder' is that of profiles/coder.toml, too"
    ]
    assert wrong(here, "reviewer") == []


def test_unknown_hardware_is_told_at_its_place(here: Place) -> None:
    here.write(
        coder=CODER.replace('"rtx-3060-12gb"', '"rtx-306"'),
        reviewer=REVIEWER.replace("[hardware]", "[hardware.cpu-17gb]\nparameters.num_ctx = 256\n[hardware]"),
    )
    assert wrong(here) == [
        "profiles/coder.toml:12:24: there is no hardware 'rtx-306'",
        "profiles/reviewer.toml:6:11: there is no hardware 'cpu-17gb'",
    ]


def test_hardware_files_are_checked_with_all_profiles(here: Place) -> None:
    (here.root / "hardware").mkdir()
    (here.root / "hardware" / "desk.toml").write_text('backend = "cda"\n')
    checked, errors = validate(here.site(), ())
    assert checked[-1] == "hardware/desk.toml"
    assert errors[0].problems[0].file == "hardware/desk.toml"
    assert validate(here.site(), ("coder",)) == (("profiles/coder.toml",), ())


def test_an_unknown_profile_is_one_of_the_errors(here: Place) -> None:
    assert wrong(here, "codr", "coder") == [": there is no profile 'codr'"]


def test_an_empty_project_has_nothing_to_check(tmp_path: Path) -> None:
    here = place(tmp_path, _base="")
    with pytest.raises(NothingSelected):
        validate(here.site(), ())


def test_broken_profiles_do_not_hide_the_others(here: Place) -> None:
    here.write(coder="syntax = = error")
    profiles, errors = load_all(here.site())
    assert [profile.name for profile in profiles] == ["reviewer"]
    assert len(errors) == 1


def test_names_of_hardware_begin_with_the_projects_own(here: Place) -> None:
    (here.root / "hardware").mkdir()
    (here.root / "hardware" / "desk.toml").write_text('backend = "cpu"\n')
    names = hardware_names(here.site())
    assert next(iter(names)) == "desk"
    assert "4090" in names["rtx-4090"]


def test_a_wrong_hardware_file_that_a_profile_names_is_told_once(here: Place) -> None:
    (here.root / "hardware").mkdir()
    (here.root / "hardware" / "desk.toml").write_text('backend = "cda"\n')
    here.write(coder=CODER.replace('"rtx-3060-12gb"', '"desk"'))
    assert len(wrong(here)) == len(wrong(here, "coder")) == 2
    assert {line.split(":")[0] for line in wrong(here)} == {"hardware/desk.toml"}
