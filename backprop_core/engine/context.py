"""Everything that an attempt of a run may touch: its folder, journal, clock and two lock files.

The engine knows no database, no workspace and no page.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backprop_core.config.specs import TrainSpec
from backprop_core.engine.control import ControlWatch
from backprop_core.errors import StateError
from backprop_core.events.journal import JournalWriter, parse_line
from backprop_core.events.types import Notice, Phase, PhaseChanged, RunStarted
from backprop_core.platform import FileLock
from backprop_core.ports import Clock, SystemClock
from backprop_core.runs.store import RunFolder, RunInfo
from backprop_core.telemetry.sampler import Sampler

_PROGRESS_EVERY_S = 0.5
# Who only looks whether a run is worked on holds its lock for an instant.
_LOCK_WAIT_S = 1.0


@dataclass(slots=True)
class Position:
    """How far the attempt has come.

    Attributes:
        learning_since: monotonic seconds when the attempt began to learn, over all legs of a campaign.
        step: optimizer steps that are done, over all attempts.
        is_busy: whether the work ends itself soon when it is told to, as the loop does at its next
            step boundary, and must not be broken off.
    """

    step: int = 0
    learning_since: float | None = None
    is_busy: bool = False


@dataclass(frozen=True)
class RunContext:
    """One attempt of a run.

    Attributes:
        folder: the run's folder, whose lock the caller holds.
        attempt: counts from 1.
        cache_dir: where prepared base models lie.
        slot_path: lock file of the device; one run at a time trains.
        control: the user's wishes and the system's order to end.
        sampler: reads card and host.
    """

    folder: RunFolder
    info: RunInfo
    journal: JournalWriter
    clock: Clock
    attempt: int
    cache_dir: Path
    slot_path: Path
    control: ControlWatch
    position: Position = field(default_factory=Position)
    sampler: Sampler = field(default_factory=Sampler)

    @functools.cached_property
    def spec(self) -> TrainSpec:
        """What a training run does."""
        return self.folder.spec()

    def phase(self, phase: Phase, detail: str = "") -> PhaseReporter:
        """Announce what is done now; the reporter takes its progress.

        Raises:
            AttemptEnded: the user or the system wants the attempt to end, and it is not busy.
        """
        if not self.position.is_busy:
            self.control.check()
        self.journal.append(PhaseChanged(phase=phase, detail=detail))
        return PhaseReporter(self, phase, detail)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Mark the block as work that ends itself and must not be broken off."""
        self.position.is_busy = True
        try:
            yield
        finally:
            self.position.is_busy = False

    def notice(self, message: str, *, code: str = "", is_warning: bool = False) -> None:
        """Tell the user something that changes no state."""
        self.journal.append(Notice(level="warning" if is_warning else "info", code=code, message=message))


class PhaseReporter:
    """Journals the progress of one phase, at most twice a second."""

    def __init__(self, context: RunContext, phase: Phase, detail: str) -> None:
        self._context = context
        self._phase: Phase = phase
        self._detail = detail
        self._last = float("-inf")

    def progress(self, done: float, total: float | None) -> None:
        """Journal progress unless the last one is younger than half a second.

        Raises:
            AttemptEnded: the user or the system wants the attempt to end.
        """
        now = self._context.clock.monotonic()
        if now - self._last < _PROGRESS_EVERY_S and done != total:
            return
        self._last = now
        self._context.control.check()
        self._context.journal.append(
            PhaseChanged(phase=self._phase, detail=self._detail, done=done, total=total)
        )


@contextlib.contextmanager
def open_run(
    path: Path, home: Path, *, clock: Clock | None = None, launch_id: str | None = None
) -> Iterator[RunContext]:
    """Take the lock of the run in `path` and yield its context.

    Args:
        home: the folder of the installation, with cache and slot lock.
        launch_id: when given, the run must have been created for it.

    Raises:
        StateError: STATE_RUN_LOCKED when another process works on the run or the launch id is another
            run's; nothing was touched. STATE_CHECKPOINT_INVALID when the folder is damaged.
    """
    clock = clock or SystemClock()
    folder = RunFolder(path.resolve())
    lock = FileLock(folder.lock_path)
    info = folder.info()
    if launch_id is not None and launch_id != info.launch_id:
        raise StateError("STATE_RUN_LOCKED", f"The run {info.run_id} waits for another launch than this one.")
    if not lock.acquire(wait_s=_LOCK_WAIT_S):
        raise StateError(
            "STATE_RUN_LOCKED", f"The process {lock.holder_pid()} is working on the run {info.run_id}."
        )
    try:
        with JournalWriter(folder.journal_path, clock) as journal:
            yield RunContext(
                folder=folder,
                info=info,
                journal=journal,
                clock=clock,
                attempt=1 + _attempts(folder.journal_path),
                cache_dir=home / "cache" / "models",
                slot_path=home / "slot.lock",
                control=ControlWatch(folder, threading.Event()),
            )
    finally:
        lock.release()


def _attempts(journal: Path) -> int:
    """Return how many attempts the journal tells of."""
    with journal.open("rb") as stream:
        found = (parse_line(line) for line in stream if b'"run.started"' in line)
        return sum(1 for event in found if event is not None and isinstance(event.body, RunStarted))
