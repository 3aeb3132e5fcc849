"""Encoders of images or sound in GGUF files of their own, which llama.cpp calls projectors (mmproj)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.bases.headers import is_projector
from modelforge.errors import BaseProblem, Problem

if TYPE_CHECKING:
    from modelforge.gguf import Header
    from modelforge.profile.schema import Base

NO_PROJECTOR = "none"
"""What `base.projector` says where there is to be none."""


def check_projector(header: Header, name: str) -> None:
    """Sees to it that a file is an encoder.

    Raises:
        BaseProblem: it is something else, which a server would take as a second model.
    """
    if not is_projector(header):
        kind = header.metadata.get("general.architecture", "something else")
        problem = Problem(
            message=f"no encoder of images or sound: its architecture is {kind}",
            kind=BaseProblem.kind,
            file=name,
            expected="a file that llama.cpp's convert_hf_to_gguf.py --mmproj made; its architecture is clip",
            hint="correct base.projector",
        )
        raise BaseProblem(problems=(problem,))


def refuse_projector(base: Base, what: str) -> None:
    """For bases that bring their encoder themselves, or cannot have one.

    Raises:
        BaseProblem: the profile names one.
    """
    if base.projector is not None and base.projector.casefold() != NO_PROJECTOR:
        raise BaseProblem(
            f"base.projector is {base.projector}, but '{base.model}' is {what}",
            hint="take 'projector' out of [base]: it is for GGUF files, in the project or on Hugging Face",
        )
