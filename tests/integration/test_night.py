"""A night on a processor: four queued runs, three kinds of trouble, nobody watching.

Queue, scheduler, workers, journals, checkpoints and the receiver are real; the training is the plain
Python of the chaos harness, so that the night takes seconds. What a real engine does with each of the three
troubles is in tests/engine (`test_run_sft.py`, `test_resume.py`) and `test_torch_kills.py`.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from backprop_core.engine.checkpoints import CheckpointStore
from backprop_core.events.journal import JournalReader
from backprop_core.events.types import Metrics
from backprop_core.jobs.launcher import ProcessLauncher
from backprop_core.runs.store import RunFolder, list_folders
from backprop_core.services.report import morning_report
from backprop_core.workspace import Workspace
from tests.integration.test_chaos import require_whole, zygote  # noqa: F401 - a fixture
from tests.support.chaos.recipe import DISK_FULL
from tests.support.stores import wait_for
from tests.support.webhooks import WebhookServer

STEPS = 150


@pytest.fixture
def hook(monkeypatch):
    server = WebhookServer(answers=(500,))
    monkeypatch.setenv("BACKPROPAGATE_NOTIFY__WEBHOOK", server.url)
    yield server
    server.close()


def steps_of(folder: RunFolder) -> int:
    return sum(isinstance(e.body, Metrics) for e in JournalReader(folder.journal_path).read_all())


def test_a_night_without_anybody_ends_with_the_right_report_notices_and_store(
    zygote,  # noqa: F811
    own_home,
    hook,
    tmp_path,
):
    planted = tmp_path / "planted.jsonl"
    planted.write_text('{"x": 1.0}\n' * 40 + '{"x": NaN}\n' + '{"x": 2.0}\n' * 40)
    wanted = [
        {"name": "diverges", "steps": STEPS, "dataset": str(planted)},
        {"name": "fills-the-disk", "steps": STEPS},
        {"name": "is-killed", "steps": STEPS},
        {"name": "is-good", "steps": STEPS},
    ]
    own_home.mkdir()
    with (own_home / "submit.log").open("ab") as log:
        import json

        zygote.spawn_detached(
            ["-m", "submitter", json.dumps(wanted)], cwd=own_home, env=dict(os.environ), output=log
        )
    root = own_home / "ui-outputs" / "runs"
    wait_for(lambda: len(list_folders(root)) == 4, "the submission")
    by_name = {folder.info().name: folder for folder in list_folders(root)}
    wait_for(lambda: steps_of(by_name["fills-the-disk"]) > 20, "the second run")
    (by_name["fills-the-disk"].path / DISK_FULL).touch()
    wait_for(lambda: steps_of(by_name["is-killed"]) > 20, "the third run")
    workers = {
        Path(arguments[1]).name: pid for pid, arguments in zygote.living().items() if arguments[0] == "worker"
    }
    os.kill(workers[by_name["is-killed"].path.name], signal.SIGKILL)
    wait_for(lambda: not zygote.living(), "the end of the night", timeout_s=30)

    expected = {
        "diverges": ("failed", "RUNTIME_LOSS_NOT_FINITE"),
        "fills-the-disk": ("failed", "RUNTIME_DISK_FULL"),
        "is-killed": ("interrupted", "RUNTIME_TRAINING_ABORTED"),
        "is-good": ("completed", ""),
    }
    told = {request["name"]: (request["status"], request["code"]) for request in hook.accepted}
    assert (told, len(hook.accepted)) == (expected, 4)
    ws = Workspace.open(ProcessLauncher())
    report = morning_report(ws)
    assert report.headline == "1 of 4 runs done, 2 failed, 1 interrupted"
    found = {run.name: (run.status, run.error["code"] if run.error else "") for run in report.runs}
    assert found == expected
    assert [run.name for run in report.runs] == list(expected)
    assert (report.runs[3].step, len(report.runs[3].curve)) == (STEPS, 60)
    assert ws.database.damage() == []
    for folder in by_name.values():
        require_whole(folder)
        store = CheckpointStore(folder.checkpoints)
        assert store.steps()
        for step in store.steps():
            store.verify(step)
    ws.close()
