"""A run in the caller's own process: hooks, progress lines, and Ctrl-C as a graceful stop."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from backprop_core.errors import BackpropagateError
from backprop_core.events import types as ev
from backprop_core.events.journal import JournalWriter
from backprop_core.ports import Clock
from backprop_core.runs.index import first_state
from backprop_core.runs.projection import RunState, apply
from backprop_core.runs.store import RunFolder
from backprop_core.services import jobs, runs
from backprop_core.workspace import Workspace
from backpropagate.callback import TrainingCallback
from backpropagate.progress import event_line, phase_line, step_line
from backpropagate.results import RunResult

_LINE_EVERY_S: Final = 5.0

_log = logging.getLogger(__name__)


class ObservedJournal(JournalWriter):
    """A journal that tells an observer of each event once it is written.

    Args:
        path: the journal of a run whose lock the caller holds.
        tell: receives each event, in the training process between two steps.
    """

    def __init__(self, path: Path, clock: Clock, tell: Callable[[ev.Event], None]) -> None:
        super().__init__(path, clock)
        self._tell = tell

    def append(self, body: ev.Body) -> ev.Event:
        """Write `body` as the next event, tell of it and return it."""
        event = super().append(body)
        self._tell(event)
        return event


class Hooks:
    """Calls the hooks of the user; what they raise is logged and goes no further.

    Args:
        epochs_told: passes over the data that earlier attempts completed.
    """

    def __init__(
        self,
        callback: TrainingCallback,
        run_id: str,
        request_stop: Callable[[], None],
        *,
        epochs_told: int = 0,
    ) -> None:
        self._callback = callback
        self._run_id = run_id
        self._request_stop = request_stop
        self._epochs_told = epochs_told
        self._wants_stop = False

    def tell(self, event: ev.Event) -> None:
        """Pass on what `event` means for the user."""
        body = event.body
        if isinstance(body, ev.Metrics):
            self._after_step(body)
        elif isinstance(body, ev.CheckpointSaved):
            self._call("on_checkpoint", lambda: self._callback.on_checkpoint(body.step, body.path))

    def complete(self, result: RunResult) -> None:
        """Tell that the run has a result."""
        self._call("on_complete", lambda: self._callback.on_complete(result))

    def fail(self, error: BackpropagateError) -> None:
        """Tell why the run failed."""
        self._call("on_error", lambda: self._callback.on_error(error))

    def _after_step(self, body: ev.Metrics) -> None:
        metrics = body.model_dump(exclude={"type", "step"})
        self._call("on_step", lambda: self._callback.on_step(body.step, metrics))
        for epoch in range(self._epochs_told + 1, whole_epochs(body.epoch) + 1):
            self._epochs_told = epoch
            self._call("on_epoch", lambda number=epoch: self._callback.on_epoch(number))
        self._call("should_stop", self._ask_to_stop)
        if self._wants_stop:
            self._request_stop()

    def _ask_to_stop(self) -> None:
        self._wants_stop = bool(self._callback.should_stop())

    def _call(self, hook: str, call: Callable[..., None]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - a hook of the user never ends the run
            _log.exception("run %s: the hook %s raised an exception", self._run_id, hook)


def whole_epochs(epoch: float) -> int:
    """Return how many passes over the data are complete."""
    return int(epoch + 1e-6)


class Narrator:
    """Prints what the run does as plain lines on standard error, steps at most one in five seconds."""

    def __init__(self, state: RunState, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._last = float("-inf")

    def tell(self, event: ev.Event) -> None:
        """Print `event` when it is worth a line."""
        self._state = apply(self._state, event)
        body = event.body
        if isinstance(body, ev.Metrics):
            now = self._clock.monotonic()
            if now - self._last >= _LINE_EVERY_S or body.step in {1, body.total_steps}:
                self._last = now
                say(step_line(self._state))
        elif isinstance(body, ev.PhaseChanged):
            if body.done is None:
                say(phase_line(body.phase, body.detail))
        elif line := event_line(body):
            say(line)


@contextlib.contextmanager
def graceful_interrupt(request_stop: Callable[[], None]) -> Iterator[None]:
    """Make the first Ctrl-C a stop at the next step; the second one raises KeyboardInterrupt.

    Signals reach only the main thread; elsewhere the block runs as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        request_stop()
        say("stopping after this step; press Ctrl-C again to break off at once")

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def stop_request(folder: RunFolder, clock: Clock) -> Callable[[], None]:
    """Return a function that asks the run in `folder` to stop at its next step."""

    def request() -> None:
        folder.request("stop", clock.now().isoformat(timespec="milliseconds"))

    return request


def work_here(ws: Workspace, folder: RunFolder) -> RunState:
    """Do a job in this process, told on standard error; Ctrl-C cancels it. Return how it stands afterwards.

    Raises:
        BackpropagateError: why it failed.
    """
    from backprop_core.engine.context import open_run
    from backprop_core.engine.execution import execute

    state = first_state(folder)
    narrator = Narrator(state, ws.clock)
    say(f"{state.kind}_started run_id={state.run_id}")
    with open_run(folder.path, ws.home, clock=ws.clock) as context:
        jobs.register_in_process(ws, folder)
        with (
            ObservedJournal(folder.journal_path, ws.clock, narrator.tell) as journal,
            graceful_interrupt(stop_request(folder, ws.clock)),
        ):
            try:
                execute(dataclasses.replace(context, journal=journal))
            finally:
                state = runs.get_run(ws, state.run_id)
    return state


def say(line: str) -> None:
    """Print a line on standard error at once."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201
