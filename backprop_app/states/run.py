"""The page of one run: figures, charts and log live; pause, go on, stop, resume; settings and failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.feed import FRAME_S, Frame, RunFeed
from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views.detail import (
    CheckpointItem,
    FailureView,
    SettingItem,
    checkpoint_items,
    failure_view,
    setting_items,
    without_warnings,
)
from backprop_app.views.events import EventItem, newest_first
from backprop_app.views.marks import Marks, marks_of
from backprop_app.views.runs import Chunk, RunView, run_view, still_asked
from backprop_core.errors import BackpropagateError
from backprop_core.runs.projection import RunState as Projection
from backprop_core.services import runs
from backprop_core.workspace import Workspace

_EVENTS_SHOWN: Final = 12
_CHECKPOINTS_KEPT: Final = 3
_LOG_LINES: Final = 14
# Warnings are left out of the lines that are shown.
_LOG_LINES_READ: Final = 120
_SMOOTH_MAX: Final = 0.99
_REQUESTS: Final[dict[str, Callable[[Workspace, str], Projection]]] = {
    "pause": runs.pause,
    "continue": runs.unpause,
    "stop": runs.stop,
    "resume": runs.resume,
}


class RunState(rx.State):
    """What the page shows of the run in its address."""

    view: RunView = RunView()
    missing: str = ""
    chunk: Chunk = Chunk()
    events: list[EventItem] = []
    checkpoints: list[CheckpointItem] = []
    marks: Marks = Marks()
    failure: FailureView = FailureView()
    settings: list[SettingItem] = []
    log: list[str] = []
    folder: str = ""
    artifact: str = ""
    source: str = ""
    asks_stop: bool = False
    asked: str = ""
    is_log: bool = False
    last_only: bool = False
    smooth: float = 0.9
    shows_settings: bool = False

    @rx.event
    def choose_scale(self, key: str) -> None:
        """Draw the loss on a linear or a logarithmic scale."""
        self.is_log = key == "log"

    @rx.event
    def choose_span(self, key: str) -> None:
        """Draw all steps or the last 500."""
        self.last_only = key == "last"

    @rx.event
    def set_smooth(self, percent: float) -> None:
        """Smooth the loss more or less; 0 to 99 percent."""
        self.smooth = min(_SMOOTH_MAX, max(0.0, float(percent) / 100))

    @rx.event
    def toggle_settings(self) -> None:
        """Fold the settings in or out."""
        self.shows_settings = not self.shows_settings

    @rx.event
    def ask_stop(self) -> None:
        """Ask before the run is stopped."""
        self.asks_stop = True

    @rx.event
    def cancel_stop(self) -> None:
        """Keep the run going."""
        self.asks_stop = False

    @rx.event
    def toggle_pause(self) -> Any:
        """Ask the run to wait at its next step, or a waiting one to go on."""
        is_going_on = self.view.is_paused or self.asked == "pause"
        return RunState.request("continue" if is_going_on else "pause")

    @rx.event
    def stop(self) -> Any:
        """Ask the run to finish its step, save and end."""
        self.asks_stop = False
        return RunState.request("stop")

    @rx.event(background=True)
    async def request(self, wish: str) -> Any:
        """Ask for one of pause, continue, stop and resume; the page says so until it has happened."""
        if wish not in _REQUESTS:
            return None
        async with self:
            run_id, self.asked = self.view.run_id, wish
        runtime = current()
        try:
            await asyncio.to_thread(_REQUESTS[wish], runtime.ws, run_id)
        except BackpropagateError as error:
            async with self:
                self.asked = ""
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, f"run.{wish}", run_id=run_id)
        await runtime.follower.refresh()
        return None

    @rx.event(background=True)
    async def watch(self) -> None:
        """Show the run in the address and keep it live until the page is left."""
        runtime = current()
        async with self:
            prefix = str(self.router.url.path).rstrip("/").rpartition("/")[2]
            self._forget(prefix)
        try:
            detail = await asyncio.to_thread(runs.run_detail, runtime.ws, prefix)
            settings = setting_items(detail.training, detail.origins)
        except BackpropagateError as error:
            async with self:
                self.missing = error.message
            return
        feed = RunFeed(runtime.follower, detail.state.run_id)
        async with self:
            self.folder, self.source = detail.state.folder, detail.state.source
            self.settings = settings
        while True:
            frame = await feed.next()
            if frame is None:
                await runtime.follower.wait_for_change(1.0)
                continue
            lines = await _log_lines(runtime, frame)
            async with self:
                self._show(runtime, frame, lines)
            await asyncio.sleep(FRAME_S)

    def _forget(self, prefix: str) -> None:
        """Clear what belongs to another run."""
        if prefix and self.view.run_id.startswith(prefix):
            return
        self.view, self.missing, self.chunk = RunView(), "", Chunk()
        self.events, self.checkpoints, self.marks = [], [], Marks()
        self.failure, self.settings, self.log = FailureView(), [], []
        self.asks_stop, self.asked = False, ""

    def _show(self, runtime: Runtime, frame: Frame, lines: list[str]) -> None:
        state, now = frame.state, runtime.now()
        if frame.chunk.rows:
            self.chunk = frame.chunk
        assign(
            self,
            view=run_view(state, frame.smooth_loss, now),
            failure=failure_view(state),
            log=lines,
            artifact=f"{state.folder}/{state.artifact}" if state.artifact else "",
            asked=still_asked(self.asked, state),
        )
        if frame.has_new_events:
            assign(
                self,
                events=newest_first(frame.events, state.name, (), now.tzinfo, _EVENTS_SHOWN),
                checkpoints=checkpoint_items(frame.events, now.tzinfo)[:_CHECKPOINTS_KEPT],
                marks=marks_of(frame.events),
            )


async def _log_lines(runtime: Runtime, frame: Frame) -> list[str]:
    """Return the end of the worker's log of a run that ended badly."""
    if frame.state.status not in {"failed", "interrupted"}:
        return []
    lines = await asyncio.to_thread(runs.log_tail, runtime.ws, frame.state.run_id, _LOG_LINES_READ)
    return without_warnings(lines)[-_LOG_LINES:]
