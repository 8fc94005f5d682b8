"""`run_history.json`: the runs of one output folder as a plain list that other tools can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from backprop_core import files
from backprop_core.config.specs import TrainSpec
from backprop_core.events.journal import JournalReader
from backprop_core.platform import FileLock
from backprop_core.runs.projection import RunState
from backprop_core.runs.series import points_of, thin
from backprop_core.runs.store import RunFolder

HISTORY_FILE: Final = "run_history.json"
SCHEMA_VERSION: Final = 1
_LOSS_POINTS: Final = 200
_LOCK_WAIT_S: Final = 5.0


def history_entry(state: RunState, spec: TrainSpec, dataset_hash: str | None) -> dict[str, Any]:
    """Return the entry of one run.

    Args:
        dataset_hash: SHA-256 of the data file, None when the run did not get that far.
    """
    folder = RunFolder(Path(state.folder))
    points = thin(points_of(JournalReader(folder.journal_path).read_all()), _LOSS_POINTS)
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": state.run_id,
        "model": state.model,
        "dataset": state.dataset,
        "dataset_hash": dataset_hash,
        "hyperparameters": spec.model_dump(exclude={"model", "dataset", "output_dir", "name"}),
        "status": state.status,
        "started_at": state.started_at,
        "completed_at": state.ended_at,
        "duration_seconds": round(state.seconds, 3),
        "final_loss": state.loss,
        "loss_history": [[point.step, point.loss if point.loss == point.loss else None] for point in points],
        "checkpoint_path": str(folder.path / (state.artifact or state.checkpoint or "")),
        "stop_rule": state.stop_rule,
        "failure_code": state.error["code"] if state.error else None,
    }


def record(directory: Path, entry: dict[str, Any]) -> None:
    """Put `entry` into the list of `directory`, in place of an earlier entry of the same run.

    A list that is not ours to read is left as it is.
    """
    lock = FileLock(directory / f".{HISTORY_FILE}.lock")
    lock.acquire(wait_s=_LOCK_WAIT_S)
    try:
        path = directory / HISTORY_FILE
        try:
            entries = files.read_json(path)
        except FileNotFoundError:
            entries = []
        except ValueError:
            return
        if not isinstance(entries, list):
            return
        kept = [
            item for item in entries if not (isinstance(item, dict) and item.get("run_id") == entry["run_id"])
        ]
        files.write_json(path, [*kept, entry])
    finally:
        lock.release()
