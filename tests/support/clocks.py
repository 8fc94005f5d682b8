"""Clocks that stand still until a test moves them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class SteppedClock:
    """A clock whose wall time and monotonic time are moved by hand, together or alone."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        """Return the wall time."""
        return self.wall

    def monotonic(self) -> float:
        """Return the monotonic time."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds

    def set_back(self, seconds: float) -> None:
        """Set the wall clock back; the monotonic one goes on."""
        self.wall -= timedelta(seconds=seconds)
