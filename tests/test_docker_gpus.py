"""`--gpus`: what may be said, and what an engine would be asked for."""

from __future__ import annotations

import pytest

from modelforge.errors import UsageProblem
from modelforge.runtimes.docker.gpus import NO_GPUS, Accelerator, Gpus, accelerator_of, parse_gpus, request_of
from tests.engines import facts

NVIDIA = Accelerator(vendor="nvidia.com", way="request")
CDI = Accelerator(vendor="nvidia.com", way="cdi")
AMD = Accelerator(vendor="amd.com", way="files")
AUTO, ALL, NONE = Gpus(mode="auto"), Gpus(mode="all"), Gpus(mode="none")
UUID = "GPU-8f6d8a2e-0000-1111-2222-333344445555"


def nothing(_name: str) -> bool:
    return False


# -- what is said --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", AUTO),
        ("ALL", ALL),
        (" none ", NONE),
        ("0", Gpus(mode="ids", ids=("0",))),
        ("0,1", Gpus(mode="ids", ids=("0", "1"))),
        ("device=0,2", Gpus(mode="ids", ids=("0", "2"))),
        ('"device=0,2"', Gpus(mode="ids", ids=("0", "2"))),
        (UUID, Gpus(mode="ids", ids=(UUID,))),
        ("0:1", Gpus(mode="ids", ids=("0:1",))),
        (
            "MIG-3eb87630-93d5-b2b6-b8ff-9b359caf4ee2",
            Gpus(mode="ids", ids=("MIG-3eb87630-93d5-b2b6-b8ff-9b359caf4ee2",)),
        ),
        ("nvidia.com/gpu=0", Gpus(mode="ids", ids=("nvidia.com/gpu=0",))),
    ],
)
def test_words_and_ids(text: str, expected: Gpus) -> None:
    assert parse_gpus(text) == expected


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("al", "'al' is no GPU's id", "did you mean 'all'?"),
        ("", "'' is no GPU's id", "ids are numbers"),
        ("0,,1", "'' is no GPU's id", "ids are numbers"),
        ("0,0", "one is named twice", "a count is not meant"),
        ("rtx-4090", "'rtx-4090' is no GPU's id", "ids are numbers"),
        ("count=2", "'count=2' is no GPU's id", "a count is not meant"),
    ],
)
def test_what_is_not_understood(text: str, reason: str, hint: str) -> None:
    with pytest.raises(UsageProblem, match=reason) as caught:
        parse_gpus(text)
    assert hint in (caught.value.problems[0].hint or "")


# -- how an engine hands them out ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "image", "there", "expected"),
    [
        ({}, "ollama/ollama:0.32.15", (), None),
        ({"runtimes": frozenset({"runc", "nvidia"})}, "ollama/ollama:0.32.15", (), NVIDIA),
        ({"here": True}, "ollama/ollama:0.32.15", ("nvidia-container-runtime-hook",), NVIDIA),
        ({"cdi_devices": ("nvidia.com/gpu=0", "nvidia.com/gpu=all")}, "ollama/ollama:1", (), CDI),
        ({"cdi_devices": ("amd.com/gpu=all",)}, "o", (), Accelerator(vendor="amd.com", way="cdi")),
        ({"cdi_devices": ("example.com/card=0",)}, "o", (), None),
        ({"here": True}, "ollama/ollama:0.32.15", ("/dev/kfd",), AMD),
        ({"runtimes": frozenset({"amd"})}, "ollama/ollama:0.32.15", (), AMD),
        ({}, "ollama/ollama:0.32.15-rocm", (), AMD),
        ({"here": True}, "ollama/ollama:0.32.15-rocm", (), None),
        ({"runtimes": frozenset({"nvidia"})}, "ollama/ollama:rocm@sha256:12", (), AMD),
        ({"runtimes": frozenset({"nvidia"})}, "rocm.example.com/ollama:1", (), NVIDIA),
    ],
)
def test_an_engine_tells_how(
    changes: dict[str, object], image: str, there: tuple[str, ...], expected: Accelerator | None
) -> None:
    found = accelerator_of(facts(**changes), image=image, has_file=there.__contains__)
    assert found == expected


# -- what it is asked for --------------------------------------------------------------------------------


def asked(gpus: Gpus, accelerator: Accelerator | None, need: int | None = None, found: int = 2) -> object:
    request = request_of(gpus, accelerator, need=need, found=found)
    return request and (list(request.device_requests), [one["PathOnHost"] for one in request.devices])


def nvidia(**which: object) -> dict[str, object]:
    return {"Driver": "", "Capabilities": [["gpu"]], **which}


def test_all_and_ids_of_nvidia() -> None:
    assert asked(ALL, NVIDIA) == ([nvidia(Count=-1)], [])
    assert asked(Gpus(mode="ids", ids=("1", UUID)), NVIDIA) == ([nvidia(DeviceIDs=["1", UUID])], [])
    assert asked(Gpus(mode="ids", ids=("0:1",)), NVIDIA) == ([nvidia(DeviceIDs=["0:1"])], [])


@pytest.mark.parametrize(("need", "count"), [(1, 1), (2, 2), (3, 3), (4, -1), (8, -1), (None, -1)])
def test_auto_asks_for_as_many_as_the_plan_counts_on(need: int | None, count: int) -> None:
    assert asked(AUTO, NVIDIA, need, found=4) == ([nvidia(Count=count)], [])


@pytest.mark.parametrize(
    ("accelerator", "need", "found"), [(None, 1, 0), (NVIDIA, 0, 4), (NVIDIA, 1, 0), (AMD, None, 0)]
)
def test_auto_goes_on_without(accelerator: Accelerator | None, need: int | None, found: int) -> None:
    assert request_of(AUTO, accelerator, need=need, found=found) is NO_GPUS


def test_none_hides_them_even_from_an_engine_whose_default_runtime_gives_all() -> None:
    request = request_of(NONE, NVIDIA, need=2, found=2)
    assert request is NO_GPUS
    assert request.environment == {"NVIDIA_VISIBLE_DEVICES": "void"}
    assert asked(NONE, NVIDIA) == ([], [])


def test_what_cannot_be_given_is_refused_where_it_was_insisted_on() -> None:
    assert request_of(ALL, None, need=1, found=0) is None
    assert request_of(Gpus(mode="ids", ids=("0",)), None, need=1, found=0) is None


def test_cdi_names() -> None:
    assert asked(ALL, CDI) == ([{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}], [])
    assert asked(AUTO, CDI, 1) == ([{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0"]}], [])
    named = Gpus(mode="ids", ids=("vendor.example/gpu=x",))
    assert asked(named, None) == ([{"Driver": "cdi", "DeviceIDs": ["vendor.example/gpu=x"]}], [])


def test_amd_gets_the_drivers_files() -> None:
    assert asked(ALL, AMD) == ([], ["/dev/kfd", "/dev/dri"])
    request = request_of(Gpus(mode="ids", ids=("1",)), AMD, need=1, found=2)
    assert request is not None
    assert request.environment["ROCR_VISIBLE_DEVICES"] == "1"
    assert [one["CgroupPermissions"] for one in request.devices] == ["rwm", "rwm"]
