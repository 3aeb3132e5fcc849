"""NVIDIA GPUs from the output of nvidia-smi, in the shapes that its versions gave it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelforge.display import visible
from modelforge.hardware import Device, nvidia, nvidia_smi
from modelforge.hardware.cpu import Memory
from modelforge.hardware.nvidia import Card
from modelforge.units import GIB, MIB

MEMORY = Memory(total=119 * GIB, available=100 * GIB)
NA = "<total>N/A</total><reserved>N/A</reserved><used>N/A</used><free>N/A</free>"


def log(*gpus: str, version: int = 12) -> str:
    """A document as drivers write it, with some of what is not read."""
    return (
        '<?xml version="1.0" ?>\n'
        f'<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v{version}.dtd">\n'
        "<nvidia_smi_log>\n"
        "\t<timestamp>Sat Jan  3 08:15:00 2026</timestamp>\n\t<driver_version>570.00</driver_version>\n"
        f"\t<attached_gpus>{len(gpus)}</attached_gpus>\n" + "".join(gpus) + "\n</nvidia_smi_log>\n"
    )


def gpu(name: str, uuid: str, memory: str, *, mig: str = "", more: str = "") -> str:
    return (
        f'\t<gpu id="00000000:01:00.0">\n\t\t<product_name>{name}</product_name>\n'
        "\t\t<product_brand>NVIDIA</product_brand>\n\t\t<persistence_mode>Disabled</persistence_mode>\n"
        f"{mig}\t\t<uuid>{uuid}</uuid>\n\t\t<minor_number>0</minor_number>\n"
        f"\t\t<fb_memory_usage>\n{memory}\n\t\t</fb_memory_usage>\n"
        "\t\t<bar1_memory_usage><total>256 MiB</total><used>3 MiB</used><free>253 MiB</free></bar1_memory_usage>\n"
        f"{more}\t</gpu>\n"
    )


def told(total: int, *, reserved: int | None = 0, used: int = 0) -> str:
    """Sizes in MiB. `reserved` None: as drivers before 510."""
    free = total - (reserved or 0) - used
    middle = "" if reserved is None else f"<reserved>{reserved} MiB</reserved>"
    return f"<total>{total} MiB</total>{middle}<used>{used} MiB</used><free>{free} MiB</free>"


def split(*instances: str, mode: str = "Enabled") -> str:
    inside = "".join(instances) or "None"
    return (
        f"<mig_mode><current_mig>{mode}</current_mig><pending_mig>{mode}</pending_mig></mig_mode>"
        f"<mig_devices>\n{inside}\n</mig_devices>\n"
    )


def instance(memory: str, uuid: str = "") -> str:
    return (
        "<mig_device><index>0</index><gpu_instance_id>3</gpu_instance_id>"
        "<device_attributes><shared><multiprocessor_count>14</multiprocessor_count></shared></device_attributes>"
        f"{uuid and f'<uuid>{uuid}</uuid>'}<fb_memory_usage>{memory}</fb_memory_usage></mig_device>"
    )


A_4090 = gpu(
    "NVIDIA GeForce RTX 4090", "GPU-aaaa", told(24564, reserved=347, used=1000), mig=split(mode="N/A")
)
A_3060 = gpu("NVIDIA GeForce RTX 3060", "GPU-bbbb", told(12288, reserved=237))
LOST = gpu("NVIDIA GeForce RTX 3090", "GPU-cccc", NA.replace("N/A", "GPU is lost"))
A_PART = instance(told(4864))


def refusal(printed: str) -> str:
    """What is said of it; "" where it is read."""
    try:
        nvidia_smi.cards(printed, MEMORY)
    except ValueError as error:
        return str(error)
    return ""


def test_one_card_is_the_same_as_through_the_drivers_library() -> None:
    device = Device(
        name="NVIDIA GeForce RTX 4090",
        memory=24564 * MIB,
        free=(24564 - 347 - 1000) * MIB,
        bandwidth=1008 * 10**9,
        compute_capability="8.9",
        model="rtx-4090",
        reserved=347 * MIB,
    )
    assert nvidia_smi.cards(log(A_4090), MEMORY) == (Card(index=0, uuid="GPU-aaaa", device=device),)


def test_several_cards_keep_their_order() -> None:
    found = nvidia_smi.cards(log(A_3060, A_4090, A_3060.replace("bbbb", "b2"), version=13), MEMORY)
    assert [card.index for card in found] == [0, 1, 2]
    assert [card.uuid for card in found] == ["GPU-bbbb", "GPU-aaaa", "GPU-b2"]
    assert [card.device and card.device.model for card in found] == [
        "rtx-3060-12gb",
        "rtx-4090",
        "rtx-3060-12gb",
    ]
    assert [device.model for device in nvidia.chosen(found, "GPU-aaaa,GPU-bbbb").devices] == [
        "rtx-4090",
        "rtx-3060-12gb",
    ]


def test_an_old_driver_tells_neither_what_it_reserves_nor_of_instances() -> None:
    old = gpu("GeForce GTX 1070 Ti", "GPU-dddd", told(8192, reserved=None, used=42))
    (card,) = nvidia_smi.cards(log(old, version=10), MEMORY)
    assert card.device is not None
    assert (card.device.memory, card.device.free, card.device.reserved) == (8192 * MIB, 8150 * MIB, 0)
    assert card.device.model == "gtx-1070-ti"


def test_a_document_without_a_type_is_taken() -> None:
    bare = log(A_3060).partition("<nvidia_smi_log>")
    assert len(nvidia_smi.cards(bare[1] + bare[2], MEMORY)) == 1
    assert (
        len(nvidia_smi.cards('<?xml version="1.0" encoding="UTF-8"?>\r\n' + bare[1] + bare[2], MEMORY)) == 1
    )


@pytest.mark.parametrize(
    ("more", "name", "expected"),
    [
        pytest.param("<compute_cap>9.9</compute_cap>", "NVIDIA GeForce RTX 3060", "9.9", id="told"),
        pytest.param("<compute_cap>N/A</compute_cap>", "NVIDIA GeForce RTX 3060", "8.6", id="of the table"),
        pytest.param("", "Graphics Device", None, id="unknown"),
    ],
)
def test_compute_capability(more: str, name: str, expected: str | None) -> None:
    (card,) = nvidia_smi.cards(log(gpu(name, "GPU-eeee", told(12288), more=more)), MEMORY)
    assert card.device is not None
    assert card.device.compute_capability == expected


@pytest.mark.parametrize("word", ["N/A", "[N/A]", "Not Supported", "0 MiB"])
def test_memory_that_is_the_machines(word: str) -> None:
    (card,) = nvidia_smi.cards(log(gpu("NVIDIA GB10", "GPU-ffff", NA.replace("N/A", word))), MEMORY)
    device = card.device
    assert device is not None
    assert (device.memory, device.free, device.reserved) == (119 * GIB, 100 * GIB, 0)
    assert (device.exact, device.model, device.compute_capability) == (False, "gb10", "12.1")
    assert card.problem == (
        "the driver does not tell the memory of NVIDIA GB10: it shares the machine's, which is taken"
    )


@pytest.mark.parametrize(
    "word",
    [
        "ERR!",
        "[Unknown Error]",
        "Unknown Error",
        "Insufficient Permissions",
        "GPU is lost",
        "[GPU requires reset]",
    ],
)
def test_broken_cards_are_left_out_and_named(word: str) -> None:
    nameless = gpu(word, "GPU-n", told(24576))
    dumb = gpu("NVIDIA GeForce RTX 3090", "GPU-d", NA.replace("N/A", word))
    found = nvidia_smi.cards(log(A_4090, dumb, nameless, A_3060), MEMORY)
    chosen = nvidia.chosen(found, None)
    assert [device.model for device in chosen.devices] == ["rtx-4090", "rtx-3060-12gb"]
    assert chosen.warnings == tuple(
        f"GPU {index} does not answer and is left out ({word.strip('[]')}): see 'nvidia-smi'"
        for index in (1, 2)
    )
    assert [card.index for card in found] == [0, 1, 2, 3]


def test_a_card_that_tells_no_name_or_no_memory_at_all() -> None:
    nameless, empty, memoryless = (
        gpu("N/A", "GPU-n", told(1)),
        gpu("", "GPU-e", told(1)),
        gpu("X", "GPU-m", ""),
    )
    found = nvidia_smi.cards(log(nameless, empty, memoryless), MEMORY)
    assert [card.device for card in found] == [None, None, None]
    assert [card.problem.partition("(")[2].partition(")")[0] for card in found] == [
        "N/A",
        "it has no name",
        "its memory is not told",
    ]


def test_a_uuid_that_is_not_told() -> None:
    for word in ("N/A", "Unknown Error", ""):
        (card,) = nvidia_smi.cards(log(gpu("NVIDIA GeForce RTX 3060", word, told(12288))), MEMORY)
        assert (card.uuid, card.device is None) == ("", False)


def test_free_memory_that_is_not_told() -> None:
    memory = told(12288).replace("<free>12288 MiB", "<free>N/A")
    (card,) = nvidia_smi.cards(log(gpu("NVIDIA GeForce RTX 3060", "GPU-f", memory)), MEMORY)
    assert card.device is not None
    assert (card.device.memory, card.device.free) == (12288 * MIB, None)


def test_of_a_split_card_its_instances_count() -> None:
    second = instance(told(9856, used=6), "MIG-1234-abcd")
    parts = gpu("NVIDIA A100-SXM4-40GB", "GPU-1", told(40960, reserved=617), mig=split(A_PART, second))
    found = nvidia_smi.cards(log(A_3060, parts), MEMORY)
    assert [(card.index, card.uuid) for card in found] == [(0, "GPU-bbbb"), (1, ""), (None, "MIG-1234-abcd")]
    first = Device(
        name="NVIDIA A100-SXM4-40GB MIG", memory=4864 * MIB, free=4864 * MIB, compute_capability="8.0"
    )
    assert found[1].device == first
    assert found[2].device is not None
    assert (found[2].device.memory, found[2].device.free) == (9856 * MIB, 9850 * MIB)
    assert nvidia.chosen(found, None).devices == (first,)
    assert nvidia.chosen(found, "0").devices == (found[0].device,)
    assert nvidia.chosen(found, "MIG-1234").devices == (found[2].device,)


def test_a_split_card_whose_whole_memory_may_not_be_seen() -> None:
    memory = NA.replace("N/A", "Insufficient Permissions")
    (card,) = nvidia_smi.cards(log(gpu("NVIDIA A100-SXM4-40GB", "GPU-1", memory, mig=split(A_PART))), MEMORY)
    assert card.device is not None
    assert (card.device.memory, card.device.compute_capability, card.problem) == (4864 * MIB, None, "")


def test_an_instance_that_does_not_answer_never_takes_the_machines_memory() -> None:
    silent = instance(NA), instance(NA.replace("N/A", "Unknown Error"))
    found = nvidia_smi.cards(
        log(gpu("NVIDIA A100-SXM4-40GB", "GPU-1", told(40960), mig=split(*silent))), MEMORY
    )
    assert [card.device for card in found] == [None, None]
    assert found[0].problem.startswith(
        "GPU 0, instance 0 does not answer and is left out (its memory is not told)"
    )
    assert found[1].problem.startswith("GPU 0, instance 1 does not answer and is left out (Unknown Error)")


def test_a_card_split_into_nothing() -> None:
    (card,) = nvidia_smi.cards(log(gpu("NVIDIA A100-SXM4-40GB", "GPU-1", told(40960), mig=split())), MEMORY)
    assert card == Card(index=0, problem="GPU 0 is in MIG mode but has no instance: see 'nvidia-smi mig'")


@pytest.mark.parametrize("printed", [log(), "No devices were found\n"])
def test_a_driver_without_a_card(printed: str) -> None:
    assert nvidia_smi.cards(printed, MEMORY) == ()


def test_text_around_the_document_is_skipped_but_for_lost_cards() -> None:
    greeting = "\n==========\n== CUDA ==\n==========\n[notes]\n"
    gone = "Unable to determine the device handle for GPU1: 0000:34:00.0: Unknown Error\n"
    warning = "WARNING: infoROM is corrupted at gpu 0000:01:00.0\n"
    found = nvidia_smi.cards(greeting + gone + log(A_3060) + warning, MEMORY)
    problem = f"a GPU does not answer and is left out ({gone.strip()})"
    assert [(card.index, card.device is None) for card in found] == [(0, False), (None, True)]
    assert nvidia.chosen(found, None).warnings == (problem,)
    assert nvidia_smi.cards(gone + "No devices were found\n", MEMORY) == (Card(index=None, problem=problem),)


@pytest.mark.parametrize("name", ["\ufffd\x00\x01", "/usr/bin/a & b <c>", "</gpu>"])
def test_names_of_processes_may_break_the_xml(name: str) -> None:
    process = f"<process_info><pid>7</pid><process_name>{name}</process_name><type>C</type></process_info>"
    processes = f"<processes>{process}{process}</processes>\n"
    xml = log(gpu("NVIDIA GeForce RTX 3060", "GPU-b", told(12288), more=processes), A_4090)
    assert [card.uuid for card in nvidia_smi.cards(xml, MEMORY)] == ["GPU-b", "GPU-aaaa"]


NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest"
    " NVIDIA driver is installed and running."
)
MISMATCH = (
    "\n  Failed to initialize NVML:   Driver/library version mismatch\r\nNVML library version: 570.00\n"
)
FORBIDDEN = "Failed to initialize NVML: Insufficient Permissions"


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (NO_DRIVER + "\n\n", NO_DRIVER),
        (MISMATCH, "Failed to initialize NVML: Driver/library version mismatch"),
        (FORBIDDEN, FORBIDDEN),
        ("sh: \x1b[31mnvidia-smi\x1b[0m: not found", "sh: \\x1b[31mnvidia-smi\\x1b[0m: not found"),
        ("x" * 1000, "x" * 199 + "…"),
        (" \n\t\n", "nothing was printed"),
        ("<html>no</html>", "<html>no</html>"),
    ],
)
def test_what_is_no_document_is_told_by_its_first_line(printed: str, expected: str) -> None:
    assert refusal(printed) == expected


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        pytest.param(log(A_4090).partition("<fb_mem")[0], "breaks off", id="half of it"),
        pytest.param(log(A_4090).replace("</gpu>", ""), "broken XML: mismatched tag", id="a tag not closed"),
        pytest.param(log(A_4090).replace("570.00", "\x00"), "broken XML", id="a control character"),
        pytest.param(log(A_4090).replace("570.00", "\ud800"), "broken XML", id="half a character"),
        pytest.param(log(A_4090).replace("570.00", "&name;"), "broken XML: undefined entity", id="entity"),
        pytest.param(log(A_4090) + " " * MIB, "more than 1048576 characters", id="too long"),
    ],
)
def test_a_broken_document_is_refused(printed: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        nvidia_smi.cards(printed, MEMORY)


@pytest.mark.parametrize(
    "subset",
    ['[<!ENTITY a "aaaa">]', 'SYSTEM "x>y" [<!ENTITY a SYSTEM "file:///etc/passwd">]', "[]"],
)
def test_a_document_type_may_define_nothing(subset: str) -> None:
    printed = log(A_4090).replace('SYSTEM "nvsmi_device_v12.dtd"', subset)
    with pytest.raises(ValueError, match="has declarations"):
        nvidia_smi.cards(printed, MEMORY)


def test_a_document_type_further_in_is_broken_xml() -> None:
    printed = log('<!DOCTYPE a [<!ENTITY b "c">]>&b;', A_4090)
    with pytest.raises(ValueError, match="broken XML"):
        nvidia_smi.cards(printed, MEMORY)


@pytest.mark.parametrize(
    "piece", ["<gpu>", "<nvidia_smi_log ", "<process_name>", "</nvidia_smi_log>", "<mig_device>"]
)
def test_a_long_document_of_nonsense_is_soon_refused(piece: str) -> None:
    inside = piece * ((MIB - 100) // len(piece))
    with pytest.raises(ValueError, match="broken XML"):
        nvidia_smi.cards(f"<nvidia_smi_log>{inside}</nvidia_smi_log>", MEMORY)


def test_deep_nesting_is_no_danger() -> None:
    depth = MIB // 8
    deep = f"<nvidia_smi_log>{'<a>' * depth}{'</a>' * depth}</nvidia_smi_log>"
    assert nvidia_smi.cards(deep, MEMORY) == ()


SIZES = ["1 MiB", "0 MiB", "99999999999 MiB", "-5 MiB", "\u0663 MiB"]
WORDS = st.sampled_from(["N/A", "[N/A]", "ERR!", "Enabled", "GPU is lost", "", "&lt;", "\x9b", *SIZES])
TAGS = ["<nvidia_smi_log>", "</nvidia_smi_log>", "<gpu>", "</gpu>", "<!DOCTYPE", "["]
PIECES = st.one_of(st.text(max_size=20), st.sampled_from(TAGS))


@given(st.lists(PIECES, max_size=8).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    said = refusal(text)
    assert visible(said) == said


@given(WORDS, WORDS, WORDS, WORDS, WORDS)
def test_any_words_in_the_fields_give_a_device_or_a_problem(
    name: str, uuid: str, total: str, free: str, mode: str
) -> None:
    memory = f"<total>{total}</total><reserved>{free}</reserved><free>{free}</free>"
    xml = log(gpu(name, uuid, memory, mig=split(instance(memory, uuid), mode=mode)))
    for card in nvidia_smi.cards(xml, MEMORY):
        assert card.device or card.problem
