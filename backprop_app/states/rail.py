"""The live rail of every page: the run that works or the last one, the machine, the event log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import reflex as rx
from reflex.event import EventSpec

from backprop_app.feed import FRAME_S, Frame, RunFeed
from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views.events import EventItem, newest_first
from backprop_app.views.machine import MachineView, Pair, machine_pairs, machine_view, with_forecast
from backprop_app.views.notices import NoticeItem, notice_items
from backprop_app.views.runs import Chunk, RunView, run_view
from backprop_core.runs.projection import RunState as Projection
from backprop_core.services.calibration import planned_peak_bytes
from backprop_core.version import __version__

_EVENTS_SHOWN = 10


class RailState(rx.State):
    """What the rail shows. Rebuilt from a snapshot at every page load."""

    version: str = ""
    run: RunView = RunView()
    chunk: Chunk = Chunk()
    events: list[EventItem] = []
    machine: MachineView = MachineView()
    machine_pairs: list[Pair] = []
    queue_text: str = ""
    notice: str = ""
    notice_is_bad: bool = False
    total: int = 0
    notices: list[NoticeItem] = []
    knows_notices: bool = False
    _notes: int = 0

    @rx.event(background=True)
    async def watch(self) -> AsyncIterator[EventSpec | None]:
        """Keep the rail live until the page is left, with a toast for each run that ends meanwhile."""
        runtime = current()
        told: int | None = None
        feed: RunFeed | None = None
        planned: dict[str, int | None] = {}
        while True:
            overview = runtime.follower.overview
            if overview.notices is not None:
                for item in notice_items(overview.notices):
                    if told is not None and item.id > told:
                        yield ShellState.show_toast(item.title, item.text, item.tone)
                told = overview.notices[-1].id if overview.notices else 0
            shown = overview.active or overview.last
            if shown is not None and (feed is None or feed.run_id != shown.run_id):
                feed = RunFeed(runtime.follower, shown.run_id)
            frame = await feed.next() if feed else None
            active = overview.active
            if active is not None and active.run_id not in planned:
                planned = {active.run_id: await asyncio.to_thread(planned_peak_bytes, active)}
            async with self:
                self._show(runtime, frame, active, planned.get(active.run_id) if active else None)
                self._list(runtime, feed, has_new=frame is not None and frame.has_new_events)
            if frame is None:
                await runtime.follower.wait_for_change(_until_next_second())
            else:
                await asyncio.sleep(FRAME_S)

    def _show(
        self, runtime: Runtime, frame: Frame | None, active: Projection | None, peak: int | None
    ) -> None:
        overview = runtime.follower.overview
        now = runtime.now()
        sample = runtime.sampler.latest()
        resident = active.memory_bytes if active is not None else None
        assign(
            self,
            version=__version__,
            total=overview.total,
            queue_text=f"{overview.queued} waiting" if overview.queued else "queue empty",
            notices=notice_items(overview.notices or ()),
            knows_notices=overview.notices is not None,
            machine=with_forecast(machine_view(sample), sample, peak, resident),
            machine_pairs=machine_pairs(sample),
            notice=runtime.notice,
            notice_is_bad=runtime.notice_is_bad,
        )
        if frame is not None:
            assign(self, run=run_view(frame.state, frame.smooth_loss, now))
            if frame.chunk.rows:
                self.chunk = frame.chunk

    def _list(self, runtime: Runtime, feed: RunFeed | None, *, has_new: bool) -> None:
        """Show the newest lines of run and app when there is a new one."""
        if has_new or not self.events or len(runtime.notes) != self._notes:
            self._notes = len(runtime.notes)
            events, name = (feed.events, feed.name) if feed else ((), "")
            zone = runtime.now().tzinfo
            assign(self, events=newest_first(events, name, runtime.notes, zone, _EVENTS_SHOWN))


def _until_next_second() -> float:
    return max(0.05, 1.0 - time.monotonic() % 1.0)
