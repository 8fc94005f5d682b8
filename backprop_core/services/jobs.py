"""A job that is no training run: its folder, its place in the index, and its way into the queue."""

from __future__ import annotations

from backprop_core.jobs import queue
from backprop_core.runs.index import first_state, remember_root
from backprop_core.runs.store import (
    JobSpec,
    RunFolder,
    RunInfo,
    RunKind,
    RunSource,
    create_job,
    new_run_id,
)
from backprop_core.version import __version__
from backprop_core.workspace import Workspace


def create(
    ws: Workspace, kind: RunKind, name: str, spec: JobSpec, *, face: RunSource, is_detached: bool
) -> RunFolder:
    """Create the folder of a job; nothing is started."""
    info = RunInfo(
        run_id=new_run_id(),
        kind=kind,
        name=name,
        source=face,
        created_at=ws.now(),
        launch_id=new_run_id(),
        is_detached=is_detached,
        version=__version__,
    )
    # The page writes below its own folder only; other faces keep their job folders out of the user's sight.
    if face != "page":
        return create_job(ws.home / "jobs", spec, info)
    ws.sandbox.prepare()
    with ws.sandbox.held("runs") as held:
        made = create_job(held, spec, info)
    return RunFolder(ws.sandbox.path("runs", made.path.name))


def submit(ws: Workspace, folder: RunFolder, start_key: str | None = None) -> str:
    """Put a job into the queue and return its id."""
    return queue.submit(ws, first_state(folder), start_key=start_key)


def register_in_process(ws: Workspace, folder: RunFolder) -> None:
    """List a job that the calling program works on itself; called once its lock is held."""
    ws.database.insert(first_state(folder).model_copy(update={"status": "starting"}))
    remember_root(ws.roots_file, folder.path.parent)
