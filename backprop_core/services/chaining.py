"""The export that comes after a run by itself: promised at the start, submitted once the run has an adapter.

The promise (jobs/promises.py) stands until the export was submitted or refused; a run that failed keeps it
for the day it is resumed. What became of it stands in `after.json` of the run.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core import files
from backprop_core.errors import BackpropagateError
from backprop_core.jobs import promises
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder
from backprop_core.services import exports
from backprop_core.services.export_checks import ExportRequest
from backprop_core.workspace import Workspace

_OUTCOME: Final = "after.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chained:
    """What came after a run.

    Attributes:
        job_id: the export; None when there is none yet, or none to come.
        text: how it stands, as a sentence.
        is_refused: whether it will not come by itself.
    """

    job_id: str | None
    text: str
    is_refused: bool = False


def submit_due(ws: Workspace) -> None:
    """Submit the export of every run that was promised one and has ended with something to export.

    Safe to repeat: a run gives one export.
    """
    for run_id in promises.due(ws):
        _submit(ws, ws.database.find(run_id).state)


def chained(state: RunState) -> Chained | None:
    """Return what comes or came after a run; None when nothing was to."""
    folder = RunFolder(Path(state.folder))
    if not state.is_training or folder.spec().after == "nothing":
        return None
    try:
        outcome = files.read_json(folder.path / _OUTCOME)
        if outcome.get("job_id"):
            return Chained(str(outcome["job_id"]), "exported as the next job")
        return Chained(None, f"not exported: {outcome['reason']}", is_refused=True)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, AttributeError):
        return Chained(None, "not exported: its record cannot be read", is_refused=True)
    if state.status in {"failed", "interrupted"}:
        code = "" if state.error is None else f" with {state.error['code']}"
        return Chained(None, f"not exported: the run ended{code}; a resume that completes exports it")
    return Chained(None, "export follows when the run has an adapter")


def _submit(ws: Workspace, state: RunState) -> None:
    folder = RunFolder(Path(state.folder))
    spec, face = folder.spec(), folder.info().source
    outcome: dict[str, str]
    if not state.artifact:
        outcome = {"reason": "the run ended before it had an adapter"}
    else:
        request = ExportRequest(state.run_id)
        if face != "page":
            request = ExportRequest(state.run_id, folder=Path(spec.output_dir) / "exports" / "gguf")
        try:
            if spec.after == "register":
                request = exports.with_ollama_name(ws, request, face=face)
            job = exports.start(ws, request, face=face, start_key=f"after-{state.run_id}")
            outcome = {"job_id": job}
        except BackpropagateError as error:
            outcome = {"reason": f"{error.message} {error.hint}", "code": error.code}
            log.warning("the export after run %s was refused: %s", state.run_id, error)
    files.write_json(Path(state.folder) / _OUTCOME, outcome)
    promises.take_back(ws, state.run_id)
