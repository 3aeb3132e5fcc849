"""Profiles, hardware and candidates in a line each, for tests of the resolver."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.bases import Candidate, ServedModel
from modelforge.hardware import Device, Hardware
from modelforge.profile import Profile
from modelforge.profile.schema import Base, Parameters, Resolve, Serve
from modelforge.same import Same
from modelforge.settings import RunSettings
from modelforge.shape import shape_of
from modelforge.units import GIB, MIB

if TYPE_CHECKING:
    from modelforge.hardware import Backend
    from modelforge.shape import ModelShape
    from tests.shapes import Model


def profile(*, origins: dict[str, str] | None = None, **tables: dict[str, Any]) -> Profile:
    """A profile with keys of `base`, `parameters` and `resolve`."""
    return Profile(
        name="coder",
        model_name="coder",
        file="profiles/coder.toml",
        root=Path("/project"),
        description="",
        template="modelfile.j2",
        system=None,
        license=(),
        chat_template=None,
        adapters=(),
        requires=None,
        renderer=None,
        parser=None,
        base=Base(**{"model": "llama3", **tables.get("base", {})}),
        parameters=Parameters(**tables.get("parameters", {})),
        resolve=Resolve(**tables.get("resolve", {})),
        serve=Serve(),
        vars={},
        messages=(),
        smoke=(),
        targets=(),
        overrides={},
        origins=origins or {},
    )


@lru_cache(maxsize=256)
def shape_at(model: Same[Model], quant: str) -> ModelShape:
    """A model's shape in a quant, worked out once: many tests ask for the same."""
    return shape_of(model.all[0].header(quant))


def candidate(model: Model, size: str | None, quant: str) -> Candidate:
    return Candidate(
        ref=f"llama3:{size}-{quant}",
        size=size,
        quant=quant,
        digest=None,
        source=ServedModel(name=f"llama3:{size}-{quant}", digest="sha256:00"),
        shape=shape_at(Same(model), quant),
    )


def gpus(*mib: float, backend: Backend = "cuda", bandwidth: int | None = 1008 * 10**9) -> Hardware:
    """GPUs of so many MiB each, in a machine with 64 GiB."""
    devices = tuple(
        Device(name=f"GPU{index}", memory=int(size * MIB), bandwidth=bandwidth)
        for index, size in enumerate(mib)
    )
    return Hardware(
        name="test", backend=backend, devices=devices, system_memory=64 * GIB, system_bandwidth=80 * 10**9
    )


def gpu(gib: float, backend: Backend = "cuda", bandwidth: int | None = 1008 * 10**9) -> Hardware:
    return gpus(gib * 1024, backend=backend, bandwidth=bandwidth)


def cpu(gib: float) -> Hardware:
    return Hardware(name="cpu", backend="cpu", system_memory=int(gib * GIB), system_bandwidth=51 * 10**9)


def settings(num_ctx: int = 8192, **more: Any) -> RunSettings:
    values: dict[str, Any] = {
        "num_batch": 512,
        "parallel": 1,
        "kv_cache": "f16",
        "flash_attention": "auto",
        "headroom": GIB,
        "engine": "0.32",
        "prefer": "quality",
        "num_ctx_is_default": False,
    }
    return RunSettings(num_ctx=num_ctx, **{**values, **more})
