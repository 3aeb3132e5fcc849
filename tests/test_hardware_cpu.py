"""Memory limits of containers and services, as their control groups tell them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest

from modelforge.hardware import cpu
from modelforge.hardware.cpu import Limit, Memory
from modelforge.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_tree(root: Path, files: Mapping[str, object]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n", encoding="utf-8")
    return root


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=64 * GIB, available=60 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


@pytest.mark.usefixtures("machine")
def test_without_limits_the_machine_counts(tmp_path: Path) -> None:
    assert cpu.probe(root=tmp_path) == Memory(total=64 * GIB, available=60 * GIB)


@pytest.mark.usefixtures("machine")
def test_a_container_limits_total_and_available_and_says_so(tmp_path: Path) -> None:
    root = write_tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": 8 * GIB,
            "sys/fs/cgroup/memory.current": 3 * GIB,
            "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {1 * GIB}\nactive_file 5",
        },
    )
    found = cpu.probe(root=root)
    assert (found.total, found.available) == (8 * GIB, 6 * GIB)
    assert found.note == "limited to 8.0 GiB here, of the machine's 64.0 GiB"


def test_the_lowest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    base = "sys/fs/cgroup"
    root = write_tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/work.scope",
            f"{base}/user.slice/work.scope/memory.max": "max",
            f"{base}/user.slice/work.scope/memory.current": 1 * GIB,
            f"{base}/user.slice/memory.max": 4 * GIB,
            f"{base}/user.slice/memory.current": 3 * GIB,
            f"{base}/memory.max": 16 * GIB,
            f"{base}/memory.current": 15 * GIB + 512 * MIB,
        },
    )
    limits = cpu.limits(root)
    assert limits == (Limit(limit=4 * GIB, used=3 * GIB), Limit(limit=16 * GIB, used=15 * GIB + 512 * MIB))
    assert cpu.within(Memory(total=64 * GIB, available=60 * GIB), limits) == Memory(
        total=4 * GIB, available=512 * MIB, note="limited to 4.0 GiB here, of the machine's 64.0 GiB"
    )


def test_version_1_with_no_limit_at_the_top(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/memory"
    root = write_tree(
        tmp_path,
        {
            "proc/self/cgroup": "12:cpu,cpuacct:/docker/1\n9:memory:/docker/1\n1:name=systemd:/docker/1\n0::/x",
            f"{base}/docker/1/memory.limit_in_bytes": 2 * GIB,
            f"{base}/docker/1/memory.usage_in_bytes": 1 * GIB,
            f"{base}/docker/1/memory.stat": f"inactive_file 7\ntotal_inactive_file {256 * MIB}",
            f"{base}/memory.limit_in_bytes": 9223372036854771712,
            f"{base}/memory.usage_in_bytes": 40 * GIB,
        },
    )
    assert cpu.limits(root) == (Limit(limit=2 * GIB, used=768 * MIB),)


def test_a_path_of_the_host_that_the_container_does_not_see(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "9:memory:/docker/1",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": 2 * GIB,
    }
    assert cpu.limits(write_tree(tmp_path, files)) == (Limit(limit=2 * GIB, used=0),)


def test_a_path_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/../../other",
        "sys/memory.max": 1 * GIB,
        "sys/fs/cgroup/memory.max": 2 * GIB,
    }
    assert cpu.limits(write_tree(tmp_path, files)) == (Limit(limit=2 * GIB, used=0),)


@pytest.mark.parametrize("content", ["", "nonsense", "0::/", "0::/gone\n::"])
def test_odd_or_empty_files_limit_nothing(tmp_path: Path, content: str) -> None:
    assert cpu.limits(write_tree(tmp_path, {"proc/self/cgroup": content})) == ()


def test_more_used_than_allowed_leaves_nothing() -> None:
    found = cpu.within(Memory(total=64 * GIB, available=60 * GIB), (Limit(limit=GIB, used=2 * GIB),))
    assert found.available == 0
