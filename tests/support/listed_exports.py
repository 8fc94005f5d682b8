"""Exports that stand in the index without anybody having worked on them."""

from __future__ import annotations

from pathlib import Path

from backprop_core.config.exports import ExportSpec
from backprop_core.events.journal import JournalWriter
from backprop_core.events.types import RunCompleted, RunStarted
from backprop_core.runs.index import first_state
from backprop_core.runs.store import RunInfo, create_job, new_run_id
from backprop_core.workspace import Workspace


def finished_export(ws: Workspace, output: Path, *, quantization: str = "q8_0") -> str:
    """List an export that has completed, without doing its work, and return its id."""
    spec = ExportSpec(
        format="gguf",
        source="adapter",
        base_model="base",
        output=str(output),
        name="tuned",
        quantization=quantization,
    )
    info = RunInfo(
        run_id=new_run_id(),
        kind="export",
        name=output.name,
        source="cli",
        created_at=ws.now(),
        launch_id=new_run_id(),
        is_detached=True,
        version="test",
    )
    folder = create_job(ws.home / "jobs", spec, info)
    with JournalWriter(folder.journal_path) as journal:
        journal.append(RunStarted(attempt=1, pid=1, process_token=None, device=""))
        journal.append(RunCompleted(step=0, artifact=str(output), seconds=2.0))
    ws.database.insert(first_state(folder).model_copy(update={"status": "starting"}))
    return info.run_id
