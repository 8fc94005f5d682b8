"""Workspaces for tests, with workers that need no torch."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from backprop_core.config.resolve import Layer, resolve_train
from backprop_core.jobs import queue
from backprop_core.jobs.scheduler import run_scheduler
from backprop_core.runs.index import first_state
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder, RunInfo, create_run, new_run_id
from backprop_core.workspace import Workspace

WORKER = Path(__file__).with_name("fake_worker.py")
ROOT = Path(__file__).parents[2]


class FakeWorkerLauncher:
    """Real processes, but of the worker without torch; the scheduler is a thread of the test."""

    def __init__(self) -> None:
        self.started: dict[int, subprocess.Popen[bytes]] = {}
        self.launches: list[str] = []
        self.workspace: Workspace | None = None
        self.schedulers: list[threading.Thread] = []
        self.runs_scheduler = True
        self.is_closed = False

    def spawn_worker(self, run_dir: Path, launch_id: str, home: Path) -> int:
        if self.is_closed:
            raise OSError("the test is over")
        env = {
            **os.environ,
            "BACKPROPAGATE_HOME": str(home),
            "BACKPROPAGATE_LAUNCH_ID": launch_id,
            "PYTHONPATH": str(ROOT),
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

    def spawn_scheduler(self, home: Path) -> None:
        assert self.workspace is not None
        if self.runs_scheduler:
            thread = threading.Thread(target=_schedule, args=(self.workspace,), daemon=True)
            self.schedulers.append(thread)
            thread.start()

    def reap(self) -> None:
        pass

    def exit_code(self, pid: int) -> int | None:
        process = self.started.get(pid)
        return None if process is None else process.poll()

    def close(self) -> None:
        """End every worker and wait for the schedulers."""
        self.runs_scheduler, self.is_closed = False, True
        for process in self.started.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        for thread in self.schedulers:
            thread.join(10)


def _schedule(ws: Workspace) -> None:
    # A test that closes or breaks its store ends the scheduler that works on it.
    with contextlib.suppress(sqlite3.Error):
        run_scheduler(ws)


def make_run(
    ws: Workspace,
    *,
    name: str = "plain",
    steps: int = 5,
    is_detached: bool = True,
    dataset: str = "rows.jsonl",
) -> RunState:
    """Create the folder of a run and return its first state; it is not submitted."""
    resolved = resolve_train([Layer("explicit", {"model": "tiny", "dataset": dataset, "steps": steps})])
    info = RunInfo(
        run_id=new_run_id(),
        name=name,
        source="cli",
        created_at=ws.now(),
        launch_id=new_run_id(),
        is_detached=is_detached,
        version="test",
    )
    folder = create_run(ws.settings.sandbox_root / "runs", resolved, info)
    return first_state(folder)


def submit_run(ws: Workspace, **options: object) -> str:
    """Create and submit a run; return its id."""
    return queue.submit(ws, make_run(ws, **options))  # type: ignore[arg-type]


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Wait until `condition` holds, or fail with what was awaited."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.02)
