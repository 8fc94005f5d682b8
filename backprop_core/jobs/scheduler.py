"""The small process that launches queued runs one after another and exits when nothing is left.

One per store, by a kernel lock. It needs neither the page nor a terminal, never imports torch, and
ends workers that ignore a stop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from backprop_core import platform
from backprop_core.jobs import queue
from backprop_core.jobs.exits import explain_exit
from backprop_core.jobs.notifier import Notifier
from backprop_core.jobs.room import FreeMemory, MachineMemory, why_no_room
from backprop_core.platform import FileLock
from backprop_core.runs import index
from backprop_core.runs.projection import ACTIVE, RunState
from backprop_core.runs.store import DEVICE_LANE, LANES, RunFolder, RunKind
from backprop_core.workspace import Workspace

_POLL_S: Final = 0.2
_START_DEADLINE_S: Final = 60.0
_ADOPTED_START_S: Final = 10.0
_LOG_TAIL_BYTES: Final = 4096

FollowUp = Callable[[Workspace], None]

log = logging.getLogger(__name__)


@dataclass
class Watch:
    """A worker under the eyes of the scheduler; `pid` is set when this process launched it."""

    run_id: str
    kind: str
    pid: int | None = None
    launched_at: float = 0.0
    seen_at: float = field(default_factory=time.monotonic)
    asked_at: float | None = field(default=None)
    signalled_at: float | None = field(default=None)


def run_scheduler(
    ws: Workspace, memory: FreeMemory | None = None, follow_up: FollowUp = lambda ws: None
) -> None:
    """Launch queued runs until none is left; return at once when another scheduler works.

    Args:
        memory: tells what is free; this machine's own by default.
        follow_up: submits what was to come after runs that have ended.
    """
    lock = FileLock(ws.scheduler_lock)
    memory = memory or MachineMemory()
    while lock.acquire():
        try:
            _work(ws, memory, follow_up)
        finally:
            lock.release()
        # Somebody may have submitted between the last look and the release of the lock.
        if not ws.database.queued():
            return


def _work(ws: Workspace, memory: FreeMemory, follow_up: FollowUp) -> None:
    """Empty the queue, and tell of each end until every notice is delivered or given up."""
    notifier = Notifier(ws)
    notifier.start()
    try:
        drain(ws, memory, follow_up)
        while not notifier.is_idle():
            time.sleep(_POLL_S)
            drain(ws, memory, follow_up)
    finally:
        notifier.close()


def drain(ws: Workspace, memory: FreeMemory, follow_up: FollowUp) -> None:
    """Work through the queue and watch what runs; return when nothing is queued or watched.

    The order of the queue is kept: a run that waits for memory lets no later one go first.
    """
    watches: dict[str, Watch] = {}
    while True:
        states = queue.refresh_active(ws)
        for state in states:
            if state.status in ACTIVE and state.run_id not in watches and _is_ours(state):
                watches[state.run_id] = Watch(state.run_id, state.kind)
        for watch in list(watches.values()):
            if not _look_after(ws, watch):
                del watches[watch.run_id]
        follow_up(ws)
        waiting = ws.database.queued()
        for lane in LANES:
            candidates = [state for state in waiting if state.kind in lane]
            if not candidates or not _is_free(ws, lane, watches):
                continue
            if lane is not DEVICE_LANE or why_no_room(candidates[0], memory) is None:
                launch(ws, candidates[0], watches)
        if not waiting and not watches:
            return
        time.sleep(_POLL_S)


def launch(ws: Workspace, state: RunState, watches: dict[str, Watch]) -> None:
    """Start the worker of one queued run."""
    if not ws.database.move(state.run_id, ("queued",), "starting"):
        return
    folder = RunFolder(Path(state.folder))
    try:
        pid = ws.launcher.spawn_worker(folder.path, folder.info().launch_id, ws.home)
    except OSError as error:
        index.mark_lost(ws.database, state.run_id, explain_exit(1, str(error)), ws.now())
        return
    log.info("launched run %s as process %d", state.run_id, pid)
    watches[state.run_id] = Watch(state.run_id, state.kind, pid, time.monotonic())


def _look_after(ws: Workspace, watch: Watch) -> bool:
    """Look at one worker; return whether it must still be watched."""
    row = ws.database.get(watch.run_id)
    if row is None:
        return False
    state = queue.refresh_run(ws, row)
    code = ws.launcher.exit_code(watch.pid) if watch.pid is not None else None
    if code is not None:
        if not state.is_terminal or state.status == "interrupted":
            index.mark_lost(ws.database, state.run_id, explain_exit(code, _log_tail(state)), ws.now())
            queue.refresh_run(ws, row)
        log.info("run %s ended with exit code %d", state.run_id, code)
        return False
    if state.is_terminal or state.status == "queued":
        # The worker of a finished run may still be closing down; it is reaped before the watch ends.
        return watch.pid is not None
    if watch.pid is None and state.status == "starting":
        return _is_still_starting(ws, state, watch)
    _enforce_stop(state, watch)
    return True


def _is_still_starting(ws: Workspace, state: RunState, watch: Watch) -> bool:
    """Return whether a run that another scheduler was launching when it died may still begin.

    It may have died before it started the worker, and nobody saw how a worker ended that it did start.
    """
    if RunFolder(Path(state.folder)).is_worked_on() or time.monotonic() - watch.seen_at < _ADOPTED_START_S:
        return True
    index.mark_lost(ws.database, state.run_id, explain_exit(None, ""), ws.now())
    return False


def _enforce_stop(state: RunState, watch: Watch) -> None:
    """Signal a worker that was asked to stop and did not: SIGTERM after 30 s, SIGKILL 10 s later.

    Counted on the monotonic clock from when the wish was first seen: the wall clock may jump meanwhile.
    """
    if not queue.wants_stop(state):
        watch.asked_at = None
        return
    now = time.monotonic()
    if watch.asked_at is None:
        watch.asked_at = now
    if watch.signalled_at is None:
        if now - watch.asked_at >= queue.STOP_DEADLINE_S and queue.signal_worker(state, force=False):
            watch.signalled_at = now
    elif now - watch.signalled_at >= queue.KILL_DEADLINE_S:
        queue.signal_worker(state, force=True)


def _is_free(ws: Workspace, lane: frozenset[RunKind], watches: dict[str, Watch]) -> bool:
    """Return whether the next job of a lane may start.

    What uses the device waits for it, as a program outside may hold it; jobs of the other lanes do without
    and go one at a time beside it. A worker that was started counts until its slot is seen taken.
    """
    if lane is not DEVICE_LANE:
        return not any(watch.kind in lane for watch in watches.values())
    for watch in watches.values():
        row = ws.database.get(watch.run_id)
        is_starting = row is not None and row.state.status == "starting"
        if watch.kind in lane and is_starting and time.monotonic() - watch.launched_at < _START_DEADLINE_S:
            return False
    return platform.lock_is_free(ws.slot_lock)


def _is_ours(state: RunState) -> bool:
    return RunFolder(Path(state.folder)).info().is_detached


def _log_tail(state: RunState) -> str:
    path = RunFolder(Path(state.folder)).log_path
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""
