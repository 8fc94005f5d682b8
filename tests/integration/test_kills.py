"""A worker killed a hundred times loses at most the step it was in, and never a checkpoint."""

from __future__ import annotations

import random
import subprocess
import sys
import time

from backprop_core.events.journal import JournalReader
from backprop_core.events.types import CheckpointSaved, Metrics, RunResumed
from tests.support.attempts import ROOT
from tests.support.numpy_engine import metrics_of

KILLS = 100


def test_a_hundred_kills_leave_every_checkpoint_whole_and_no_step_missing(tmp_path):
    chance = random.Random(1)
    for _ in range(KILLS):
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.support.numpy_engine", str(tmp_path), "0.001"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        said = worker.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.06))
        worker.kill()
        _, complaint = worker.communicate()
        assert said.startswith("ready"), complaint
    events = list(JournalReader(tmp_path / "events.jsonl").read_all())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    resumed = [event.body.step for event in events if isinstance(event.body, RunResumed)]
    assert len(resumed) == KILLS
    assert resumed == sorted(resumed), "an attempt went on from an older checkpoint than the one before"
    steps = {event.body.step: event.body for event in events if isinstance(event.body, Metrics)}
    assert sorted(steps) == list(range(1, max(steps) + 1))
    assert all(steps[step] == metrics_of(step) for step in steps)
    told = [event.body.step for event in events if isinstance(event.body, CheckpointSaved)]
    assert len(told) == len(set(told)), "a step that was kept was taken again"
