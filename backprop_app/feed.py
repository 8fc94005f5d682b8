"""Turns the follower's picture of one run into frames for a page: first everything, then only what is new.

One feed belongs to one loop of one tab. Frames come at most every 100 ms, however fast the worker writes,
and carry a few points twice, so that a render that is skipped in the browser loses none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backprop_app.views.runs import Chunk, Smoother, rows_of
from backprop_core.events.types import Event
from backprop_core.jobs.follower import Follower
from backprop_core.runs.projection import RunState

FRAME_S: Final = 0.1
_OVERLAP: Final = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """What is new about a run.

    Attributes:
        state: of the run.
        smooth_loss: mean of its newest losses.
        chunk: new points for the charts, a few of them known already.
        events: everything of the run's log that is kept, oldest first.
        has_new_events: whether `events` changed since the last frame.
    """

    state: RunState
    smooth_loss: float | None
    chunk: Chunk
    events: Sequence[Event]
    has_new_events: bool


class RunFeed:
    """Reads one run again and again and tells what is new."""

    def __init__(self, follower: Follower, run_id: str) -> None:
        self.run_id = run_id
        self._follower = follower
        self._seqs: deque[int] = deque([0], maxlen=_OVERLAP)
        self._smoother = Smoother()
        self._last_step = 0
        self._events: list[Event] = []
        self._state: RunState | None = None

    @property
    def events(self) -> Sequence[Event]:
        """Everything of the run's log that is kept, oldest first."""
        return self._events

    @property
    def name(self) -> str:
        """Name of the run, empty before the first frame."""
        return self._state.name if self._state else ""

    async def next(self) -> Frame | None:
        """Return what is new, None when nothing is or the run does not exist."""
        live = await self._follower.get(self.run_id)
        if live is None or live.state is self._state:
            return None
        update = live.update_since(self._seqs[0])
        seen = self._events[-1].seq if self._events else 0
        fresh = [event for event in update.events if event.seq > seen]
        self._events = [*self._events, *fresh][-200:]
        if update.is_snapshot:
            self._smoother, self._last_step = Smoother(), 0
        for point in update.points:
            if point.step > self._last_step:
                self._smoother.add(point.loss)
                self._last_step = point.step
        self._seqs.append(update.seq)
        self._state = update.state
        chunk = Chunk(self.run_id, rows_of(update.points, update.seq))
        return Frame(update.state, self._smoother.value, chunk, self._events, bool(fresh))
