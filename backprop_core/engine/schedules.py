"""The learning rate over a run, as a factor of its peak. Pure."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["linear", "cosine", "constant"]


def learning_rate_factor(step: int, *, steps: int, warmup: int, schedule: Schedule) -> float:
    """Return the factor of a step, above 0 for each step of the run.

    Rises in equal parts over `warmup` steps, then falls so that it would reach 0 one step after the last.

    Args:
        step: counts from 0.
        steps: of the whole run.
        warmup: steps of the rise.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    passed = min(1.0, (step - warmup) / max(1, steps - warmup))
    if schedule == "linear":
        return 1.0 - passed
    return 0.5 * (1.0 + math.cos(math.pi * passed))


def warmup_steps(ratio: float, steps: int) -> int:
    """Return the steps over which the learning rate rises."""
    return round(ratio * steps)
