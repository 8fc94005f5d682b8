"""Small sources of exports, and jobs that real workers work on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from backprop_core import files
from backprop_core.config.resolve import Layer, resolve_train
from backprop_core.runs.index import first_state
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder, RunInfo, RunSource, create_run, new_run_id
from backprop_core.services import exports, runs
from backprop_core.services.export_checks import ExportRequest
from backprop_core.workspace import Workspace
from tests.support.checkpoints import HIDDEN, lora_arrays, write_adapter, write_checkpoint
from tests.support.stores import ROOT, FakeWorkerLauncher, wait_for

WORKER = Path(__file__).with_name("export_worker.py")

QUERY = "model.layers.0.self_attn.q_proj"


class WorkerLauncher(FakeWorkerLauncher):
    """Starts the real worker; the scheduler is a thread of the test.

    `meets` names a misfortune of `export_worker` for the workers that are started from then on.
    """

    meets = ""

    def spawn_worker(self, run_dir: Path, launch_id: str, home: Path) -> int:
        """Start the worker of a job."""
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "BACKPROPAGATE_HOME": str(home),
            "BACKPROPAGATE_LAUNCH_ID": launch_id,
            "EXPORT_WORKER_MEETS": self.meets,
        }
        with RunFolder(run_dir).log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(WORKER), str(run_dir)],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started[process.pid] = process
        self.launches.append(run_dir.name)
        return process.pid


class IdleLauncher:
    """Starts nothing: what is submitted stays in the queue."""

    def spawn_worker(self, run_dir: Path, launch_id: str, home: Path) -> int:
        """Refuse."""
        raise AssertionError("no worker is started here")

    def spawn_scheduler(self, home: Path) -> None:
        """Do nothing."""

    def exit_code(self, pid: int) -> int | None:
        """Know of no process."""
        return None


def write_source(root: Path, *, arrays: dict | None = None, **config: object) -> Path:
    """Write a tiny base model and an adapter of it, and return the adapter's folder."""
    base = write_checkpoint(root / "base", arrays=arrays)
    factors = lora_arrays(QUERY, HIDDEN, HIDDEN)
    return write_adapter(root / "tuned", factors, base_model_name_or_path=str(base), **config)


def list_adapter_run(ws: Workspace, adapter: Path, *, dataset: Path | None = None, **spec: object) -> str:
    """List a completed training run whose adapter is a copy of `adapter`, and return its id."""
    base = files.read_json(adapter / "adapter_config.json")["base_model_name_or_path"]
    values = {"model": base, "dataset": str(dataset or "rows.jsonl"), **spec}
    info = RunInfo(
        run_id=new_run_id(),
        name="facts",
        source="cli",
        created_at=ws.now(),
        launch_id=new_run_id(),
        is_detached=True,
        version="test",
        dataset_hash=files.sha256_of(dataset) if dataset else None,
    )
    folder = create_run(ws.settings.sandbox_root / "runs", resolve_train([Layer("explicit", values)]), info)
    shutil.copytree(adapter, folder.adapter)
    ws.database.insert(first_state(folder).model_copy(update={"status": "completed", "artifact": "adapter"}))
    return info.run_id


def run_job(
    ws: Workspace, request: ExportRequest, *, face: RunSource = "cli", timeout_s: float = 60
) -> RunState:
    """Start an export job, without a proof, and return its state when it has ended."""
    job = exports.start(ws, replace(request, wants_proof=False), face=face)
    wait_for(lambda: runs.get_run(ws, job).is_terminal, f"the export {request.format}", timeout_s)
    return runs.get_run(ws, job)


def resume_job(ws: Workspace, job: str) -> RunState:
    """Let a job that ended early go on, once its worker has closed down, and return its state at the end."""
    folder = RunFolder(Path(runs.get_run(ws, job).folder))
    wait_for(lambda: not folder.is_worked_on(), "the end of the worker")
    runs.resume(ws, job)
    wait_for(lambda: runs.get_run(ws, job).is_terminal, "the next attempt", 60)
    return runs.get_run(ws, job)


def leftovers(folder: Path) -> list[str]:
    """Return the names of unfinished work in a folder."""
    return [path.name for path in folder.rglob("*") if ".partial" in path.name or path.suffix == ".lock"]
