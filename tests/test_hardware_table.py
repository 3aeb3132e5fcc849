"""The named table: what it holds, how it is found, what a driver's name stands for."""

from __future__ import annotations

from collections import Counter

import pytest

from modelforge.hardware import table
from modelforge.profile.names import tag_name
from modelforge.units import GIB, MIB

PROMISED = (
    "rtx-4090 rtx-3060-12gb gtx-1650 rtx-2080-ti rtx-3070 rtx-3080 rtx-3090 rtx-4060 rtx-4070 rtx-4080 rtx-5080"
    " rtx-5090 rtx-a6000 t4 l4 l40s v100-16gb a100-40gb a100-80gb h100-80gb rx-7900-xtx m3-pro-18gb"
    " cpu-8gb cpu-16gb cpu-32gb cpu-64gb"
)


def entry(name: str) -> table.Entry:
    found = table.entry(name)
    assert found is not None
    return found


def test_at_least_140_devices_with_a_gpu_are_named() -> None:
    assert sum(entry(name).backend != "cpu" for name in table.names()) >= 140


def test_promised_names_are_there() -> None:
    for name in PROMISED.split():
        hardware = table.named(name)
        assert hardware is not None, name
        assert (hardware.name, hardware.origin) == (name, "table")


def test_every_name_and_alias_is_a_valid_tag() -> None:
    for name in (*table.names(), *table.aliases()):
        assert tag_name(name) == name
        assert name == name.lower()


def test_no_two_spellings_are_read_as_one() -> None:
    folded = Counter(table.fold(name) for name in table.names())
    assert [name for name, count in folded.items() if count > 1] == []
    meant: dict[str, set[str]] = {table.fold(name): {name} for name in table.names()}
    for alias, name in table.aliases().items():
        meant.setdefault(table.fold(alias), set()).add(name)
    assert {key: found for key, found in meant.items() if len(found) > 1} == {}


def test_aliases_lead_to_names_and_hide_none() -> None:
    assert set(table.aliases().values()) <= set(table.names())
    assert not set(table.aliases()) & set(table.names())


def test_figures_are_plausible() -> None:
    for name in table.names():
        found = entry(name)
        assert 2 * GIB < found.memory <= found.nominal <= 512 * GIB, name
        assert found.memory / found.nominal >= 0.6, name
        assert 20e9 < found.bandwidth < 10e12, name
        assert found.exact is False or found.backend == "cpu" or found.memory % MIB == 0, name


def test_every_figure_has_a_source() -> None:
    for name in table.names():
        found = entry(name)
        assert found.source.startswith("https://") or found.backend == "cpu", name


def test_nvidia_cards_tell_their_compute_capability() -> None:
    for name in table.names():
        found = entry(name)
        capability = found.compute_capability
        assert (capability is not None) == (found.backend == "cuda"), name
        assert capability is None or 5 <= float(capability) < 13, name


@pytest.mark.parametrize(
    ("name", "mib", "exact"),
    [
        pytest.param("rtx-4090", 24564, True, id="consumer"),
        pytest.param("t4", 15360, True, id="error correction"),
        pytest.param("a40", 46068, True, id="a40"),
        pytest.param("arc-a770-16gb", 16384, False, id="not known: nominal"),
        pytest.param("m40-24gb", round(24576 * 0.93), False, id="not known, error correction: 0.93"),
        pytest.param("m3-pro-18gb", 12288, False, id="two thirds of an apple's"),
        pytest.param("m3-max-48gb", 36864, False, id="three quarters of a big apple's"),
    ],
)
def test_memory_is_what_the_driver_reports(name: str, mib: int, exact: bool) -> None:  # noqa: FBT001
    hardware = table.named(name)
    assert hardware is not None
    assert (round(hardware.devices[0].memory / MIB), hardware.devices[0].exact) == (mib, exact)


def test_a_cpu_has_no_device_but_memory() -> None:
    hardware = table.named("cpu-16gb")
    assert hardware is not None
    assert (hardware.backend, hardware.devices, hardware.system_memory) == ("cpu", (), 16 * GIB)


def test_what_shares_the_machines_memory_says_how_much_that_is() -> None:
    for name, system in (("m3-pro-18gb", 18), ("gb10", 128)):
        hardware = table.named(name)
        assert hardware is not None
        assert hardware.system_memory == system * GIB
        assert hardware.devices[0].memory < system * GIB


def test_a_card_with_two_dies_is_two_devices() -> None:
    hardware = table.named("mi250x")
    assert hardware is not None
    assert [device.memory for device in hardware.devices] == [65520 * MIB] * 2


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("rtx4090", "rtx-4090"),
        ("RTX-4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("geforce-rtx-4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("rtx-4090-24gb", "rtx-4090"),
        ("RTX 3060", "rtx-3060-12gb"),
        ("rtx 3060 12GiB", "rtx-3060-12gb"),
        ("2080ti", "rtx-2080-ti"),
        ("rtx-4090-mobile", "rtx-4090-laptop"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "rtx-4090-laptop"),
        ("Tesla T4", "t4"),
        ("a6000", "rtx-a6000"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb"),
        ("7900-xtx", "rx-7900-xtx"),
        ("AMD Radeon RX 7900 XTX", "rx-7900-xtx"),
        ("Intel(R) Arc(TM) B580 Graphics", "arc-b580"),
        ("apple-m3-pro-18gb", "m3-pro-18gb"),
        ("dgx-spark", "gb10"),
        ("CPU-16GB", "cpu-16gb"),
    ],
)
def test_usual_spellings_are_understood(spelling: str, name: str) -> None:
    hardware = table.named(spelling)
    assert hardware is not None
    assert hardware.name == name


@pytest.mark.parametrize("spelling", ["rtx-4060-ti", "rtx-9999", "", "nvidia", "m3-pro", "a100", "rtx"])
def test_what_is_unknown_or_could_be_two_is_nothing(spelling: str) -> None:
    assert table.named(spelling) is None


def test_listed_aliases() -> None:
    assert {"rtx4090", "4090", "geforce-rtx-4090", "nvidia-geforce-rtx-4090"} <= set(
        table.aliases_of("rtx-4090")
    )
    assert "rtx-4060-ti" not in table.aliases()


@pytest.mark.parametrize(
    ("driver", "mib", "name"),
    [
        ("NVIDIA GeForce RTX 4090", 24564, "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", 49140, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, "rtx-4090-laptop"),
        ("NVIDIA GeForce RTX 4090", 16376, None),
        ("NVIDIA GeForce RTX 2080 Super with Max-Q Design", 8192, None),
        ("NVIDIA GeForce RTX 3060", 12288, "rtx-3060-12gb"),
        ("NVIDIA GeForce RTX 3060", 8192, "rtx-3060-8gb"),
        ("NVIDIA GeForce RTX 3080", 10240, "rtx-3080"),
        ("NVIDIA GeForce RTX 3080", 12288, "rtx-3080-12gb"),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, "rtx-4060-ti-16gb"),
        ("GeForce RTX 3090", 24268, "rtx-3090"),
        ("Tesla T4", 15109, "t4"),
        ("Tesla T4", 16127, "t4"),
        ("NVIDIA A40", 45634, "a40"),
        ("NVIDIA A100-SXM4-80GB", 81251, "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", 81920, "a100-80gb"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4864, None),
        ("NVIDIA H100 80GB HBM3", 81559, "h100-80gb"),
        ("NVIDIA H100 PCIe", 81559, "h100-pcie"),
        ("NVIDIA H200", 143771, "h200"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 97887, "rtx-pro-6000"),
        ("NVIDIA RTX 6000 Ada Generation", 49140, "rtx-6000-ada"),
        ("Quadro RTX 6000", 24576, "quadro-rtx-6000"),
        ("NVIDIA GB10", 122572, "gb10"),
        ("GRID T4-8Q", 8192, None),
        ("Apple M3 Pro", 18 * 1024, "m3-pro-18gb"),
        ("Apple M4 Max", 36 * 1024, "m4-max-36gb"),
        ("no GPU, 16 GB of memory", 16 * 1024, None),
    ],
)
def test_a_drivers_name_and_memory_tell_the_part(driver: str, mib: int, name: str | None) -> None:
    assert table.match(driver, mib * MIB) == name


def test_every_card_is_found_by_its_own_figures() -> None:
    for name in table.names():
        found = entry(name)
        memory = found.nominal if found.backend == "metal" else found.memory
        assert table.match(found.card, memory) == (None if found.backend == "cpu" else name)


@pytest.mark.parametrize(
    ("driver", "people"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("Intel(R) Arc(TM) A770 Graphics", "Arc A770 Graphics"),
        ("AMD Radeon VII", "AMD Radeon VII"),
    ],
)
def test_short_names_for_people(driver: str, people: str) -> None:
    assert table.short(driver) == people
