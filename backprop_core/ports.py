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
    """Starts the processes that outlive whoever asked for them."""

    def spawn_worker(self, run_dir: Path, launch_id: str, home: Path) -> int:
        """Start the worker of a run and return its pid.

        Raises:
            OSError: the process could not be started.
        """
        ...

    def spawn_scheduler(self, home: Path) -> None:
        """Start the process that launches queued runs; harmless when one runs already."""
        ...

    def reap(self) -> None:
        """Collect ended children whose exit codes nobody will ask for, so that none stays a zombie."""
        ...

    def exit_code(self, pid: int) -> int | None:
        """Return how a worker that this launcher started ended; None while it lives or is not ours.

        Negative numbers are signals, as in `subprocess`.
        """
        ...
