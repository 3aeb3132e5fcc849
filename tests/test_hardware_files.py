"""A project's own hardware files: what they say, and every error in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.errors import ExitCode, Problem, ProfileProblem
from modelforge.hardware.files import load_hardware
from modelforge.units import GIB

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.hardware import Hardware

DESK = """
description = "Two 4090s under the desk"
backend = "cuda"
system_memory = "64GiB"
[[device]]
like = "rtx-4090"
count = 2
"""


def load(root: Path, text: str, name: str = "desk") -> Hardware:
    file = root / "hardware" / f"{name}.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return load_hardware(file, root=root)


def problems(root: Path, text: str, name: str = "desk") -> tuple[Problem, ...]:
    with pytest.raises(ProfileProblem) as caught:
        load(root, text, name)
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value.problems


def test_devices_of_the_table(tmp_path: Path) -> None:
    found = load(tmp_path, DESK)
    assert (found.name, found.backend, found.origin) == ("desk", "cuda", "file")
    assert found.description == "Two 4090s under the desk"
    assert found.system_memory == 64 * GIB
    assert [device.model for device in found.devices] == ["rtx-4090", "rtx-4090"]


def test_own_figures(tmp_path: Path) -> None:
    text = """
backend = "rocm"
[[device]]
name = "RX 7900 XTX"
memory = "24GiB"
bandwidth = "960GB/s"
[[device]]
memory = "2 TiB"
compute_capability = "9.0"
"""
    first, second = load(tmp_path, text).devices
    assert (first.name, first.memory, first.bandwidth) == ("RX 7900 XTX", 24 * GIB, 960 * 10**9)
    assert first.model == "rx-7900-xtx"
    assert (second.name, second.model, second.compute_capability) == ("GPU with 2 TiB", None, "9.0")


def test_a_machine_without_devices(tmp_path: Path) -> None:
    found = load(tmp_path, 'system_memory = "32GiB"\nsystem_bandwidth = "51.2GB/s"\n')
    assert (found.backend, found.devices) == ("cpu", ())
    assert (found.system_memory, found.system_bandwidth) == (32 * GIB, 51_200_000_000)


def test_backend_and_memory_come_with_the_device(tmp_path: Path) -> None:
    found = load(tmp_path, '[[device]]\nlike = "Apple M3 Pro 18GB"\n')
    assert (found.backend, found.system_memory) == ("metal", 18 * GIB)


def test_all_errors_at_once_in_order(tmp_path: Path) -> None:
    text = """descripton = "x"
backend = "cdua"
system_memory = "64 gigs"

[[device]]
like = "rtx-4091"
memory = "3GiB"
count = 0

[[device]]
name = "X"
bandwidth = "0GB/s"
"""
    assert [(problem.place, problem.message) for problem in problems(tmp_path, text)] == [
        ("hardware/desk.toml:1:1", "unknown key 'descripton'"),
        (
            "hardware/desk.toml:2:11",
            "'backend' is \"cdua\", expected one of 'cuda', 'rocm', 'vulkan', 'metal', 'cpu'",
        ),
        (
            "hardware/desk.toml:3:17",
            "'system_memory' is \"64 gigs\", expected a size with its unit, such as '8GiB' or '512MiB'",
        ),
        (
            "hardware/desk.toml:6:8",
            "'like' is \"rtx-4091\", expected a name of the hardware table, such as 'rtx-4090'",
        ),
        ("hardware/desk.toml:7:1", "'memory' and 'like' exclude each other, expected one of them"),
        ("hardware/desk.toml:8:9", "'count' is 0, expected an integer from 1 to 64"),
        (
            "hardware/desk.toml:10:3",
            '[[device]] has no memory, expected like = "rtx-4090", or memory = "24GiB"',
        ),
        (
            "hardware/desk.toml:12:13",
            "'bandwidth' is \"0GB/s\", expected a rate above zero, such as '1008GB/s'",
        ),
    ]


def test_an_error_shows_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, DESK.replace("count", "cuont"))
    assert (problem.source, problem.hint) == ("cuont = 2", "did you mean 'count'?")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        pytest.param("", "hardware/desk.toml:1:1", "there is no device and no system_memory", id="nothing"),
        pytest.param(
            'backend = "cuda"',
            "hardware/desk.toml:1:1",
            "backend is 'cuda', but there is no device",
            id="no device",
        ),
        pytest.param(
            '# a\nbackend = "cpu"\n[[device]]\nlike = "t4"',
            "hardware/desk.toml:2:1",
            "backend is 'cpu', but there are devices",
            id="a processor with a device",
        ),
        pytest.param(
            '[[device]]\nmemory = "8GiB"', "hardware/desk.toml:1:1", "there is no 'backend'", id="no backend"
        ),
        pytest.param(
            '[[device]]\nlike = "cpu-16gb"',
            "hardware/desk.toml:2:8",
            "'like' is \"cpu-16gb\"",
            id="like a processor",
        ),
        pytest.param("device = 3", "hardware/desk.toml:1:10", "'device' is 3", id="wrong type"),
        pytest.param('a = "b', "hardware/desk.toml:1:5", "this is not TOML", id="no toml"),
    ],
)
def test_what_is_wrong_and_where(tmp_path: Path, text: str, place: str, message: str) -> None:
    first = problems(tmp_path, text)[0]
    assert first.place == place
    assert first.message.startswith(message)


@pytest.mark.parametrize(
    "name", ["this", "Latest", "cloud", "my-cloud", "local", "two words", "-x", "a" * 81]
)
def test_a_name_that_can_be_no_tag(tmp_path: Path, name: str) -> None:
    (problem,) = problems(tmp_path, DESK, name)
    assert problem.file == f"hardware/{name}.toml"
    assert f"'{name}' cannot be the name of hardware" in problem.message
    assert problem.hint == "rename the file"


def test_a_name_and_its_content_are_told_together(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "count = 1", "cloud")) == 3


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileProblem) as caught:
        load_hardware(tmp_path / "hardware" / "gone.toml", root=tmp_path)
    assert caught.value.problems[0].file == "hardware/gone.toml"
