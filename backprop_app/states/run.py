"""The page of one run: figures, charts and log live, settings and failure once known, Stop."""

from __future__ import annotations

import asyncio
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
    checkpoint_steps,
    failure_view,
    setting_items,
)
from backprop_app.views.events import EventItem, newest_first
from backprop_app.views.runs import Chunk, RunView, run_view
from backprop_core.errors import BackpropagateError
from backprop_core.services import runs

_EVENTS_SHOWN: Final = 12
_CHECKPOINTS_KEPT: Final = 3
_LOG_LINES: Final = 14
_SMOOTH_MAX: Final = 0.99


class RunState(rx.State):
    """What the page shows of the run in its address."""

    view: RunView = RunView()
    missing: str = ""
    chunk: Chunk = Chunk()
    events: list[EventItem] = []
    checkpoints: list[CheckpointItem] = []
    ticks: list[int] = []
    failure: FailureView = FailureView()
    settings: list[SettingItem] = []
    log: list[str] = []
    folder: str = ""
    artifact: str = ""
    source: str = ""
    asks_stop: bool = False
    is_stopping: bool = False
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

    @rx.event(background=True)
    async def stop(self) -> Any:
        """Ask the run to finish its step, save and end."""
        async with self:
            run_id, self.asks_stop, self.is_stopping = self.view.run_id, False, True
        runtime = current()
        try:
            await asyncio.to_thread(runs.stop, runtime.ws, run_id)
        except BackpropagateError as error:
            async with self:
                self.is_stopping = False
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "run.stop", run_id=run_id)
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
        self.events, self.checkpoints, self.ticks = [], [], []
        self.failure, self.settings, self.log = FailureView(), [], []
        self.is_stopping = self.asks_stop = False

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
            is_stopping=self.is_stopping and not state.is_terminal,
        )
        if frame.has_new_events:
            assign(
                self,
                events=newest_first(frame.events, state.name, (), now.tzinfo, _EVENTS_SHOWN),
                checkpoints=checkpoint_items(frame.events, now.tzinfo)[:_CHECKPOINTS_KEPT],
                ticks=checkpoint_steps(frame.events),
            )


async def _log_lines(runtime: Runtime, frame: Frame) -> list[str]:
    """Return the end of the worker's log of a run that ended badly."""
    if frame.state.status not in {"failed", "interrupted"}:
        return []
    return await asyncio.to_thread(runs.log_tail, runtime.ws, frame.state.run_id, _LOG_LINES)
