"""Workers that really train, killed again and again: the run ends as if nobody had touched it."""

from __future__ import annotations

import random
import time

import pytest

from backprop_core.events.types import RunResumed
from tests.support.attempts import attempt, bodies, metrics, new_run, start_worker, types, write_rows
from tests.support.models import write_tiny_llama
from tests.support.stores import wait_for

SPEC = {"lora_r": 4, "max_seq_length": 128, "checkpoint_every": 3, "lora_dropout": 0.1, "report_to": "none"}


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_a_run_that_is_killed_again_and_again_has_the_losses_of_one_that_is_not(tmp_path, own_home, kills):
    model = write_tiny_llama(tmp_path / "tiny")
    spec = {**SPEC, "model": str(model), "dataset": str(write_rows(tmp_path / "rows.jsonl"))}
    steps = 60 * kills
    folder = new_run(tmp_path, steps=steps, **spec)
    chance = random.Random(kills)
    for _ in range(kills):
        before = len(metrics(folder))
        worker = start_worker(folder, own_home)
        wait_for(lambda before=before: len(metrics(folder)) > before + 3, "a few steps", 300)
        time.sleep(chance.uniform(0.0, 0.3))
        worker.kill()
        worker.wait()
        if types(folder)[-1] == "run.completed":
            break
    if types(folder)[-1] != "run.completed":
        assert start_worker(folder, own_home).wait(600) == 0
    assert types(folder)[-1] == "run.completed"
    assert any(body.step > 0 for body in bodies(folder) if isinstance(body, RunResumed))
    untouched = new_run(tmp_path / "untouched", steps=steps, **spec)
    attempt(untouched, own_home)
    killed = {step.step: step.loss for step in metrics(folder)}
    assert killed == {step.step: step.loss for step in metrics(untouched)}
