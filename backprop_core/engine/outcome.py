"""How a recipe ended. Apart from the recipes, so that it can be named without their libraries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backprop_core.events.types import StopRule


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the recipe ended; `artifact` is relative to the run, empty when nothing was saved.

    Attributes:
        rule: the rule of the run that stopped it, with its figures in `reason`; None for the user.
    """

    how: Literal["completed", "stopped", "interrupted"]
    artifact: str
    rule: StopRule | None = None
    reason: str = ""
