"""AMD GPUs from what a shell printed of /sys."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelforge import process
from modelforge.display import visible
from modelforge.hardware import Device, amd_sysfs, table
from modelforge.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def line(card: str = "card0", device: str = "0x744c", total: int = 24560 * MIB, **more: object) -> str:
    fields = {
        "used": 560 * MIB,
        "gtt": 32 * GIB,
        "unique": "0x1234abcd",
        "name": "",
        "revision": "0xc8",
    } | more
    return "\t".join([card, device, str(total), *map(str, fields.values())]) + "\n"


XTX = line()
HBM = line("card1", "0x74a1", 196592 * MIB, used=0, name="AMD Instinct MI300X OAM", revision="0x00")
IN_A_PROCESSOR = line("card0", "0x164e", 512 * MIB, used=30 * MIB, gtt=31 * GIB, revision="0xd8")


def test_one_card_is_known_by_its_id_revision_and_memory() -> None:
    device = Device(
        name="AMD Radeon RX 7900 XTX",
        memory=24560 * MIB,
        free=24000 * MIB,
        bandwidth=960 * 10**9,
        model="rx-7900-xtx",
    )
    assert amd_sysfs.devices(XTX) == (device,)


@pytest.mark.parametrize(
    ("device", "revision", "mib", "model"),
    [
        ("0x744c", "0xc8", 24560, "rx-7900-xtx"),
        ("0x744C", "0xCC", 20464, "rx-7900-xt"),
        ("0x744c", "0xce", 16368, "rx-7900-gre"),
        ("0x744c", "0xcf", 16368, None),  # RX 7900M, which the table does not have
        ("0x73bf", "0xc0", 16368, "rx-6900-xt"),
        ("0x73bf", "0xc1", 16368, "rx-6800-xt"),
        ("0x73bf", "0xc3", 16368, "rx-6800"),
        ("0x7590", "0xc0", 8176, "rx-9060-xt-8gb"),
        ("0x7590", "0xc0", 16304, "rx-9060-xt-16gb"),
        ("0x66a1", "0x02", 16368, "mi50"),
        ("0x66a1", "0x02", 32752, "mi60"),
        ("0x67df", "0xe7", 8192, "rx-580"),
        ("0x67df", "0xe7", 4096, None),
        ("0x744c", "0xc8", 12288, None),
        # without a revision the memory decides, if it can
        ("0x744c", "", 24560, "rx-7900-xtx"),
        ("0x744c", "", 20464, "rx-7900-xt"),
        ("0x7480", "", 8176, "rx-7600"),
        ("0x73bf", "", 16368, None),
        ("0x1234", "0xc8", 24560, None),
    ],
)
def test_one_id_is_several_cards(device: str, revision: str, mib: int, model: str | None) -> None:
    (found,) = amd_sysfs.devices(line(device=device, total=mib * MIB, revision=revision))
    assert (found.model, found.memory, found.exact) == (model, mib * MIB, True)
    if model is None:
        assert (found.name, found.bandwidth) == (f"AMD GPU {device.casefold()}", None)
    else:
        known = table.named(model)
        assert known is not None
        assert (found.name, found.bandwidth) == (known.devices[0].name, known.devices[0].bandwidth)


def test_every_name_is_the_tables() -> None:
    names = {entry.card for name in table.names() if (entry := table.entry(name))}
    assert {name for _, _, name in amd_sysfs._CARDS} <= names
    assert list(amd_sysfs._CARDS) == sorted(amd_sysfs._CARDS)


def test_the_cards_own_name_wins_and_need_not_be_the_usual_one() -> None:
    (found,) = amd_sysfs.devices(HBM)
    assert (found.name, found.model, found.bandwidth) == ("AMD Instinct MI300X OAM", "mi300x", 5300 * 10**9)
    (found,) = amd_sysfs.devices(
        line(device="0xffff", total=65520 * MIB, name="AMD Instinct MI210", revision="0x99")
    )
    assert (found.name, found.model) == ("AMD Instinct MI210", "mi210")


def test_a_name_is_shown_on_one_line_and_safe() -> None:
    (found,) = amd_sysfs.devices(line(name="AMD  \x1b[31m" + "x" * 200))
    assert found.name.startswith("AMD \\x1b[31mxxx")
    assert len(found.name) == 100


def test_cards_are_in_the_order_of_their_numbers() -> None:
    printed = "".join(line(f"card{number}", total=(10 + number) * GIB) for number in (10, 2, 1))
    assert [device.memory // GIB for device in amd_sysfs.devices(printed)] == [11, 12, 20]


def test_a_gpu_in_the_processor_is_left_out() -> None:
    assert amd_sysfs.devices(IN_A_PROCESSOR) == ()
    assert [device.model for device in amd_sysfs.devices(IN_A_PROCESSOR + line("card1"))] == ["rx-7900-xtx"]


def test_what_was_carved_out_in_earnest_counts() -> None:
    (found,) = amd_sysfs.devices(
        line(device="0x1586", total=96 * GIB, used=GIB, gtt=15 * GIB, revision="0xc1")
    )
    assert (found.name, found.memory, found.free) == ("AMD GPU 0x1586", 96 * GIB, 95 * GIB)


def test_a_small_card_is_no_part_of_a_processor() -> None:
    (found,) = amd_sysfs.devices(line(device="0x699f", total=GIB, used=0, gtt=GIB))
    assert found.memory == GIB


@pytest.mark.parametrize(("used", "free"), [("", None), ("lots", None), (25000 * MIB, 0)])
def test_free_memory(used: object, free: int | None) -> None:
    (found,) = amd_sysfs.devices(line(used=used))
    assert found.free == free


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "\n",
        "sh: cat: not found\n",
        "card0\n",
        line(total=0),
        XTX.replace(str(24560 * MIB), ""),
        XTX.replace("card0", "renderD128"),
        XTX.replace("card0", "card0-DP-1"),
    ],
)
def test_lines_that_tell_no_gpu_are_skipped(printed: str) -> None:
    assert amd_sysfs.devices(printed) == ()


def test_fields_at_the_end_may_be_missing() -> None:
    cut = "\t".join(XTX.split("\t")[:3])
    (found,) = amd_sysfs.devices(cut + "\r\n")
    assert (found.model, found.memory, found.free) == ("rx-7900-xtx", 24560 * MIB, None)


PIECES = st.one_of(st.text(max_size=12), st.sampled_from(["card1", "\t", "\n", "0x744c", "9" * 30]))


@given(st.lists(PIECES, max_size=20))
def test_any_text_is_read(pieces: list[str]) -> None:
    for device in amd_sysfs.devices("".join(pieces)):
        assert device.memory > 0


@given(
    st.lists(st.text(max_size=8).map(lambda text: text.replace("\n", "")), max_size=9),
    st.integers(1, 10**18 - 1),
)
def test_any_fields_are_read(fields: list[str], total: int) -> None:
    printed = "\t".join(["card7", *fields[:1], str(total), *fields[1:]])
    for device in amd_sysfs.devices(printed):
        assert device.memory > 0
        assert visible(device.name) == device.name


# -- the command -------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A /sys with two AMD cards, one of another vendor, and the other things that lie beside them."""
    xtx = {
        "vendor": "0x1002",
        "device": "0x744c",
        "revision": "0xc8",
        "mem_info_vram_total": str(24560 * MIB),
        "mem_info_vram_used": str(560 * MIB),
        "mem_info_gtt_total": str(32 * GIB),
        "unique_id": "1234abcd",
    }
    hbm = xtx | {"device": "0x74a1", "revision": "0x00", "product_name": "AMD Instinct MI300X OAM"}
    hbm["mem_info_vram_total"] = str(196592 * MIB)
    cards: Mapping[str, Mapping[str, str]] = {
        "card0": {"vendor": "0x10de", "device": "0x2684"},
        "card2": xtx,
        "card10": hbm,
        "card11": {},
        "renderD128": xtx,
    }
    drm = tmp_path / "sys/class/drm"
    for name, files in cards.items():
        folder = drm / name / "device"
        folder.mkdir(parents=True)
        for file, content in files.items():
            (folder / file).write_text(content + "\n", encoding="ascii")
    (drm / "card2-DP-1").mkdir()
    (drm / "card2-DP-1/device").symlink_to("../card2/device")
    (drm / "version").write_text("drm 1.1.0 20060810\n", encoding="ascii")
    return tmp_path


def printed_under(root: Path, *shell: str) -> str:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"there is no {shell[0]} here")
    script = amd_sysfs.COMMAND[-1].replace("/sys/class", f"{root}/sys/class")
    done = process.run([*shell, *amd_sysfs.COMMAND[1:-1], script], seconds=20)
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


SHELLS = [("sh",), ("dash",), ("bash", "--posix"), ("busybox", "sh")]


@pytest.mark.processes
@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_the_command_prints_what_is_read(root: Path, shell: tuple[str, ...]) -> None:
    printed = printed_under(root, *shell)
    assert sorted(printed.splitlines()) == [
        f"card10\t0x74a1\t{196592 * MIB}\t{560 * MIB}\t{32 * GIB}\t1234abcd\tAMD Instinct MI300X OAM\t0x00",
        f"card2\t0x744c\t{24560 * MIB}\t{560 * MIB}\t{32 * GIB}\t1234abcd\t\t0xc8",
    ]
    assert [device.model for device in amd_sysfs.devices(printed)] == ["rx-7900-xtx", "mi300x"]
    assert sorted(amd_sysfs.look(root).split("\n")) == sorted(printed.splitlines())


@pytest.mark.processes
@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_the_command_prints_nothing_where_there_is_no_card(tmp_path: Path, shell: tuple[str, ...]) -> None:
    assert printed_under(tmp_path, *shell) == ""
    assert amd_sysfs.look(tmp_path) == ""
