"""Public models of many architectures, from their published hyperparameters, for llama.cpp's planner.

What tests/shapes.py has, and more. `MODELS` has them by name, with the quants that are tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.oracle.models import dense, encoders, gemma, mixtures, qwen, recurrent

if TYPE_CHECKING:
    from tests.oracle.models.parts import Models

MODELS: Models = {
    **dense.MODELS,
    **mixtures.MODELS,
    **qwen.MODELS,
    **gemma.MODELS,
    **recurrent.MODELS,
    **encoders.MODELS,
}
