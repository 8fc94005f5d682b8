"""The plan's memory forecast against real workers on this processor. `python -m benchmarks.memory`

Each cell is a run of a few steps in a fresh worker; measured is the peak resident memory that the
system counted for it. The plan is made before the worker starts, from sizes alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backprop_core.config.resolve import Layer
from backprop_core.jobs.launcher import worker_environment
from backprop_core.planning.plan import effective_spec
from backprop_core.services import training
from backprop_core.services.opening import open_workspace
from benchmarks.report import Figure, machine, show
from tests.support.attempts import new_run
from tests.support.models import tutorial_model_dir

# How far a forecast may lie from what was measured.
LIMIT_PCT = 25.0


@dataclass(frozen=True)
class Cell:
    """One run to measure: rows of so many tokens, and what differs from the defaults."""

    name: str
    tokens: tuple[int, ...]
    values: dict[str, Any] = field(default_factory=dict)


CELLS = (
    Cell("short rows, rank 16", (100, 60, 140, 90, 120, 80, 110, 70)),
    Cell("chat rows, rank 16", (700, 150, 420, 90, 300, 1020, 200, 60)),
    Cell("chat rows, rank 256", (700, 150, 420, 90, 300, 1020, 200, 60), {"lora_r": 256}),
    Cell("rows of 2,048, rank 16", (2048,) * 2),
    Cell("rows of 2,048, recomputed", (2048,) * 2, {"gradient_checkpointing": "on"}),
    Cell(
        "chat rows unpacked, q and v",
        (700, 150, 420, 90, 300, 1020, 200, 60),
        {"packing": False, "batch_size": 8, "target_modules": "q_proj,v_proj"},
    ),
)


def measure(cells: tuple[Cell, ...] = CELLS) -> list[Figure]:
    """Return forecast, measured peak and their distance for each cell."""
    figures = []
    for cell in cells:
        planned, peak = _measure(cell)
        figures += [
            Figure(f"{cell.name}: forecast", planned / 1e9, "GB"),
            Figure(f"{cell.name}: measured", peak / 1e9, "GB"),
            Figure(f"{cell.name}: distance", 100 * abs(planned / peak - 1), "%", LIMIT_PCT),
        ]
    return figures


def _measure(cell: Cell) -> tuple[int, int]:
    """Return the forecast and the measured peak of one run in bytes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        home = folder / "home"
        data = _write_rows(folder / "rows.jsonl", cell.tokens)
        values = {
            "model": str(tutorial_model_dir()),
            "dataset": str(data),
            "output_dir": str(folder),
            "steps": 2,
            "device": "cpu",
            "lora_r": 16,
            **cell.values,
        }
        workspace = open_workspace(environ={"BACKPROPAGATE_HOME": str(home)})
        try:
            ready = training.draft(workspace, [Layer("explicit", values)], source="python")
        finally:
            workspace.close()
        if ready.resolved is None or ready.plan is None or ready.plan.peak_bytes is None:
            raise SystemExit(f"{cell.name}: no forecast: {ready.problems}")
        spec = effective_spec(ready.resolved.spec, ready.plan)
        return ready.plan.peak_bytes, _peak_of_worker(spec.model_dump(), folder, home)


def _peak_of_worker(spec: dict[str, Any], folder: Path, home: Path) -> int:
    """Return the peak resident memory of a worker that trains `spec`, in bytes."""
    run = new_run(folder, **spec)
    env = worker_environment(os.environ) | {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "BACKPROPAGATE_HOME": str(home),
        "BACKPROPAGATE_LAUNCH_ID": run.info().launch_id,
    }
    command = [sys.executable, "-m", "backprop_core.engine.worker", str(run.path)]
    with run.log_path.open("wb") as log:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(run.log_path.read_text()[-2000:])
    return usage.ru_maxrss * 1024


def _write_rows(path: Path, tokens: tuple[int, ...]) -> Path:
    """Write one conversation per entry of `tokens`, about that long, half of it the answer."""
    lines = []
    for count in tokens:
        # ChatML and the default system prompt take the rest.
        words = max(2, count - 33)
        turns = [
            {"role": "user", "content": "the " * (words // 2)},
            {"role": "assistant", "content": "a " * (words - words // 2)},
        ]
        lines.append(json.dumps({"messages": turns}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(machine())
    show("Memory forecast on a processor, SmolLM2-135M", measure())
