"""Follows the journals of runs and tells whoever waits that there is something new.

Lives in the app's event loop. Nothing is queued per client: a client asks for what came after the
sequence number it has, so a slow one costs nothing and misses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core.events.journal import JournalReader
from backprop_core.events.types import Event, Metrics, TelemetrySampled
from backprop_core.jobs import queue
from backprop_core.runs import outbox
from backprop_core.runs.database import Row
from backprop_core.runs.outbox import Post
from backprop_core.runs.projection import ACTIVE, TERMINAL, RunState, apply
from backprop_core.runs.series import (
    MAX_POINTS,
    SAMPLED_BYTES,
    Point,
    point_of,
    read_history,
    sample_history,
    thin,
)
from backprop_core.runs.store import RunFolder
from backprop_core.workspace import Workspace

_POLL_S: Final = 0.05
_INDEX_EVERY_S: Final = 0.5
_KEPT_EVENTS: Final = 200
_KEPT_POINTS: Final = 10 * MAX_POINTS
_NOTICES: Final = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Overview:
    """What the machine does now.

    Attributes:
        active: the run that works, if any.
        queued: how many wait.
        last: the newest training run that has ended.
        total: training runs in the index.
        notices: the newest ends, oldest first, for whoever tells them on a page; None until they are read.
    """

    active: RunState | None = None
    queued: int = 0
    last: RunState | None = None
    total: int = 0
    notices: Sequence[Post] | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """What is new about a run since the sequence number a client had.

    Attributes:
        seq: what the client passes next time.
        is_snapshot: whether `points` replace what the client has instead of adding to it.
        events: everything but metrics and telemetry, oldest first.
    """

    state: RunState
    seq: int
    points: Sequence[Point]
    events: Sequence[Event]
    is_snapshot: bool


class LiveRun:
    """One run held in memory: its state, its points and its newest events.

    Begins as the index knows the run; `load` adds what the index has read of the journal before.
    """

    def __init__(self, row: Row) -> None:
        self.state = row.state
        self.used_at = time.monotonic()
        self._path = RunFolder(Path(row.state.folder)).journal_path
        self._known_bytes = row.offset
        self._known_seq = row.state.seq
        self._reader = JournalReader(self._path, row.offset)
        self._points: list[tuple[int, Point]] = []
        self._thinned_to = 0
        self._events: deque[Event] = deque(maxlen=_KEPT_EVENTS)
        self.is_sample = row.offset > SAMPLED_BYTES

    def load(self) -> None:
        """Read the known part of the journal; of a very long one a sample, so that a page need not wait."""
        read = sample_history if self.is_sample else read_history
        self._take(read(self._path, self._known_bytes))
        if self.is_sample:
            self._thinned_to = self._known_seq

    def exact(self) -> LiveRun:
        """Return the same run with every step of the known part looked at; takes seconds for a million."""
        whole = LiveRun(Row(self.state, 0))
        whole.is_sample = False
        whole._reader.offset = self._known_bytes
        whole._take(read_history(self._path, self._known_bytes))
        # Whoever has the sample gets everything anew.
        whole._thinned_to = max(whole._thinned_to, self._known_seq)
        return whole

    def replace_by(self, whole: LiveRun) -> None:
        """Take over the points of `exact`; what came meanwhile stays."""
        fresh = [(seq, point) for seq, point in self._points if seq > self._known_seq]
        self._points = whole._points + fresh
        self._events = deque(
            [*whole._events, *(event for event in self._events if event.seq > self._known_seq)],
            maxlen=_KEPT_EVENTS,
        )
        self._thinned_to = max(self._thinned_to, whole._thinned_to)
        self.is_sample = False
        # A new object, so that every feed looks again.
        self.state = self.state.model_copy()

    def _take(self, history: Iterable[tuple[int, Point] | Event]) -> None:
        for found in history:
            if isinstance(found, Event):
                self._events.append(found)
            else:
                self._add(*found)

    def read_new(self) -> bool:
        """Take in what the worker wrote; return whether there was anything."""
        if not self._reader.has_news():
            return False
        events = self._reader.read_new()
        for event in events:
            self.state = apply(self.state, event)
            if isinstance(event.body, Metrics):
                self._add(event.seq, point_of(event.body))
            elif not isinstance(event.body, TelemetrySampled):
                self._events.append(event)
        return bool(events)

    def accept(self, state: RunState) -> bool:
        """Take over what only the index knows: that a run is queued, or that its worker is gone."""
        if state.seq < self.state.seq or state.status == self.state.status:
            return False
        self.state = state.model_copy(update={"seq": self.state.seq})
        return True

    def update_since(self, seq: int) -> Update:
        """Return what came after `seq`; everything, thinned, when that is too long ago."""
        if seq <= self._thinned_to:
            points = thin(sorted({point.step: point for _, point in self._points}.values()))
            return Update(self.state, self.state.seq, points, list(self._events), is_snapshot=True)
        fresh: list[Point] = []
        for number, point in reversed(self._points):
            if number <= seq:
                break
            fresh.append(point)
        events = [event for event in self._events if event.seq > seq]
        return Update(self.state, self.state.seq, fresh[::-1], events, is_snapshot=False)

    def _add(self, seq: int, point: Point) -> None:
        self._points.append((seq, point))
        if len(self._points) > _KEPT_POINTS:
            kept = thin([point for _, point in self._points], _KEPT_POINTS // 2)
            # Thinned points lose their own numbers: a client from before gets a snapshot.
            self._points = [(seq, point) for point in kept]
            self._thinned_to = seq


class Follower:
    """Holds the live picture of the store for every client of the app."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._runs: dict[str, LiveRun] = {}
        self._completing: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self.overview = Overview()

    async def run(self) -> None:
        """Follow until cancelled."""
        next_index = 0.0
        while True:
            if time.monotonic() >= next_index:
                await self._look_again()
                next_index = time.monotonic() + _INDEX_EVERY_S
            moved = [
                live for live in list(self._runs.values()) if live.state.status in ACTIVE and live.read_new()
            ]
            if moved:
                self._announce()
            await asyncio.sleep(_POLL_S)

    async def get(self, run_id: str) -> LiveRun | None:
        """Return the live picture of a run, read from its journal when nobody asked before."""
        live = self._runs.get(run_id)
        if live is None:
            row = await asyncio.to_thread(self._ws.database.get, run_id)
            if row is None:
                return None
            live = LiveRun(row)
            await asyncio.to_thread(_load, live)
            live = self._runs.setdefault(run_id, live)
            if live.is_sample and run_id not in self._completing:
                self._completing[run_id] = asyncio.create_task(self._complete(run_id, live))
        live.used_at = time.monotonic()
        return live

    async def _complete(self, run_id: str, live: LiveRun) -> None:
        """Read a very long journal whole, while its sample is shown already."""
        try:
            live.replace_by(await asyncio.to_thread(live.exact))
            self._announce()
        finally:
            del self._completing[run_id]

    async def wait_for_change(self, timeout_s: float) -> bool:
        """Wait until anything is new, at most `timeout_s`; return whether something is."""
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), timeout_s)
        return changed.is_set()

    async def refresh(self) -> None:
        """Look at the index now, for whoever has just changed it."""
        await self._read_index()

    async def _look_again(self) -> None:
        """Read the index; one that cannot be written, on a full disk, does not end the following."""
        try:
            await self._read_index()
        except sqlite3.OperationalError as error:
            log.warning("the store cannot be brought up to date: %s", error)

    async def _read_index(self) -> None:
        active, overview = await asyncio.to_thread(self._look)
        changed = overview != self.overview
        self.overview = overview
        for state in active:
            live = await self.get(state.run_id)
            if live is not None:
                changed |= live.accept(state)
        for live in self._runs.values():
            if live.state.status not in {"queued", *ACTIVE}:
                continue
            if all(state.run_id != live.state.run_id for state in active):
                row = await asyncio.to_thread(self._ws.database.get, live.state.run_id)
                live.read_new()
                changed |= row is not None and live.accept(row.state)
        self._forget_unused()
        if changed:
            self._announce()

    def _look(self) -> tuple[list[RunState], Overview]:
        # The only children of the app are schedulers; each ends when its queue is empty.
        self._ws.launcher.reap()
        states = queue.refresh_active(self._ws)
        active = [state for state in states if state.status in ACTIVE]
        waiting = [state for state in states if state.status == "queued"]
        queue.wake_scheduler(self._ws, waiting)
        ended = self._ws.database.list(statuses=sorted(TERMINAL), kind="train", limit=1)
        # A training run comes before jobs that work beside it.
        shown = sorted(active, key=lambda state: not state.is_training)
        overview = Overview(
            active=shown[0] if shown else None,
            queued=len(waiting),
            last=ended[0].state if ended else None,
            total=self._ws.database.count(kind="train"),
            notices=self._newest_notices(),
        )
        return [*active, *waiting], overview

    def _newest_notices(self) -> Sequence[Post]:
        with self._ws.database.reading() as connection:
            return outbox.newest(connection, _NOTICES)

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _forget_unused(self) -> None:
        """Drop ended runs that no client looked at for ten minutes."""
        limit = time.monotonic() - 600
        for run_id in [
            key for key, live in self._runs.items() if live.used_at < limit and live.state.is_terminal
        ]:
            del self._runs[run_id]


def _load(live: LiveRun) -> None:
    live.load()
    while live.read_new():
        pass
