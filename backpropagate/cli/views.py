"""Shows a run while it works: one live line on a terminal, plain lines elsewhere. Draws, decides nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from backprop_core.events import types as ev
from backprop_core.runs.projection import RunState
from backpropagate.progress import event_line, phase_line, step_line

_LINE_EVERY_S: Final = 2.0


class View(Protocol):
    """Shows a run."""

    def __enter__(self) -> Self:
        """Begin to draw."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        ...

    def show(self, state: RunState, events: Sequence[ev.Event]) -> None:
        """Show the state of the run and what is new about it."""
        ...

    def note(self, line: str) -> None:
        """Show a line that is no event."""
        ...


def view_for(console: Console) -> View:
    """Return the view that suits the terminal."""
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(console)


class PlainView:
    """One line per event, and at most one step in two seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_at = float("-inf")
        self._status = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, state: RunState, events: Sequence[ev.Event]) -> None:
        """Print what is new."""
        if state.status == "queued" and self._status != "queued":
            self.note("queued")
        self._status = state.status
        has_step = False
        for event in events:
            body = event.body
            has_step |= isinstance(body, ev.Metrics)
            if isinstance(body, ev.PhaseChanged) and body.done is None:
                self.note(phase_line(body.phase, body.detail))
            elif line := event_line(body):
                self.note(line)
        if has_step and (state.is_terminal or time.monotonic() - self._last_at >= _LINE_EVERY_S):
            self._last_at = time.monotonic()
            self.note(step_line(state))

    def note(self, line: str) -> None:
        """Print a line."""
        self._console.print(Text(line))


class LiveView:
    """A bar that moves, with events above it."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=8,
        )
        self._task: TaskID = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, state: RunState, events: Sequence[ev.Event]) -> None:
        """Print what is worth a line and move the bar."""
        for event in events:
            if line := event_line(event.body):
                self.note(line)
        if state.phase == "training" and state.step:
            total, done, text = float(state.total_steps), float(state.step), step_line(state)
        elif state.status == "queued":
            total, done, text = None, 0.0, "queued"
        else:
            total, done = state.phase_total, state.phase_done or 0.0
            text = phase_line(
                state.phase or state.status, state.phase_detail, state.phase_done, state.phase_total
            )
        self._progress.update(self._task, total=total, completed=done, description=text)

    def note(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(Text(line))
