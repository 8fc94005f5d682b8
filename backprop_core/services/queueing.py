"""The queue as people see it: what waits, in which order, why, and when it is likely to start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, get_args

from backprop_core import platform
from backprop_core.errors import InputError, StateError
from backprop_core.jobs import queue
from backprop_core.jobs.room import FreeMemory, MachineMemory, need_of, why_no_room
from backprop_core.runs.projection import ACTIVE, RunState
from backprop_core.runs.store import DEVICE_LANE, LANES, RunKind
from backprop_core.workspace import Workspace

Way = Literal["up", "down", "first", "last"]
WAYS: Final[tuple[Way, ...]] = get_args(Way)


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One job that waits.

    Attributes:
        position: counts from 1, over all kinds.
        reason: what it waits for, in a few words.
        starts_at: forecast of its start as ISO text; None when that cannot be known.
    """

    position: int
    state: RunState
    reason: str
    starts_at: str | None

    def as_json(self) -> dict[str, object]:
        """Return the job as plain values."""
        return {
            "position": self.position,
            "run_id": self.state.run_id,
            "kind": self.state.kind,
            "name": self.state.name,
            "model": self.state.model,
            "reason": self.reason,
            "starts_at": self.starts_at,
        }


def list_queue(ws: Workspace, memory: FreeMemory | None = None) -> list[QueueItem]:
    """Return the jobs that wait, in the order in which they will start.

    Args:
        memory: tells what is free; this machine's own by default.
    """
    memory = memory or MachineMemory()
    active = [state for state in queue.refresh_active(ws) if state.status in ACTIVE]
    waiting = ws.database.queued()
    if waiting:
        queue.ensure_scheduler(ws)
    lanes: dict[frozenset[RunKind], tuple[RunState | None, float | None]] = {}
    for state in active:
        lanes[_lane(state.kind)] = (state, state.remaining_s)
    items = []
    for position, state in enumerate(waiting, 1):
        lane = _lane(state.kind)
        before, wait_s = lanes.get(lane, (None, 0.0))
        reason = _reason(ws, state, before, memory)
        starts_at = None
        if wait_s is not None:
            starts_at = (ws.clock.now() + timedelta(seconds=wait_s)).isoformat("T", "seconds")
        items.append(QueueItem(position, state, reason, starts_at))
        need = need_of(state)
        own_s = None if need is None else need.seconds
        lanes[lane] = (state, None if wait_s is None or own_s is None else wait_s + own_s)
    return items


def move(ws: Workspace, prefix: str, to: int | Way, memory: FreeMemory | None = None) -> list[QueueItem]:
    """Put a job that waits elsewhere in the queue and return the new order.

    Args:
        to: the position it shall have, from 1, or a way; beyond an end counts as that end.
        memory: tells what is free; this machine's own by default.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND, or INPUT_VALIDATION_FAILED for a place that is none.
        StateError: STATE_RUN_NOT_ACTIVE when it does not wait.
    """
    if to not in WAYS and (isinstance(to, bool) or not isinstance(to, int) or to < 1):
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{to!r} is no place in the queue.",
            hint=f"A place is a number from 1, or one of {', '.join(WAYS)}.",
        )
    state = _require_waiting(ws, prefix)
    order = [waiting.run_id for waiting in ws.database.queued()]
    now_at = order.index(state.run_id) + 1 if state.run_id in order else 1
    places = {"up": now_at - 1, "down": now_at + 1, "first": 1, "last": len(order)}
    wanted = to if isinstance(to, int) else places[to]
    if not ws.database.reorder(state.run_id, max(0, min(wanted, len(order)) - 1)):
        raise _not_waiting(state)
    return list_queue(ws, memory)


def cancel(ws: Workspace, prefix: str) -> RunState:
    """Take a job that waits out of the queue; it becomes `stopped` and can be resumed later.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND.
        StateError: STATE_RUN_NOT_ACTIVE when it does not wait.
    """
    state = _require_waiting(ws, prefix)
    if not ws.database.move(state.run_id, ("queued",), "stopped"):
        raise _not_waiting(state)
    return ws.database.find(state.run_id).state


def _lane(kind: str) -> frozenset[RunKind]:
    """Return the kinds of job that start one after another with a job of this kind."""
    return next(lane for lane in LANES if kind in lane)


def _require_waiting(ws: Workspace, prefix: str) -> RunState:
    state = queue.refresh_run(ws, ws.database.find(prefix))
    if state.status != "queued":
        raise _not_waiting(state)
    return state


def _not_waiting(state: RunState) -> StateError:
    return StateError(
        "STATE_RUN_NOT_ACTIVE",
        f"{state.short_id} does not wait in the queue; it is {state.status}.",
        hint="`backprop queue list` shows what waits, `backprop stop RUN_ID` ends what works.",
    )


def _reason(ws: Workspace, state: RunState, before: RunState | None, memory: FreeMemory) -> str:
    if before is not None:
        return f"after {before.name}"
    if _lane(state.kind) is not DEVICE_LANE:
        return "starts now"
    if not platform.lock_is_free(ws.slot_lock):
        return "another program trains on this device"
    return why_no_room(state, memory) or "starts now"
