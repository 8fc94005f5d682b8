"""Names of the design tokens that Python may use; their values stand in `assets/theme.css` alone."""

from __future__ import annotations

from typing import Final

SERIES_TRAIN: Final = "--c1"
SERIES_EVALUATION: Final = "--c2"
SERIES_REST: Final = "--c5"

MEMORY_CLASSES: Final = {
    "weights": "c-weights",
    "adapter": "c-adapter",
    "gradients": "c-gradients",
    "optimizer": "c-optimizer",
    "activations": "c-activations",
}
"""Class of each memory component in the bar; any other component is hatched."""

REST_CLASS: Final = "hatch"
