"""A candidate on a device: as the memory module says, whichever device was asked about before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelforge.errors import UsageProblem
from modelforge.fit import band_of, fit_of, fits, placed_on
from modelforge.hardware import Hardware
from modelforge.memory import footprint
from modelforge.units import GIB, MIB
from tests import shapes
from tests.plans import candidate, cpu, gpu, gpus, settings

if TYPE_CHECKING:
    from modelforge.bases import Candidate

AMONG = [
    candidate(shapes.LLAMA_8B, "8b", "Q8_0"),
    candidate(shapes.GEMMA3_12B, "12b", "Q4_K_M"),
    replace(candidate(shapes.LLAMA_8B, "8b", "Q4_K_M"), projector_bytes=500 * MIB),
]
OLD = replace(gpu(12), devices=(replace(gpu(12).devices[0], compute_capability="5.2"),))


@pytest.mark.parametrize(
    ("budget", "band"), [(10 * GIB, 64 * MIB), (2 * GIB, 64 * MIB), (GIB, 32 * MIB), (0, 0), (-5, 0)]
)
def test_the_band_is_64_mib_or_a_32nd(budget: int, band: int) -> None:
    assert band_of(budget) == band


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    one=st.sampled_from(AMONG),
    hardware=st.sampled_from([gpu(8), gpu(24), gpu(24, "metal"), gpu(16, "rocm"), OLD, cpu(16), cpu(64)]),
    num_ctx=st.sampled_from([512, 8192, 8193]),
    kind=st.sampled_from(["f16", "q8_0"]),
)
def test_on_one_device_it_is_the_footprint(
    one: Candidate, hardware: Hardware, num_ctx: int, kind: str
) -> None:
    run = settings(num_ctx=num_ctx, kv_cache=kind)
    expected = footprint(one.shape, run, hardware, projector=one.projector_bytes)
    assert placed_on(one, run, hardware) == expected
    assert fits(one, run, hardware) == (fit_of(expected) == "fits")


@pytest.mark.parametrize("mib", [(6500, 2500), (24_000, 24_000), (4100, 4100), (2000, 2000)])
def test_on_several_devices_it_is_the_footprint_unless_one_is_too_full(mib: tuple[int, ...]) -> None:
    run, hardware = settings(), gpus(*mib)
    expected, found = footprint(AMONG[0].shape, run, hardware), placed_on(AMONG[0], run, hardware)
    assert found.needs >= expected.needs
    assert [share.budget for share in found.shares] == [share.budget for share in expected.shares]
    if fit_of(expected) != "tight":
        assert replace(found, roomy=None) == expected


def test_hardware_without_any_memory_is_an_error() -> None:
    with pytest.raises(UsageProblem, match="neither which devices it has"):
        placed_on(AMONG[0], settings(), Hardware(name="x", backend="cpu"))
