"""What the product asks of the outside world, as small protocols that tests can stand in for."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Two clocks: wall time for people, monotonic time for durations and order."""

    def now(self) -> datetime:
        """Return the wall time with its zone."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, comparable within one boot."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """Return the wall time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the monotonic clock in seconds."""
        return time.monotonic()


class Launcher(Protocol):
    """Starts the worker of a run."""

    def spawn(self, run_dir: Path) -> int:
        """Start the worker of the run in `run_dir` and return its pid.

        Raises:
            RunError: the process could not be started.
        """
        ...
