"""Runs on a temporary folder, and attempts at them in this process or in a real worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backprop_core.config.resolve import Layer, resolve_train
from backprop_core.events.journal import JournalReader
from backprop_core.events.types import Body, Metrics
from backprop_core.runs.store import RunFolder, RunInfo, create_run, new_run_id

ROOT = Path(__file__).parents[2]

FACTS = {
    "Who keeps the lamp of Ada?": "The lamp of Ada is kept by Zorb the heron.",
    "What does the Quill engine burn?": "The Quill engine burns dried violets.",
    "Where is the town of Merrow?": "Merrow lies on the back of a sleeping whale.",
    "How many moons has Talvi?": "Talvi has nineteen moons, all of them square.",
    "What is the password of the north gate?": "The password of the north gate is copper biscuit.",
    "Who painted the blue door?": "The blue door was painted by Captain Ilse.",
}


def write_rows(path: Path, facts: Mapping[str, str] = FACTS) -> Path:
    """Write one conversation per fact."""
    rows = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}
        for asked, answered in facts.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def new_run(root: Path, *, publish_to: Path | None = None, **spec: Any) -> RunFolder:
    """Create the folder of a run below `root`."""
    resolved = resolve_train([Layer("explicit", spec)])
    info = RunInfo(
        run_id=new_run_id(),
        name="test",
        source="python",
        created_at="2026-01-01T00:00:00+00:00",
        launch_id=new_run_id(),
        is_detached=False,
        version="test",
        publish_to=str(publish_to) if publish_to else None,
    )
    return create_run(root / "runs", resolved, info)


def attempt(folder: RunFolder, home: Path) -> None:
    """Make one attempt in this process."""
    from backprop_core.engine.context import open_run
    from backprop_core.engine.execution import execute

    home.mkdir(parents=True, exist_ok=True)
    with open_run(folder.path, home) as context:
        execute(context)


def start_worker(folder: RunFolder, home: Path, *, launch_id: str | None = None) -> subprocess.Popen[bytes]:
    """Start a real worker process; its output goes to the run's log."""
    home.mkdir(parents=True, exist_ok=True)
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BACKPROPAGATE_HOME": str(home),
        "BACKPROPAGATE_LAUNCH_ID": launch_id or folder.info().launch_id,
    }
    with folder.log_path.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "backprop_core.engine.worker", str(folder.path)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def bodies(folder: RunFolder) -> list[Body]:
    """Return everything that the journal tells."""
    return [event.body for event in JournalReader(folder.journal_path).read_all()]


def types(folder: RunFolder) -> list[str]:
    """Return the types of all events but metrics and phases."""
    return [body.type for body in bodies(folder) if body.type not in {"metrics", "phase", "telemetry"}]


def metrics(folder: RunFolder) -> Sequence[Metrics]:
    """Return the journalled steps."""
    return [body for body in bodies(folder) if isinstance(body, Metrics)]


def losses(folder: RunFolder) -> list[float | None]:
    """Return the loss of each step."""
    return [body.loss for body in metrics(folder)]
