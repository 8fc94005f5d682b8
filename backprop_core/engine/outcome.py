"""How a recipe ended. Apart from the recipes, so that it can be named without their libraries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the recipe ended; `artifact` is relative to the run, empty when nothing was saved."""

    how: Literal["completed", "stopped", "interrupted"]
    artifact: str
