"""Ends every job of a store in good order, for a machine or container that goes down with the app."""

from __future__ import annotations

import time
from typing import Final

from backprop_core import platform
from backprop_core.jobs import queue
from backprop_core.platform import FileLock
from backprop_core.workspace import Workspace

_POLL_S: Final = 0.1
_MANY: Final = 1000
_WORKING: Final = ("starting", "running", "paused")


def interrupt_all(ws: Workspace, wait_s: float) -> list[str]:
    """Ask every worker to save a checkpoint and end; wait for that.

    The scheduler is ended first, so that the queue stays as it is. What was interrupted can be resumed.

    Args:
        ws: the store.
        wait_s: how long the workers may take.

    Returns:
        ids of the runs that still worked when the time was over.
    """
    _end_scheduler(ws)
    deadline = time.monotonic() + wait_s
    asked: set[str] = set()
    while True:
        working = [queue.refresh_run(ws, row) for row in ws.database.list(statuses=_WORKING, limit=_MANY)]
        working = [state for state in working if state.status in _WORKING]
        for state in working:
            if state.run_id not in asked and queue.signal_worker(state, force=False):
                asked.add(state.run_id)
        left = [state.run_id for state in working if state.run_id in asked or state.status == "starting"]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(_POLL_S)


def _end_scheduler(ws: Workspace) -> None:
    """End the scheduler of the store. While its lock is held, the process named in it is alive."""
    pid = FileLock(ws.scheduler_lock).holder_pid()
    if pid is not None and not platform.lock_is_free(ws.scheduler_lock):
        platform.signal_group(pid, force=False)
