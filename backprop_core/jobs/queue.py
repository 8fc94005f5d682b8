"""The queue of runs and what may be asked of a run: submit, pause, continue, stop, kill, resume.

Whoever submits also makes sure that a scheduler runs; nobody here launches a worker.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backprop_core import files, platform
from backprop_core.errors import StateError
from backprop_core.jobs import notifier, promises
from backprop_core.runs import history, index
from backprop_core.runs.database import Row
from backprop_core.runs.projection import ACTIVE, RunState, Status
from backprop_core.runs.store import Request, RunFolder, RunInfo, new_run_id
from backprop_core.workspace import Workspace

STOP_DEADLINE_S: Final = 30.0
KILL_DEADLINE_S: Final = 10.0

_WAKE_EVERY_S: Final = 1.0
# When somebody in this process last woke the scheduler of a home.
_woken: dict[Path, float] = {}


def submit(ws: Workspace, state: RunState, *, start_key: str | None = None) -> str:
    """Put a run into the queue and return its id; the same start key gives the same run.

    A start key is chosen by whoever asks, once per intention, so that a double click is one run.
    """
    run_id = ws.database.insert(state, start_key=start_key)
    index.remember_root(ws.roots_file, Path(state.folder).parent)
    ensure_scheduler(ws)
    return run_id


def ensure_scheduler(ws: Workspace) -> None:
    """Start the scheduler when work waits and none runs."""
    if platform.lock_is_free(ws.scheduler_lock):
        ws.launcher.spawn_scheduler(ws.home)


def refresh_run(ws: Workspace, row: Row) -> RunState:
    """Bring one row up to date; when the run has just ended, list it in `run_history.json`."""
    state = index.refresh(ws.database, row, ws.now(), launching=ws.scheduler_lock)
    if state.is_terminal and not row.state.is_terminal:
        _list_in_history(state)
        wake_scheduler(ws, [])
    return state


def wake_scheduler(ws: Workspace, states: Sequence[RunState]) -> None:
    """Start the scheduler when one of `states` waits, or an end is still to be told or to be followed up.

    Whoever looks at the runs calls this, so that a queue whose scheduler was killed goes on. On a busy
    machine a scheduler needs seconds to take its lock; lookers do not start another at each look.
    """
    is_awaited = any(state.status == "queued" for state in states)
    if not (is_awaited or notifier.has_mail(ws) or promises.due(ws)):
        return
    now = time.monotonic()
    if now - _woken.get(ws.home, -_WAKE_EVERY_S) >= _WAKE_EVERY_S:
        _woken[ws.home] = now
        ensure_scheduler(ws)


def refresh_active(ws: Workspace) -> list[RunState]:
    """Bring every unfinished run up to date and return their states, in queue order."""
    rows = ws.database.list(statuses=("queued", "starting", "running", "paused"), limit=10_000)
    return [refresh_run(ws, row) for row in reversed(rows)]


def request_stop(ws: Workspace, run_id: str) -> RunState:
    """Ask a run to stop: a queued one leaves the queue, a working one ends at its next step.

    A worker that the launcher started and that does not answer within 30 s is ended by the scheduler.
    An in-process run can only be asked.

    Raises:
        StateError: STATE_RUN_NOT_ACTIVE when it has ended.
    """
    row = _active_row(ws, run_id)
    if row.state.status == "queued" and ws.database.move(run_id, ("queued",), "stopped"):
        return _state(ws, run_id)
    RunFolder(Path(row.state.folder)).request("stop", ws.now())
    ensure_scheduler(ws)
    return _state(ws, run_id)


def request_pause(ws: Workspace, run_id: str) -> RunState:
    """Ask a run to wait at its next step boundary; it keeps its memory.

    Raises:
        StateError: STATE_RUN_NOT_ACTIVE when it does not run.
    """
    return _request(ws, run_id, "pause", ("starting", "running"))


def request_continue(ws: Workspace, run_id: str) -> RunState:
    """Ask a paused run to go on.

    Raises:
        StateError: STATE_RUN_NOT_ACTIVE when it is not paused and no pause was asked for.
    """
    return _request(ws, run_id, "continue", ("starting", "running", "paused"))


def resume(ws: Workspace, run_id: str) -> RunState:
    """Put a run that ended early into the queue again; its next attempt goes on from its newest checkpoint.

    A run of a Python program becomes one of the launcher's, which may be signalled.

    Raises:
        StateError: see `require_resumable`.
    """
    state = require_resumable(ws, run_id)
    if RunFolder(Path(state.folder)).is_worked_on():
        raise _still_worked_on(state)
    _begin_attempt(ws, state, "queued", is_detached=True)
    ensure_scheduler(ws)
    return _state(ws, state.run_id)


def resume_here(ws: Workspace, run_id: str) -> None:
    """Mark a run that ended early as one of the calling process, which holds its lock and works on it now.

    Raises:
        StateError: see `require_resumable`.
    """
    _begin_attempt(ws, require_resumable(ws, run_id), "starting", is_detached=False)


def reopen(ws: Workspace, run_id: str) -> RunState:
    """Put a campaign that completed into the queue again, for the leg that was added to it.

    Raises:
        StateError: STATE_RUN_LOCKED, somebody else was faster.
    """
    _begin_attempt(ws, _state(ws, run_id), "queued", is_detached=True)
    ensure_scheduler(ws)
    return _state(ws, run_id)


def require_resumable(ws: Workspace, run_id: str) -> RunState:
    """Return a run that ended early and whose next attempt may begin.

    Raises:
        StateError: STATE_RUN_NOT_ACTIVE when it completed; STATE_RUN_LOCKED when it has not ended;
            STATE_CHECKPOINT_INVALID when its data is gone or changed.
    """
    state = refresh_run(ws, ws.database.find(run_id))
    if state.status == "completed":
        raise StateError(
            "STATE_RUN_NOT_ACTIVE",
            f"Run {state.short_id} is completed; nothing is left to do.",
            hint="Start a new run from its settings: `backprop replay RUN_ID`.",
        )
    if not state.is_terminal:
        raise _still_worked_on(state)
    _require_same_data(state, RunFolder(Path(state.folder)).info())
    return state


def kill(ws: Workspace, run_id: str) -> RunState:
    """End the worker of a run at once; it becomes `interrupted`.

    Raises:
        StateError: STATE_RUN_NOT_ACTIVE when it has ended or runs inside a Python program.
    """
    row = _active_row(ws, run_id)
    if row.state.status == "queued":
        return request_stop(ws, run_id)
    if not signal_worker(row.state, force=True):
        raise StateError(
            "STATE_RUN_NOT_ACTIVE",
            f"Run {row.state.short_id} is not a process of ours and cannot be forced.",
            hint="Ask it to stop instead, or end the program it runs in.",
        )
    return _state(ws, run_id)


def signal_worker(state: RunState, *, force: bool) -> bool:
    """Signal the process group of a worker that the launcher started; return whether it was ours.

    The pid is only believed when process start time and boot still match what the worker wrote.
    """
    if (
        not RunFolder(Path(state.folder)).info().is_detached
        or state.pid is None
        or state.process_token is None
    ):
        return False
    if platform.process_start_token(state.pid) != state.process_token:
        return False
    platform.signal_group(state.pid, force=force)
    return True


def wants_stop(state: RunState) -> bool:
    """Return whether the newest wish for a run is that it stops."""
    control = RunFolder(Path(state.folder)).control()
    return control is not None and control.request == "stop"


def _request(ws: Workspace, run_id: str, request: Request, allowed: tuple[Status, ...]) -> RunState:
    row = _active_row(ws, run_id)
    if row.state.status not in allowed:
        raise StateError(
            "STATE_RUN_NOT_ACTIVE",
            f"Run {row.state.short_id} is {row.state.status}; it cannot {request} now.",
        )
    RunFolder(Path(row.state.folder)).request(request, ws.now())
    return row.state


def _begin_attempt(ws: Workspace, state: RunState, status: Status, *, is_detached: bool) -> None:
    """Give a run that ended to whoever works on it next; the launch ids of earlier attempts end here."""
    folder = RunFolder(Path(state.folder))
    info = folder.info().model_copy(update={"launch_id": new_run_id(), "is_detached": is_detached})
    files.write_json(folder.info_path, info.model_dump())
    folder.clear_request()
    if not ws.database.move(state.run_id, (state.status,), status):
        raise StateError("STATE_RUN_LOCKED", f"Run {state.short_id} was started again by somebody else.")


def _still_worked_on(state: RunState) -> StateError:
    return StateError("STATE_RUN_LOCKED", f"Run {state.short_id} is {state.status} and has not ended.")


def _require_same_data(state: RunState, info: RunInfo) -> None:
    """Refuse to go on over other data than the run began with."""
    if info.kind != "train" or info.dataset_hash is None:
        return
    path = Path(state.dataset)
    if not path.is_file() or files.sha256_of(path) != info.dataset_hash:
        what = "is gone" if not path.is_file() else "has changed"
        raise StateError(
            "STATE_CHECKPOINT_INVALID",
            f"The data of run {state.short_id}, {path}, {what} since it began.",
            hint="Bring the file back, or start a new run on the new data: `backprop replay RUN_ID`.",
        )


def _active_row(ws: Workspace, run_id: str) -> Row:
    row = ws.database.find(run_id)
    state = refresh_run(ws, row)
    if state.status not in {"queued", *ACTIVE}:
        raise StateError("STATE_RUN_NOT_ACTIVE", f"Run {state.short_id} is {state.status} already.")
    return ws.database.find(run_id)


def _state(ws: Workspace, run_id: str) -> RunState:
    return ws.database.find(run_id).state


def _list_in_history(state: RunState) -> None:
    folder = RunFolder(Path(state.folder))
    info = folder.info()
    if info.history_dir and Path(info.history_dir).is_dir():
        history.record(Path(info.history_dir), history.history_entry(state, folder.spec(), info.dataset_hash))
