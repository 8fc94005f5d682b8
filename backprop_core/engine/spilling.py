"""Notices a card whose driver moves memory into the system's instead of refusing. Pure.

Windows does that; nothing fails, every step only takes several times as long.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Final

_STEPS: Final = 8
_SLOWER: Final = 3.0
_FREE_BYTES: Final = 300 << 20


class SpillWatch:
    """Compares each step with the ones before it."""

    def __init__(self) -> None:
        self._seconds_per_token: deque[float] = deque(maxlen=_STEPS)
        self._has_told = False

    def sees_spill(
        self, *, step_s: float, tokens: int, used_bytes: int | None, total_bytes: int | None
    ) -> bool:
        """Return whether this step looks like one that spilled; true once in a run.

        Args:
            step_s: seconds of the step; `tokens` its tokens.
            used_bytes: memory in use on the card; `total_bytes` what it has. None when it does not tell.
        """
        pace = step_s / max(1, tokens)
        usual = median(self._seconds_per_token) if len(self._seconds_per_token) == _STEPS else None
        if usual is None or pace < _SLOWER * usual:
            self._seconds_per_token.append(pace)
            return False
        is_full = (
            used_bytes is not None and total_bytes is not None and used_bytes >= total_bytes - _FREE_BYTES
        )
        if self._has_told or not is_full:
            return False
        self._has_told = True
        return True
