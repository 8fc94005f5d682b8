"""The gate of full fine-tuning: which models may be trained whole."""

from __future__ import annotations

from typing import Final

from backprop_core.config.resolve import FieldProblem
from backprop_core.planning.model_shape import ModelShape
from backprop_core.units import compact, gib

FULL_MODE_PARAMETERS: Final = 4_800_000_000

_HINT: Final = "Use LoRA, or full mode with smollm3-3b, llama-3.2-1b or smollm2-135m."


def full_mode_problem(
    name: str, shape: ModelShape, peak_bytes: int | None, free_bytes: int
) -> FieldProblem | None:
    """Return why the model may not be trained whole; None when it may.

    Args:
        name: the model, for the message.
        shape: of its text part.
        peak_bytes: forecast of the full run; None when there is none.
        free_bytes: free memory of the device.
    """
    if shape.total_parameters > FULL_MODE_PARAMETERS:
        message = (
            f"{name} has {compact(shape.total_parameters)} parameters; "
            f"full mode takes at most {compact(FULL_MODE_PARAMETERS)} on any card."
        )
    elif peak_bytes is not None and peak_bytes > free_bytes:
        message = f"Full mode of {name} needs about {gib(peak_bytes)}; {gib(free_bytes)} are free."
    else:
        return None
    return FieldProblem("mode", "RUNTIME_FULL_FT_MODEL_TOO_LARGE", message, _HINT)
