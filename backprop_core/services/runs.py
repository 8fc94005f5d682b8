"""What every face may ask about runs: list, find, follow, stop, delete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backprop_core.config.resolve import Origin
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import InputError, StateError
from backprop_core.events.journal import JournalReader, tail_events
from backprop_core.events.types import Event
from backprop_core.files import size_of_tree
from backprop_core.jobs import queue
from backprop_core.runs.projection import RunState, Status
from backprop_core.runs.series import MAX_POINTS, Point, read_history, thin
from backprop_core.runs.store import JobSpec, RunFolder, RunInfo, RunKind
from backprop_core.services import trash
from backprop_core.workspace import Workspace

_SMALL_CURVE: Final = 200

STATUSES: tuple[Status, ...] = (
    "queued",
    "starting",
    "running",
    "paused",
    "completed",
    "stopped",
    "failed",
    "interrupted",
)


@dataclass(frozen=True, slots=True)
class RunDetail:
    """Everything about one run but its points; only training has origins."""

    state: RunState
    spec: TrainSpec | JobSpec
    origins: dict[str, Origin]
    info: RunInfo

    @property
    def training(self) -> TrainSpec:
        """What a training run does.

        Raises:
            InputError: INPUT_RUN_NOT_FOUND; another kind of job is no training run.
        """
        if not isinstance(self.spec, TrainSpec):
            raise InputError(
                "INPUT_RUN_NOT_FOUND",
                f"{self.state.short_id} is a job of kind {self.state.kind}, no training run.",
                hint=f"`backprop show-run {self.state.short_id}` tells how it stands.",
            )
        return self.spec

    def as_json(self) -> dict[str, Any]:
        """Return the run as plain values, for `show-run --json` and the API."""
        return {
            **self.state.model_dump(),
            "spec": self.spec.model_dump(),
            "origins": {name: {"source": o.source, "note": o.note} for name, o in self.origins.items()},
            "info": self.info.model_dump(exclude={"launch_id"}),
        }


def list_runs(
    ws: Workspace,
    *,
    statuses: Sequence[str] = (),
    search: str = "",
    kind: RunKind | None = "train",
    limit: int = 20,
    offset: int = 0,
) -> list[RunState]:
    """Return runs of every face, newest first, brought up to date.

    Args:
        kind: training runs, or jobs of another kind; None for all.

    Raises:
        InputError: INPUT_VALIDATION_FAILED for a status word that does not exist.
    """
    known = _statuses(statuses)
    queue.wake_scheduler(ws, queue.refresh_active(ws))
    rows = ws.database.list(statuses=known, search=search, kind=kind, limit=limit, offset=offset)
    return [row.state for row in rows]


def count_runs(
    ws: Workspace, *, statuses: Sequence[str] = (), search: str = "", kind: RunKind | None = "train"
) -> int:
    """Return how many runs `list_runs` would find without a limit."""
    return ws.database.count(statuses=_statuses(statuses), search=search, kind=kind)


def get_run(ws: Workspace, prefix: str) -> RunState:
    """Return the run whose id begins with `prefix`, brought up to date.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND.
    """
    return queue.refresh_run(ws, ws.database.find(prefix))


def run_detail(ws: Workspace, prefix: str) -> RunDetail:
    """Return a run with its spec and, for training, the origin of each value."""
    state = get_run(ws, prefix)
    folder = RunFolder(Path(state.folder))
    origins = folder.origins() if state.is_training else {}
    return RunDetail(state, folder.job_spec(), origins, folder.info())


def series(ws: Workspace, prefix: str, limit: int = MAX_POINTS) -> list[Point]:
    """Return the points of a run, at most `limit`, the extremes kept; a small curve of a long run is a sample."""
    path = RunFolder(Path(get_run(ws, prefix).folder)).journal_path
    size = path.stat().st_size if path.is_file() else 0
    by_step = {found[1].step: found[1] for found in read_history(path, size) if not isinstance(found, Event)}
    return thin([by_step[step] for step in sorted(by_step)], limit)


def recent_events(ws: Workspace, prefix: str, limit: int = 50) -> list[Event]:
    """Return the newest events of a run, oldest first."""
    return tail_events(RunFolder(Path(get_run(ws, prefix).folder)).journal_path, limit)


def log_tail(ws: Workspace, prefix: str, lines: int = 30) -> list[str]:
    """Return the last lines that the worker printed."""
    path = RunFolder(Path(get_run(ws, prefix).folder)).log_path
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 64 * 1024))
            return stream.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def follow(ws: Workspace, prefix: str, *, offset: int = 0) -> Iterator[tuple[RunState, list[Event]]]:
    """Yield the state of a run with its new events; the caller decides how often it asks.

    Ends after the state has become terminal and every event was given.

    Args:
        offset: bytes of the journal that the caller knows already; see `journal_size`.
    """
    reader = JournalReader(RunFolder(Path(get_run(ws, prefix).folder)).journal_path, offset)
    while True:
        state = get_run(ws, prefix)
        events = reader.read_new()
        yield state, events
        if state.is_terminal and not reader.has_news():
            return


def journal_size(ws: Workspace, prefix: str) -> int:
    """Return the bytes of a run's journal; taken before a resume, `follow` tells only the new attempt."""
    path = RunFolder(Path(get_run(ws, prefix).folder)).journal_path
    return path.stat().st_size if path.is_file() else 0


def stop(ws: Workspace, prefix: str) -> RunState:
    """Ask a run to stop at its next step; see `jobs.queue.request_stop`."""
    return queue.request_stop(ws, ws.database.find(prefix).state.run_id)


def pause(ws: Workspace, prefix: str) -> RunState:
    """Ask a training run to wait at its next step; see `jobs.queue.request_pause`.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, only training can pause.
    """
    state = ws.database.find(prefix).state
    _require_training(state, "Stop it instead; `backprop resume` goes on with what it has made.")
    return queue.request_pause(ws, state.run_id)


def unpause(ws: Workspace, prefix: str) -> RunState:
    """Ask a paused run to go on; see `jobs.queue.request_continue`."""
    return queue.request_continue(ws, ws.database.find(prefix).state.run_id)


def resume(ws: Workspace, prefix: str) -> RunState:
    """Let a run that ended early go on from its newest checkpoint; see `jobs.queue.resume`."""
    return queue.resume(ws, ws.database.find(prefix).state.run_id)


def resumable_here(ws: Workspace, prefix: str) -> RunState:
    """Return a training run that the calling program may go on with; see `jobs.queue.require_resumable`.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, another kind of job goes on in a process of its own.
    """
    state = ws.database.find(prefix).state
    _require_training(state, f"`backprop resume {state.short_id}` goes on with it.")
    return queue.require_resumable(ws, state.run_id)


def resume_here(ws: Workspace, prefix: str) -> None:
    """Mark a run as the calling program's, which holds its lock; see `jobs.queue.resume_here`."""
    queue.resume_here(ws, ws.database.find(prefix).state.run_id)


def kill(ws: Workspace, prefix: str) -> RunState:
    """End the worker of a run at once; see `jobs.queue.kill`."""
    return queue.kill(ws, ws.database.find(prefix).state.run_id)


def delete(ws: Workspace, prefix: str, *, for_good: bool = False) -> RunState:
    """Forget a run that has ended and remove its folder.

    It goes into the trash, from where it can be taken back. The published adapter stays.

    Args:
        for_good: remove a folder that lies on another disk than the trash; without it that is refused.

    Raises:
        StateError: STATE_RUN_LOCKED when it has not ended.
    """
    state = get_run(ws, prefix)
    folder = RunFolder(Path(state.folder))
    if not state.is_terminal:
        raise StateError("STATE_RUN_LOCKED", f"Run {state.short_id} is {state.status}; stop it first.")
    if folder.is_worked_on():
        raise StateError(
            "STATE_RUN_LOCKED",
            f"Run {state.short_id} is {state.status}, but its process is still closing down.",
            hint="Try again in a moment.",
        )
    if folder.path.is_dir() and not folder.path.is_symlink():
        try:
            trash.put(ws, folder.path, "run", state.name)
        except StateError as error:
            if error.code != "SANDBOX_PATH_OUTSIDE" or not for_good:
                raise
            shutil.rmtree(folder.path)
    ws.database.delete(state.run_id)
    return state


def size_bytes(state: RunState) -> int:
    """Return the bytes of everything in the folder of a run."""
    path = Path(state.folder)
    return size_of_tree(path) if path.is_dir() else 0


def _require_training(state: RunState, hint: str) -> None:
    if not state.is_training:
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"{state.short_id} is a job of kind {state.kind}.", hint=hint
        )


def _statuses(words: Sequence[str]) -> tuple[Status, ...]:
    known = tuple(status for status in STATUSES if status in words)
    unknown = [word for word in words if word not in STATUSES]
    if unknown:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{unknown[0]!r} is no status of a run.",
            hint=f"The words are {', '.join(STATUSES)}.",
        )
    return known
