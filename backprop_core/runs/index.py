"""Keeps the rows of the index equal to the journals, and tells which workers are gone.

Adoption after a restart is this too: a run that is not terminal and whose lock is free has lost its
worker and becomes `interrupted`; one whose lock is held goes on and is followed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

from backprop_core import files, platform
from backprop_core.config.evaluations import EvalSpec
from backprop_core.config.exports import ExportSpec
from backprop_core.config.proofs import ProofSpec
from backprop_core.config.pushes import PushSpec
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import ErrorRecord, StateError
from backprop_core.events.journal import JournalReader
from backprop_core.runs.database import Database, Row
from backprop_core.runs.projection import ACTIVE, RunState, apply_all, settle
from backprop_core.runs.store import JobSpec, RunFolder, list_folders


def first_state(folder: RunFolder) -> RunState:
    """Return the state of a run before its first event.

    Raises:
        StateError: STATE_CHECKPOINT_INVALID when its folder is damaged.
    """
    info = folder.info()
    model, dataset = _about(folder.job_spec())
    return RunState(
        run_id=info.run_id,
        folder=str(folder.path),
        name=info.name,
        kind=info.kind,
        source=info.source,
        model=model,
        dataset=dataset,
        created_at=info.created_at,
    )


def _about(spec: TrainSpec | JobSpec) -> tuple[str, str]:
    """Return the model and the data that a job is about."""
    if isinstance(spec, ExportSpec):
        return spec.base_model or spec.source, ""
    if isinstance(spec, EvalSpec):
        return spec.after.model, spec.data or ""
    if isinstance(spec, ProofSpec):
        return spec.path, ""
    if isinstance(spec, PushSpec):
        return spec.repo, ""
    return spec.model, spec.dataset if isinstance(spec, TrainSpec) else ""


def refresh(
    database: Database, row: Row, now: str, *, launching: Path | None = None, is_news: bool = True
) -> RunState:
    """Read what is new in the journal of one run and save the projection.

    Args:
        now: the wall time, for a run that ended without a last word and never had a first one.
        launching: lock of whoever launches workers; while it is held a run may be `starting`
            without a worker.
        is_news: whether an end is to be told; see `outbox`.
    """
    state = row.state
    if state.is_terminal and state.status != "interrupted":
        return state
    folder = RunFolder(Path(state.folder))
    # The lock is looked at first: a worker that was gone before has written everything it had to say.
    is_worked_on = folder.is_worked_on()
    reader = JournalReader(folder.journal_path, row.offset)
    state = apply_all(state, reader.read_all())
    if state.status in ACTIVE and not is_worked_on:
        is_launching = launching is not None and not platform.lock_is_free(launching)
        if state.status != "starting" or not is_launching:
            state = settle(state, now)
    if state == row.state and reader.offset == row.offset:
        return state
    if database.advance(Row(state, reader.offset), was=row.state.status, is_news=is_news):
        return state
    newer = database.get(state.run_id)
    return state if newer is None else newer.state


def mark_lost(database: Database, run_id: str, error: ErrorRecord, now: str) -> None:
    """Save why a worker ended without a last word, unless its journal does tell."""
    row = database.get(run_id)
    if row is None:
        return
    state = refresh(database, row, now)
    if state.status in {"interrupted", "starting"}:
        lost = state.model_copy(
            update={"status": "interrupted", "error": error, "ended_at": state.ended_at or now}
        )
        offset = row.offset if (newer := database.get(run_id)) is None else newer.offset
        database.advance(Row(lost, offset), was=state.status)


def rebuild(database: Database, roots: Iterable[Path], now: str) -> int:
    """Add every run found below `roots` that the index does not have; return how many."""
    added = 0
    for folder in (folder for root in roots for folder in list_folders(root)):
        try:
            state = first_state(folder)
        except StateError:
            continue
        if database.get(state.run_id) is not None:
            continue
        if folder.journal_path.exists():
            state = state.model_copy(update={"status": "starting"})
        else:
            state = state.model_copy(update={"status": "interrupted", "ended_at": state.created_at})
        database.insert(state)
        refresh(database, Row(state, 0), now, is_news=False)
        added += 1
    return added


def reread(database: Database, folder: RunFolder, now: str) -> bool:
    """Make the row of a run at rest equal to its journal and its place; return whether it was not.

    Rows that wait, runs that are worked on, runs without a first event and copies of a folder that is
    still where the row says stay as they are.

    Raises:
        StateError: STATE_CHECKPOINT_INVALID when the folder is damaged.
    """
    fresh = first_state(folder)
    row = database.get(fresh.run_id)
    if row is None or row.state.status == "queued" or folder.is_worked_on():
        return False
    if row.state.folder != fresh.folder and Path(row.state.folder).is_dir():
        return False
    fresh = settle(apply_all(fresh, JournalReader(folder.journal_path).read_all()), now)
    if fresh.status == "queued" or _told(fresh) == _told(row.state):
        return False
    database.insert(fresh)
    return True


def _told(state: RunState) -> RunState:
    """Return the state without what an end without a last word adds, which no journal holds."""
    if state.status != "interrupted":
        return state
    return state.model_copy(update={"error": None, "ended_at": None})


def known_roots(path: Path) -> list[Path]:
    """Return every folder that ever held runs; the list outlives the index."""
    try:
        return [Path(root) for root in orjson.loads(path.read_bytes())]
    except (OSError, ValueError):
        return []


def remember_root(path: Path, root: Path) -> None:
    """Add `root` to the list at `path`."""
    roots = known_roots(path)
    if root not in roots:
        files.write_json(path, [str(known) for known in [*roots, root]])
