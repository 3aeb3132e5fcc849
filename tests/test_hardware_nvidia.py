"""NVIDIA GPUs through NVIDIA's own Python bindings, against a stand-in for the driver's library."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelforge import process
from modelforge.hardware import Device, nvidia
from modelforge.hardware.cpu import Memory
from modelforge.hardware.nvidia import Card, Found
from modelforge.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
A_4090 = "0|NVIDIA GeForce RTX 4090|GPU-aaaa|24564|347|1000|8.9"
A_3060 = "0|NVIDIA GeForce RTX 3060|GPU-bbbb|12288|237|0|8.6"
LOST = "15|NVIDIA GeForce RTX 3090|GPU-cccc|24576|0|0|8.6"
NAMELESS = "0|!|GPU-dddd|24576|0|0|8.6"
FORGETFUL = "0|?|GPU-1111|24576|0|0|8.6"
FORBIDDEN = "4|NVIDIA GeForce RTX 3090|GPU-2222|24576|0|0|8.6"
GB10 = "0|NVIDIA GB10|GPU-eeee|0|0|0|12.1"
SPLIT = "0|NVIDIA A100-SXM4-40GB|GPU-ffff|40960|0|0|8.0|2"
EMPTY = "0|NVIDIA A100-SXM4-40GB|GPU-ffff|40960|0|0|8.0|0"

# One child process runs all of them: a library that is loaded once stays, but the stand-in looks at its
# variables again each time.
SCENES: Mapping[str, Mapping[str, str]] = {
    "no card": {},
    "one card": {"CARDS": A_4090},
    "four cards": {
        "CARDS": ";".join([A_4090, A_3060, A_4090.replace("aaaa", "a2"), A_3060.replace("bbbb", "b2")])
    },
    "one of four lost": {"CARDS": f"{A_4090};{LOST};{A_3060};{NAMELESS}"},
    "old driver": {"CARDS": A_3060, "OLD": "1"},
    "mismatch": {"INIT": "18"},
    "no permission": {"INIT": "4"},
    "not loaded": {"INIT": "9"},
    "odd": {"INIT": "17"},
    "cannot count": {"COUNT": "999", "CARDS": A_4090},
    "shared memory": {"CARDS": GB10},
    "split": {"CARDS": SPLIT},
    "split, second part": {"CARDS": SPLIT, "visible": "MIG-0-2"},
    "split into nothing": {"CARDS": EMPTY},
    "second card only": {"CARDS": f"{A_4090};{A_3060}", "visible": "1"},
    "hidden": {"CARDS": A_4090, "visible": ""},
    "memory not told": {"CARDS": f"{FORGETFUL};{A_3060}"},
    "all lost": {"CARDS": f"{LOST};{FORGETFUL}"},
    "others' cards": {"CARDS": f"{FORBIDDEN};{A_3060};{FORBIDDEN};{A_4090}"},
    "others' cards, index": {"CARDS": f"{FORBIDDEN};{A_3060};{FORBIDDEN};{A_4090}", "visible": "1"},
    "others' cards only": {"CARDS": f"{FORBIDDEN};{FORBIDDEN}"},
    "split beside a whole card": {"CARDS": f"{A_4090};{SPLIT}"},
    "two split": {"CARDS": f"{SPLIT};{SPLIT.replace('ffff', '9999')}"},
    "two parts named": {"CARDS": SPLIT, "visible": "MIG-0-2,MIG-0-1"},
    "part not there": {"CARDS": SPLIT, "visible": "MIG-7"},
    "uuid": {"CARDS": f"{A_4090};{A_3060}", "visible": "GPU-bbbb,GPU-aaaa"},
    "short uuid": {"CARDS": f"{A_4090};{A_3060}", "visible": "GPU-b"},
    "uuid of two": {"CARDS": f"{A_4090};{A_3060}", "visible": "GPU-"},
    "one twice": {"CARDS": f"{A_4090};{A_3060}", "visible": "GPU-bb,GPU-bbbb"},
    "minus one": {"CARDS": f"{A_4090};{A_3060}", "visible": "1,-1,0"},
    "not there": {"CARDS": f"{A_4090};{A_3060}", "visible": "1,2,0"},
}

CHILD = """
import dataclasses, json, os, sys
from pathlib import Path
from modelforge.hardware import cpu, nvidia

results = {}
for name, scene in json.loads(sys.argv[1]).items():
    for key in ("INIT", "COUNT", "CARDS", "OLD"):
        os.environ.pop("STUB_" + key, None)
        if key in scene:
            os.environ["STUB_" + key] = scene[key]
    memory = cpu.Memory(total=119 << 30, available=100 << 30)
    found = nvidia.probe(visible=scene.get("visible"), memory=memory, root=Path(sys.argv[2]))
    results[name] = dataclasses.asdict(found)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the compiled stand-in, under the name that pynvml loads."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the stand-in for the NVIDIA driver needs Linux and a C compiler (cc)")
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    done = process.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(HERE / "stub_nvml.c")], seconds=60
    )
    assert done.code == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def answers(stub: Path) -> Mapping[str, Found]:
    """What the probe found in each scene."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "LD_LIBRARY_PATH": str(stub),
        "PYTHONPATH": str(HERE.parent),
        "STUB_LOG": str(stub / "log"),
    }
    command = [sys.executable, "-W", "error", "-c", CHILD, json.dumps(SCENES), str(stub)]
    done = process.run(command, environment=environment, seconds=60)
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return {
        name: Found(
            devices=tuple(Device(**device) for device in scene["devices"]), warnings=tuple(scene["warnings"])
        )
        for name, scene in found.items()
    }


pytestmark = pytest.mark.filterwarnings("error")
needs_stub = pytest.mark.processes


@needs_stub
def test_a_driver_without_a_card(answers: Mapping[str, Found]) -> None:
    assert answers["no card"] == Found()


@needs_stub
def test_one_card_is_known_by_name_and_memory(answers: Mapping[str, Found]) -> None:
    device = Device(
        name="NVIDIA GeForce RTX 4090",
        memory=24564 * MIB,
        free=(24564 - 347 - 1000) * MIB,
        bandwidth=1008 * 10**9,
        compute_capability="8.9",
        model="rtx-4090",
        reserved=347 * MIB,
    )
    assert answers["one card"] == Found(devices=(device,))
    assert device.usable == 24217 * MIB  # what CUDA shows as the total of this card


@needs_stub
def test_several_cards_keep_their_order(answers: Mapping[str, Found]) -> None:
    models = [device.model for device in answers["four cards"].devices]
    assert models == ["rtx-4090", "rtx-3060-12gb", "rtx-4090", "rtx-3060-12gb"]


@needs_stub
def test_broken_cards_are_left_out_and_named(answers: Mapping[str, Found]) -> None:
    found = answers["one of four lost"]
    assert [device.model for device in found.devices] == ["rtx-4090", "rtx-3060-12gb"]
    assert len(found.warnings) == 2
    assert found.warnings[0].startswith("GPU 1 does not answer and is left out (GPU is lost")
    assert found.warnings[1].startswith("GPU 3 does not answer")


@needs_stub
def test_a_card_whose_memory_is_not_told_is_left_out(answers: Mapping[str, Found]) -> None:
    found = answers["memory not told"]
    assert [device.model for device in found.devices] == ["rtx-3060-12gb"]
    assert found.warnings == ("GPU 0 does not answer and is left out (GPU is lost): see 'nvidia-smi'",)
    assert answers["all lost"].devices == ()
    assert len(answers["all lost"].warnings) == 2


@needs_stub
def test_cards_that_are_kept_from_us_do_not_count(answers: Mapping[str, Found]) -> None:
    found = answers["others' cards"]
    assert [device.model for device in found.devices] == ["rtx-3060-12gb", "rtx-4090"]
    assert found.warnings == ()
    assert [device.model for device in answers["others' cards, index"].devices] == ["rtx-4090"]


@needs_stub
def test_an_old_driver_does_not_tell_what_it_reserves(answers: Mapping[str, Found]) -> None:
    (device,) = answers["old driver"].devices
    assert (device.memory, device.free, device.reserved) == (12288 * MIB, (12288 - 237) * MIB, 0)


@needs_stub
@pytest.mark.parametrize(
    ("scene", "words"),
    [
        ("mismatch", "no GPU can be used: reboot"),
        ("no permission", "give this user access to /dev/nvidia*"),
        ("others' cards only", "give this user access to /dev/nvidia*"),
        ("odd", "see what 'nvidia-smi' says"),
        ("cannot count", "see what 'nvidia-smi' says"),
    ],
)
def test_a_driver_that_does_not_work_is_told_with_a_remedy(
    answers: Mapping[str, Found], scene: str, words: str
) -> None:
    assert answers[scene].devices == ()
    assert len(answers[scene].warnings) == 1
    assert words in answers[scene].warnings[0]


@needs_stub
def test_no_module_and_no_card_is_no_problem(answers: Mapping[str, Found]) -> None:
    assert answers["not loaded"] == Found()


@needs_stub
def test_memory_that_is_the_machines(answers: Mapping[str, Found]) -> None:
    (device,) = answers["shared memory"].devices
    assert (device.memory, device.free, device.exact, device.model) == (119 * GIB, 100 * GIB, False, "gb10")
    assert "NVIDIA GB10" in answers["shared memory"].warnings[0]


@needs_stub
def test_of_a_split_card_the_first_part_counts(answers: Mapping[str, Found]) -> None:
    (device,) = answers["split"].devices
    assert (device.name, device.memory) == ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 5120 * MIB)
    assert (device.compute_capability, device.model) == ("8.0", None)
    (second,) = answers["split, second part"].devices
    assert second == device
    assert answers["part not there"].devices == ()
    assert "hides all NVIDIA GPUs" in answers["part not there"].warnings[0]


@needs_stub
@pytest.mark.parametrize("scene", ["split beside a whole card", "two split", "two parts named"])
def test_beside_a_part_cuda_has_nothing(answers: Mapping[str, Found], scene: str) -> None:
    assert [device.memory for device in answers[scene].devices] == [5120 * MIB]
    assert answers[scene].warnings == ()


@needs_stub
def test_a_card_split_into_nothing(answers: Mapping[str, Found]) -> None:
    assert answers["split into nothing"].devices == ()
    assert answers["split into nothing"].warnings == (
        "GPU 0 is in MIG mode but has no instance: see 'nvidia-smi mig'",
    )


@needs_stub
def test_cuda_visible_devices_chooses_and_hides(answers: Mapping[str, Found]) -> None:
    assert [device.model for device in answers["second card only"].devices] == ["rtx-3060-12gb"]
    assert answers["second card only"].warnings == ()
    assert answers["hidden"].devices == ()
    assert answers["hidden"].warnings == ("CUDA_VISIBLE_DEVICES='' hides all NVIDIA GPUs of this machine",)


@needs_stub
@pytest.mark.parametrize(
    ("scene", "models"),
    [
        ("uuid", ["rtx-3060-12gb", "rtx-4090"]),
        ("short uuid", ["rtx-3060-12gb"]),
        ("uuid of two", []),
        ("one twice", []),
        ("minus one", ["rtx-3060-12gb"]),
        ("not there", ["rtx-3060-12gb"]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(
    answers: Mapping[str, Found], scene: str, models: list[str]
) -> None:
    assert [device.model for device in answers[scene].devices] == models
    assert bool(answers[scene].warnings) == (not models)


@needs_stub
@pytest.mark.usefixtures("answers")
def test_the_library_is_always_let_go(stub: Path) -> None:
    log = (stub / "log").read_text(encoding="ascii")
    assert log == "+-" * (len(log) // 2)
    assert len(log) // 2 == sum("INIT" not in scene for scene in SCENES.values())


def test_no_library_is_no_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pynvml  # noqa: PLC0415

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", missing)
    assert nvidia.probe(visible=None, memory=Memory(total=GIB, available=GIB), root=tmp_path) == Found()


@pytest.mark.parametrize(
    ("vendor", "kind", "expected"),
    [("0x10de", "0x030000", True), ("0x10de", "0x040300", False), ("0x1002", "0x030000", False)],
)
def test_a_card_on_the_bus(tmp_path: Path, vendor: str, kind: str, expected: bool) -> None:  # noqa: FBT001
    folder = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(vendor + "\n", encoding="ascii")
    (folder / "class").write_text(kind + "\n", encoding="ascii")
    assert nvidia.has_card(tmp_path) is expected


def cards(*names: str) -> list[Card]:
    return [
        Card(index=index, uuid=f"GPU-{name}", device=Device(name=name, memory=GIB))
        for index, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        pytest.param(None, "a b c", id="not set: all"),
        pytest.param("2,0", "c a", id="in the order given"),
        pytest.param(" 1 , 2", "b c", id="blanks"),
        pytest.param("GPU-b", "b", id="uuid"),
        pytest.param("GPU-c,GPU-a", "c a", id="uuids"),
        pytest.param("GPU-c,0", "c", id="uuids end at an index"),
        pytest.param("0,GPU-c", "a", id="indices end at a uuid"),
        pytest.param("gpu-c", "", id="in small letters it is none"),
        pytest.param("2gpu,1", "c b", id="as far as it is a number"),
        pytest.param("GPU-c,GPU-c", "", id="a uuid twice: none"),
        pytest.param("0,-1,1", "a", id="ends at the first unknown"),
        pytest.param("0,9,1", "a", id="ends at an index that is not there"),
        pytest.param("", "", id="empty: none"),
        pytest.param("-1", "", id="-1: none"),
        pytest.param("NoDevFiles", "", id="a word: none"),
        pytest.param("0,0", "", id="twice: none"),
        pytest.param("GPU-", "", id="a beginning that several cards have: none"),
        pytest.param("GPU-b,GPU-", "b", id="ends at what several cards may be"),
        pytest.param("\u0661", "", id="digits of another script: none"),
    ],
)
def test_cuda_visible_devices(visible: str | None, expected: str) -> None:
    found = nvidia.chosen(cards("a", "b", "c"), visible)
    assert " ".join(device.name for device in found.devices) == expected
    assert bool(found.warnings) == (expected == "")


def test_a_hidden_broken_card_is_nobodys_worry() -> None:
    lost = Card(index=3, problem="GPU 3 does not answer")
    assert nvidia.chosen([*cards("a"), lost], "0").warnings == ()
    assert nvidia.chosen([*cards("a"), lost], "0,3").warnings == ("GPU 3 does not answer",)
    assert nvidia.chosen([*cards("a"), lost], None).warnings == ("GPU 3 does not answer",)
