"""Which hardware a name means, and whether two are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from modelforge.errors import ExitCode, ProfileProblem, UsageProblem
from modelforge.hardware import Device, Hardware, choose, table
from modelforge.units import GIB, MIB

PROBED = Hardware(name="this", backend="cpu", system_memory=int(15.4 * GIB), origin="probed")
CARD = Device(name="NVIDIA GeForce RTX 4090", memory=24564 * MIB, free=GIB, model="rtx-4090", reserved=MIB)


def probe() -> Hardware:
    return PROBED


def never() -> Hardware:
    raise AssertionError("only 'this' asks the machine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "hardware"
    made.mkdir()
    return made


def named(name: str, folder: Path | None = None) -> Hardware:
    return choose.by_name(name, folder=folder, probe=never)


@pytest.mark.parametrize("name", ["this", "THIS"])
def test_this_is_the_machine(name: str) -> None:
    assert choose.by_name(name, folder=None, probe=probe) is PROBED


def test_a_name_or_alias_of_the_table() -> None:
    assert named("rtx-4090").name == "rtx-4090"
    assert named("RTX 4090").name == "rtx-4090"


def test_a_projects_own_file_wins_over_the_table(folder: Path) -> None:
    (folder / "rtx-4090.toml").write_text(
        'backend = "cuda"\n[[device]]\nmemory = "48GiB"\n', encoding="utf-8"
    )
    found = named("RTX-4090", folder)
    assert (found.name, found.origin, found.devices[0].memory) == ("rtx-4090", "file", 48 * GIB)
    assert named("rtx-3090", folder).origin == "table"


def test_a_wrong_file_is_told_with_its_place(folder: Path) -> None:
    (folder / "desk.toml").write_text('backend = "gpu"\n', encoding="utf-8")
    with pytest.raises(ProfileProblem) as caught:
        named("desk", folder)
    assert caught.value.problems[0].place == "hardware/desk.toml:1:1"


def test_names_lead_to_no_file_outside(folder: Path) -> None:
    (folder.parent / "secret.toml").write_text('system_memory = "1GiB"\n', encoding="utf-8")
    with pytest.raises(UsageProblem):
        named("../secret", folder)


@pytest.mark.parametrize(
    ("text", "name", "size"),
    [
        ("8GiB", "8GiB", 8 * GIB),
        ("8 gib", "8GiB", 8 * GIB),
        ("12 GB", "12GB", 12 * 10**9),
        ("1.5tb", "1.5TB", 15 * 10**11),
        ("512MiB", "512MiB", 512 * MIB),
    ],
)
def test_a_size_is_one_nameless_cuda_device(text: str, name: str, size: int) -> None:
    found = named(text)
    assert (found.name, found.backend, found.origin) == (name, "cuda", "size")
    assert [device.memory for device in found.devices] == [size]


@pytest.mark.parametrize("text", ["8", "8 apples", "0GiB", "GiB", "-8GiB", "17TiB", "rtx-9999", ""])
def test_what_is_unknown_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        named(text)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "modelforge hardware" in str(caught.value.problems[0].hint)


@pytest.mark.parametrize("text", ["0GiB", "-8GiB", "99999TiB", "1e9GiB"])
def test_a_size_that_no_device_has_is_told_the_limits(text: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        named(text)
    told = "a size is above 0 and at most 16TiB" in str(caught.value.problems[0].hint)
    assert told is (text != "1e9GiB")


def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_path: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(UsageProblem, match=r"cannot be read \(Permission denied\)"):
        choose.own_files(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtx-4091", "did you mean 'rtx-4090'?"),
        ("rtx-4060-ti", "did you mean 'rtx-4060-ti-8gb' or 'rtx-4060-ti-16gb'?"),
        ("dsek", "did you mean 'desk'?"),
    ],
)
def test_the_nearest_names_are_offered(folder: Path, text: str, expected: str) -> None:
    (folder / "desk.toml").touch()
    with pytest.raises(UsageProblem) as caught:
        named(text, folder)
    assert expected in str(caught.value.problems[0].hint)


def test_a_missing_folder_has_no_hardware(tmp_path: Path) -> None:
    assert choose.own_files(tmp_path / "hardware") == {}


def hardware(*devices: Device) -> Hardware:
    return Hardware(name="this", backend="cuda", devices=devices, origin="probed")


def in_table(name: str) -> Hardware:
    found = table.named(name)
    assert found is not None
    return found


def test_a_probed_card_is_that_of_the_table() -> None:
    assert choose.same(hardware(CARD), in_table("rtx-4090"))
    assert not choose.same(hardware(CARD), in_table("rtx-3090"))
    assert not choose.same(hardware(CARD, CARD), in_table("rtx-4090"))


def test_the_order_of_cards_does_not_matter() -> None:
    other = replace(CARD, name="NVIDIA GeForce RTX 3090", model="rtx-3090")
    assert choose.same(hardware(CARD, other), hardware(other, CARD))
    assert not choose.same(hardware(CARD, other), hardware(CARD, CARD))


def test_a_card_that_is_not_in_the_table_is_known_by_its_size() -> None:
    modded = Device(name="NVIDIA GeForce RTX 2080 Ti", memory=22528 * MIB)
    assert choose.same(hardware(modded), hardware(replace(modded, memory=22000 * MIB)))
    assert choose.same(hardware(CARD), named("24GiB"))
    assert not choose.same(hardware(CARD), named("8GiB"))


def test_another_backend_is_another_hardware() -> None:
    assert not choose.same(hardware(CARD), replace(hardware(CARD), backend="vulkan"))


def test_a_processor_is_known_by_the_memory_that_was_bought() -> None:
    assert choose.same(PROBED, in_table("cpu-16gb"))
    assert not choose.same(PROBED, in_table("cpu-8gb"))
    assert not choose.same(PROBED, replace(PROBED, system_memory=None))
