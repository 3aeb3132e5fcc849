"""Which profiles are meant, for which hardware: selection, overrides, and the runtime's own machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelforge.errors import ExitCode, NothingSelected, UsageProblem
from modelforge.hardware import Device, Hardware
from modelforge.targets import Target, Work, all_targets, select, targets
from modelforge.units import GIB
from tests.projects import CODER, GAMER, LAPTOP, REVIEWER, Place, place

if TYPE_CHECKING:
    from pathlib import Path

REMOTE = {"OLLAMA_HOST": "gpu-box:11434", "MODELFORGE_RUNTIME": "ollama"}
HOSTS = '[hosts.box]\nurl = "http://gpu-box:11434"\nhardware = "rtx-4090"\n'


@pytest.fixture
def two(tmp_path: Path) -> Place:
    return place(tmp_path, coder=CODER, reviewer=REVIEWER, _base="")


def tags(found: tuple[Target, ...]) -> list[str]:
    return [f"{target.profile.name}:{target.tag}" for target in found]


def here(work: Work, *hardware: str) -> list[bool]:
    return [work.is_here(target) for target in targets(work, "coder", hardware)]


# -- profiles ------------------------------------------------------------------------------------------


def test_names_are_taken_as_they_are(two: Place) -> None:
    assert select(two.site(), ("reviewer",), every=False, pattern=None) == ("reviewer",)


def test_all_are_the_projects_own_without_fragments(two: Place) -> None:
    assert select(two.site(), (), every=True, pattern=None) == ("coder", "reviewer")


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("code*", ("coder",)),
        ("*er", ("coder", "reviewer")),
        ("*@rtx-*", ("coder", "reviewer")),
        ("@rtx-*", ("coder", "reviewer")),
        ("[cr]*@x", ("coder", "reviewer")),
    ],
)
def test_a_pattern_chooses_profiles(two: Place, pattern: str, chosen: tuple[str, ...]) -> None:
    assert select(two.site(), (), every=False, pattern=pattern) == chosen


def test_a_pattern_narrows_what_was_named(two: Place) -> None:
    assert select(two.site(), ("coder", "reviewer"), every=False, pattern="r*") == ("reviewer",)


def test_nothing_named_says_what_there_is(two: Place) -> None:
    with pytest.raises(UsageProblem, match="which profile") as caught:
        select(two.site(), (), every=False, pattern=None)
    assert caught.value.problems[0].hint == "name one of: coder, reviewer; or --all"


def test_a_pattern_that_matches_nothing_has_its_own_exit_code(two: Place) -> None:
    with pytest.raises(NothingSelected) as caught:
        select(two.site(), (), every=False, pattern="x*")
    assert caught.value.exit_code == ExitCode.NOTHING_SELECTED


# -- hardware ------------------------------------------------------------------------------------------


def test_without_hardware_it_is_for_this_machine(two: Place) -> None:
    work = two.work()
    (target,) = targets(work, "coder", ())
    assert (target.tag, work.is_here(target)) == ("latest", True)
    assert (target.hardware, target.notes) == (LAPTOP, ())
    assert target.profile.parameters.num_ctx == 512


def test_a_named_hardware_has_its_overrides_and_its_name_as_the_tag(two: Place) -> None:
    work = two.work()
    (target,) = targets(work, "coder", ("rtx-4090",))
    assert (target.tag, work.is_here(target)) == ("rtx-4090", False)
    assert target.profile.parameters.num_ctx == 1024


@pytest.mark.parametrize("name", ["4090", "RTX-4090", "geforce-rtx-4090"])
def test_overrides_apply_by_whichever_name_the_hardware_is_meant(two: Place, name: str) -> None:
    (target,) = targets(two.work(), "coder", (name,))
    assert (target.tag, target.profile.parameters.num_ctx) == ("rtx-4090", 1024)


def test_overrides_written_by_an_alias_apply_too(tmp_path: Path) -> None:
    here = place(tmp_path, coder=CODER.replace("[hardware.rtx-4090]", "[hardware.4090]"))
    (target,) = targets(here.work(), "coder", ("rtx-4090",))
    assert target.profile.parameters.num_ctx == 1024
    here.machine = GAMER
    (this,) = targets(here.work(), "coder", ())
    assert this.profile.parameters.num_ctx == 1024


def test_a_size_is_a_hardware(two: Place) -> None:
    (target,) = targets(two.work(), "coder", ("8gib",))
    assert (target.tag, target.hardware.devices[0].memory) == ("8GiB", 8 * GIB)


def test_this_machine_as_a_target_lends_its_overrides_and_says_so(two: Place) -> None:
    two.machine = GAMER
    (target,) = targets(two.work(), "coder", ())
    assert target.tag == "latest"
    assert target.profile.parameters.num_ctx == 1024
    assert target.notes == ("this machine is rtx-4090: its overrides apply",)


def test_this_machine_as_a_target_without_overrides_says_nothing(two: Place) -> None:
    two.machine = replace(GAMER, devices=(Device(name="RTX 3060", memory=12 * GIB, model="rtx-3060-12gb"),))
    (target,) = targets(two.work(), "coder", ())
    assert (target.profile.parameters.num_ctx, target.notes) == (512, ())


@pytest.mark.parametrize("word", ["this", "THIS"])
def test_this_may_be_said(two: Place, word: str) -> None:
    two.machine = GAMER
    assert targets(two.work(), "coder", (word,)) == targets(two.work(), "coder", ())


def test_a_named_hardware_is_here_if_this_machine_is_such_one(two: Place) -> None:
    two.machine = GAMER
    assert here(two.work(), "rtx-4090", "rtx-3060-12gb") == [True, False]


def test_an_unknown_hardware_suggests_one(two: Place) -> None:
    with pytest.raises(UsageProblem, match="there is no hardware 'rtx-409'") as caught:
        targets(two.work(), "coder", ("rtx-409",))
    assert "rtx-4090" in (caught.value.problems[0].hint or "")


def test_an_unknown_hardware_of_the_profile_is_told_at_its_line(two: Place) -> None:
    two.write(coder=CODER.replace('"rtx-3060-12gb"', '"rtx-306"'))
    with pytest.raises(UsageProblem, match="there is no hardware 'rtx-306'") as caught:
        all_targets(two.work(), ("coder",), (), all_hardware=True)
    (problem,) = caught.value.problems
    assert problem.place == "profiles/coder.toml:12:24"
    assert "rtx-3060" in (problem.hint or "")


def test_all_hardware_are_the_targets_of_each_profile(two: Place) -> None:
    found = all_targets(two.work(), ("coder", "reviewer"), (), all_hardware=True)
    assert tags(found) == ["coder:rtx-4090", "coder:rtx-3060-12gb", "reviewer:cpu-16gb"]


def test_one_hardware_under_two_names_is_built_once(two: Place) -> None:
    found = all_targets(two.work(), ("coder", "coder"), ("4090", "rtx-4090"), all_hardware=True)
    assert tags(found) == ["coder:rtx-4090", "coder:rtx-3060-12gb"]


@pytest.mark.parametrize(
    ("pattern", "hardware", "found"),
    [
        ("*@rtx-*", (), ["coder:rtx-4090", "coder:rtx-3060-12gb"]),
        ("*@*-12gb", (), ["coder:rtx-3060-12gb"]),
        ("*@cpu-*", (), ["reviewer:cpu-16gb"]),
        ("coder@rtx-*", ("rtx-4090", "t4"), ["coder:rtx-4090"]),
        ("coder", (), ["coder:latest"]),
    ],
)
def test_a_pattern_chooses_hardware(
    two: Place, pattern: str, hardware: tuple[str, ...], found: list[str]
) -> None:
    names = select(two.site(), (), every=False, pattern=pattern)
    assert tags(all_targets(two.work(), names, hardware, pattern=pattern)) == found


def test_a_pattern_that_no_profiles_target_matches(two: Place) -> None:
    with pytest.raises(NothingSelected, match=r"no target matches '\*@h100'"):
        all_targets(two.work(), ("coder", "reviewer"), (), pattern="*@h100")


def test_two_profiles_of_one_name_are_not_built_together(tmp_path: Path) -> None:
    here = place(tmp_path, coder=CODER, other=f'name = "Coder"\n{REVIEWER}')
    with pytest.raises(UsageProblem, match="coder and other would both be built as Coder:latest"):
        all_targets(here.work(), ("coder", "other"), ())
    assert len(all_targets(here.work(), ("other",), ())) == 1


# -- a server elsewhere --------------------------------------------------------------------------------


def test_a_remote_servers_hardware_has_to_be_said(two: Place) -> None:
    two.environment = REMOTE
    with pytest.raises(UsageProblem, match=r"the hardware of http://gpu-box:11434 is not known") as caught:
        targets(two.work(), "coder", ())
    assert '[hosts.NAME]\nurl = "http://gpu-box:11434"' in (caught.value.problems[0].hint or "")
    assert two.work().machine() is None


def test_with_h_it_need_not_be_said(two: Place) -> None:
    two.environment = REMOTE
    assert tags(targets(two.work(), "coder", ("rtx-4090",))) == ["coder:rtx-4090"]


def test_hosts_says_it(two: Place) -> None:
    two.environment = REMOTE
    (two.root / "modelforge.toml").write_text(HOSTS)
    (target,) = targets(two.work(), "coder", ())
    assert (target.tag, target.hardware.name) == ("latest", "rtx-4090")
    assert target.profile.parameters.num_ctx == 1024
    assert target.notes == ("this machine is rtx-4090: its overrides apply",)


def test_what_is_here_is_the_servers_machine_and_not_ours(two: Place) -> None:
    two.environment = REMOTE
    two.machine = GAMER  # ours; nobody knows the server's
    assert here(two.work(), "rtx-4090") == [False]
    (two.root / "modelforge.toml").write_text(HOSTS)
    two.machine = LAPTOP
    assert here(two.work(), "rtx-4090", "cpu-16gb") == [True, False]


def test_an_own_store_is_here_whatever_ollama_host_says(two: Place) -> None:
    two.environment = REMOTE
    (target,) = targets(two.work({"runtime": "embedded"}), "coder", ())
    assert target.hardware == LAPTOP


def test_a_loopback_server_is_here(two: Place) -> None:
    two.environment = {"OLLAMA_HOST": "127.0.0.1:5555"}
    assert two.work().machine() == LAPTOP


def test_a_projects_own_hardware_is_a_target(two: Place) -> None:
    (two.root / "hardware").mkdir()
    (two.root / "hardware" / "desk.toml").write_text('backend = "cpu"\nsystem_memory = "16GiB"\n')
    (target,) = targets(two.work(), "coder", ("desk",))
    assert target.tag == "desk"
    assert here(two.work(), "desk") == [True]
    assert isinstance(target.hardware, Hardware)


# -- the runtime ---------------------------------------------------------------------------------------


def test_the_runtime_is_opened_once_and_when_it_is_needed(two: Place) -> None:
    work = two.work()
    targets(work, "coder", ("rtx-4090",))
    assert two.opened == 0
    assert work.runtime() is work.runtime()
    assert two.opened == 1
    work.close()
    assert two.runtime.closed
