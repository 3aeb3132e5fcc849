"""A profile: what a model shall be. TOML in, one frozen record out.

`schema` declares the format, `load` reads and merges the files, `positions` finds where a key stands,
`problems` turns what is wrong into words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelforge.profile.schema import Base, Message, Parameters, Resolve, Serve, SmokeTest


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One profile after inheritance, with its prompt files read. Texts are exact, byte for byte.

    `system`, `chat_template` are None where the profile does not set them: inherited from the base.
    `targets` are the hardware names of `[hardware]`; `overrides` holds, for each name with overrides,
    the whole profile with them applied (those have no overrides of their own). `origins` tells for each
    dotted key where it was set: `{"parameters.num_ctx": "profiles/coder.toml:14:1"}`.
    """

    name: str
    model_name: str
    file: str
    root: Path
    description: str
    template: str
    system: str | None
    license: tuple[str, ...]
    chat_template: str | None
    adapters: tuple[Path, ...]
    requires: str | None
    renderer: str | None
    parser: str | None
    base: Base
    parameters: Parameters
    resolve: Resolve
    serve: Serve
    vars: Mapping[str, Any]
    messages: tuple[Message, ...]
    smoke: tuple[SmokeTest, ...]
    targets: tuple[str, ...]
    overrides: Mapping[str, Profile]
    origins: Mapping[str, str]

    def on(self, hardware: str) -> Profile:
        """The profile as it is for a target: with that target's overrides, if there are any."""
        return self.overrides.get(hardware, self)
