"""Follows a run until it ends, and turns Ctrl-C into what the command means by it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Final

from backprop_core.errors import ExitCode, StateError, error_from_record
from backprop_core.runs.projection import RunState
from backprop_core.services import runs
from backprop_core.services.failure import failure_of
from backprop_core.services.stalls import stall_of
from backprop_core.telemetry.host import HostReader
from backpropagate.cli.render import console
from backpropagate.cli.views import View, view_for
from backpropagate.progress import end_line

if TYPE_CHECKING:
    from backprop_core.workspace import Workspace

_POLL_S: Final = 0.1
_STALL_LOOK_S: Final = 5.0
_CAUSE_WAIT_S: Final = 1.0
_STOPPING: Final = {
    "train": "stopping after this step, what it learned is saved",
    "multi-run": "stopping after this step, the legs that are merged are saved",
    "export": "cancelling, nothing is left behind",
    "download": "cancelling, whole files are kept for the next try",
    "eval": "cancelling the evaluation",
    "proof": "cancelling the proof",
    "push": "cancelling, the repository stays as it is",
}


class Interrupts:
    """Counts how often the user pressed Ctrl-C; the third time it is a plain KeyboardInterrupt."""

    def __init__(self) -> None:
        self.count = 0

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count while the block runs."""
        before = signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 2:
            raise KeyboardInterrupt


def follow_own(ws: Workspace, run_id: str, *, offset: int = 0) -> ExitCode:
    """Follow a run that this command started; Ctrl-C once stops it, twice ends it at once.

    Args:
        offset: bytes of the journal that belong to earlier attempts.

    Raises:
        BackpropagateError: the run failed or was lost.
    """
    interrupts = Interrupts()
    with view_for(console(stderr=True)) as view, interrupts.counted():

        def on_interrupt(count: int) -> bool:
            _end_run(ws, run_id, view, force=count > 1)
            return True

        state = _follow(ws, run_id, view, interrupts, on_interrupt, offset)
    state = _with_cause(ws, state)
    if interrupts.count == 0:
        _tell_card(ws, state)
    return exit_code_of(state, was_interrupted=interrupts.count > 0)


def follow_other(ws: Workspace, run_id: str) -> ExitCode:
    """Follow a run that somebody started; Ctrl-C ends the watching, not the run.

    Raises:
        BackpropagateError: the run failed or was lost.
    """
    interrupts = Interrupts()
    with view_for(console(stderr=True)) as view, interrupts.counted():
        state = _follow(ws, run_id, view, interrupts, lambda count: False)
        if not state.is_terminal:
            view.note("no longer watching; the run goes on")
            return ExitCode.INTERRUPTED
    state = _with_cause(ws, state)
    _tell_card(ws, state)
    return exit_code_of(state, was_interrupted=False)


def exit_code_of(state: RunState, *, was_interrupted: bool) -> ExitCode:
    """Say how a run ended and return the exit code for it.

    Raises:
        BackpropagateError: the run failed, or was lost without Ctrl-C.
    """
    from backpropagate.cli.render import talk

    talk(end_line(state))
    if was_interrupted and state.status != "completed":
        return ExitCode.INTERRUPTED
    if state.error is not None:
        raise error_from_record(state.error)
    return ExitCode.RUNTIME if state.status in {"failed", "interrupted"} else ExitCode.OK


def _follow(
    ws: Workspace,
    run_id: str,
    view: View,
    interrupts: Interrupts,
    on_interrupt: Callable[[int], bool],
    offset: int = 0,
) -> RunState:
    """Show a run until it ends or an interrupt says that it is enough; return its newest state."""
    answered, looked_at, told = 0, time.monotonic(), ""
    for state, events in runs.follow(ws, run_id, offset=offset):
        view.show(state, events)
        if interrupts.count > answered:
            answered = interrupts.count
            if not on_interrupt(answered):
                return state
        if not events:
            time.sleep(_POLL_S)
        if time.monotonic() - looked_at >= _STALL_LOOK_S:
            looked_at, told = time.monotonic(), _tell_stall(ws, state, view, told)
    return state


def _tell_stall(ws: Workspace, state: RunState, view: View, told: str) -> str:
    """Say once per cause why a run does not step, and return the cause; empty while it steps."""
    stall = stall_of(ws, state, host_bytes=HostReader().read().ram_total_bytes)
    if stall is None:
        return ""
    if stall.cause != told:
        view.note(f"warning: {stall.text}")
    return stall.cause


def _tell_card(ws: Workspace, state: RunState) -> None:
    """Say what is safe and what may be done about a run that ended badly; the error itself is told after it."""
    from backpropagate.cli.render import talk

    card = failure_of(ws, state.run_id)
    if card is None:
        return
    talk(f"cause: {card.cause}")
    if card.setting:
        talk(f"setting: {card.setting}")
    talk(f"safe: {card.safe_title}, {card.safe_text}")
    for fix in card.fixes:
        talk(f"fix: {fix.title}. {fix.effect}  {fix.command}")


def _with_cause(ws: Workspace, state: RunState) -> RunState:
    """Return the state with the reason of a lost worker, which its launcher finds a moment later."""
    first = state.error
    deadline = time.monotonic() + _CAUSE_WAIT_S
    while state.status == "interrupted" and state.error == first and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        state = runs.get_run(ws, state.run_id)
    return state


def _end_run(ws: Workspace, run_id: str, view: View, *, force: bool) -> None:
    try:
        if force:
            view.note("ending the run at once")
            runs.kill(ws, run_id)
        else:
            kind = runs.get_run(ws, run_id).kind
            view.note(f"{_STOPPING[kind]}; Ctrl-C again ends it at once")
            runs.stop(ws, run_id)
    except StateError as error:
        # It has just ended by itself, or has no process yet that could be forced.
        view.note(error.message)
