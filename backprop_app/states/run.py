"""The page of one run: figures, charts and log live; pause, go on, stop, resume; settings and failure."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.feed import FRAME_S, Frame, RunFeed
from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.states.steering import REQUESTS, steer
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
from backprop_core.services.chaining import chained
from backprop_core.services.failure import apply_fix, failure_of
from backprop_core.services.stalls import stall_of

_EVENTS_SHOWN: Final = 12
_CHECKPOINTS_KEPT: Final = 3
_LOG_LINES: Final = 14
# Warnings are left out of the lines that are shown.
_LOG_LINES_READ: Final = 120
_STALL_LOOK_S: Final = 5.0
_SMOOTH_MAX: Final = 0.99


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
    stall: str = ""
    follow_up: str = ""
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
        if wish not in REQUESTS:
            return None
        async with self:
            run_id, self.asked = self.view.run_id, wish
        if refusal := await steer(run_id, wish):
            async with self:
                self.asked = ""
            return refusal
        await audit.note(self, f"run.{wish}", run_id=run_id)
        await current().follower.refresh()
        return None

    @rx.event(background=True)
    async def start_fixed(self, number: int) -> Any:
        """Do what a fix of the failure card says and open the run that works now."""
        async with self:
            run_id, self.asked = self.view.run_id, "fix"
        runtime = current()
        try:
            started = await asyncio.to_thread(apply_fix, runtime.ws, run_id, number, source="page")
        except BackpropagateError as error:
            async with self:
                self.asked = ""
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "run.start_fixed", run_id=started, after=run_id, fix=str(number))
        await runtime.follower.refresh()
        return rx.redirect(f"/runs/{started}")

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
        looked_at = 0.0
        while True:
            frame = await feed.next()
            if frame is None:
                await runtime.follower.wait_for_change(1.0)
            else:
                ended = await asyncio.to_thread(_ended, runtime, frame.state)
                async with self:
                    self._show(runtime, frame, ended)
            if time.monotonic() - looked_at >= _STALL_LOOK_S:
                looked_at = time.monotonic()
                stall = await asyncio.to_thread(_stall_text, runtime, detail.state.run_id)
                async with self:
                    assign(self, stall=stall)
            if frame is None:
                continue
            await asyncio.sleep(FRAME_S)

    def _forget(self, prefix: str) -> None:
        """Clear what belongs to another run."""
        if prefix and self.view.run_id.startswith(prefix):
            return
        self.view, self.missing, self.chunk = RunView(), "", Chunk()
        self.events, self.checkpoints, self.marks = [], [], Marks()
        self.failure, self.settings, self.log = FailureView(), [], []
        self.asks_stop, self.asked, self.stall, self.follow_up = False, "", "", ""

    def _show(self, runtime: Runtime, frame: Frame, ended: Ended) -> None:
        state, now = frame.state, runtime.now()
        if frame.chunk.rows:
            self.chunk = frame.chunk
        assign(
            self,
            view=run_view(state, frame.smooth_loss, now),
            failure=ended.failure,
            log=ended.log,
            follow_up=ended.follow_up,
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


@dataclass(frozen=True, slots=True)
class Ended:
    """What the page adds once a run has ended: its failure card, its last lines, and what came after it."""

    failure: FailureView = field(default_factory=FailureView)
    log: list[str] = field(default_factory=list)
    follow_up: str = ""


def _ended(runtime: Runtime, state: Projection) -> Ended:
    """Return what is told about a run that has ended; nothing while it works."""
    if not state.is_terminal:
        return Ended()
    follow_up = chained(state)
    text = "" if follow_up is None else f"After this run: {follow_up.text}"
    card = failure_of(runtime.ws, state.run_id)
    if card is None:
        return Ended(follow_up=text)
    lines = runs.log_tail(runtime.ws, state.run_id, _LOG_LINES_READ)
    return Ended(failure_view(card), without_warnings(lines)[-_LOG_LINES:], text)


def _stall_text(runtime: Runtime, run_id: str) -> str:
    row = runtime.ws.database.get(run_id)
    sample = runtime.sampler.latest()
    total = None if sample is None else sample.host.ram_total_bytes
    stall = None if row is None else stall_of(runtime.ws, row.state, host_bytes=total)
    return "" if stall is None else stall.text
