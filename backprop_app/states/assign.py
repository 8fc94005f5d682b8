"""Sets only what changed, so that a frame sends no more than it has to."""

from __future__ import annotations

from typing import Any


def assign(state: Any, **values: Any) -> None:
    """Set each var of `state` whose value differs."""
    for name, value in values.items():
        if getattr(state, name) != value:
            setattr(state, name, value)
