"""Held-out rows: apart from training, measured with each checkpoint, and the best step is the result."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from backprop_core.engine import callbacks
from backprop_core.engine.collating import Row
from backprop_core.engine.evaluation import hold_out
from backprop_core.events.types import Evaluated, RunStopped, TrainingPlanned
from tests.support.attempts import attempt, bodies, metrics


def evaluations(folder):
    return [body for body in bodies(folder) if isinstance(body, Evaluated)]


def rows(count):
    return [Row.from_mask([number, number + 1], [False, True]) for number in range(count)]


@pytest.mark.parametrize(
    "count, share, held", [(10, 0.2, 2), (10, 0.0, 0), (1, 0.5, 0), (2, 0.01, 1), (3, 0.5, 2)]
)
def test_a_share_of_the_rows_is_held_out(count, share, held):
    training, measuring = hold_out(rows(count), share, seed=1)
    assert (len(training), len(measuring)) == (count - held, held)
    assert {row.ids[0] for row in training} | {row.ids[0] for row in measuring} == set(range(count))


def test_the_same_seed_holds_out_the_same_rows():
    first, second = (hold_out(rows(20), 0.3, seed=5)[1] for _ in range(2))
    assert [row.ids[0] for row in first] == [row.ids[0] for row in second]


def test_held_out_rows_are_measured_at_each_scheduled_step_and_at_the_end(train):
    folder = train(steps=5, eval_split=0.34, checkpoint_every=2)
    assert [(body.step, body.rows) for body in evaluations(folder)] == [(2, 2), (4, 2), (5, 2)]
    assert next(body for body in bodies(folder) if isinstance(body, TrainingPlanned)).rows == 4


def test_measuring_changes_nothing_that_is_learned(train):
    spec = {"steps": 4, "eval_split": 0.34, "lora_dropout": 0.1}
    often, seldom = train(checkpoint_every=1, **spec), train(checkpoint_every=1000, **spec)
    assert [step.loss for step in metrics(often)] == [step.loss for step in metrics(seldom)]


@pytest.fixture
def told(monkeypatch):
    """Return a function that replaces the measured losses by given ones."""

    def tell(*losses):
        left = iter(losses)
        monkeypatch.setattr(callbacks, "held_out_loss", lambda *_: next(left))

    return tell


def test_the_result_is_the_step_with_the_lowest_held_out_loss(train, told):
    spec = {"eval_split": 0.34, "checkpoint_every": 1, "lr_scheduler": "constant"}
    told(3.0, 1.0, 2.0, 2.0)
    best = train(steps=4, **spec)
    told(3.0, 1.0)
    two = train(steps=2, **spec)
    expected, found = (load_file(folder.adapter / "adapter_model.safetensors") for folder in (two, best))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_best_checkpoint_outlives_the_newest_three(train, told):
    told(3.0, 1.0, *[2.0] * 5)
    folder = train(steps=7, eval_split=0.34, checkpoint_every=1)
    assert "step-000002" in {path.name for path in folder.checkpoints.iterdir()}


def test_a_run_without_progress_ends_early(train, told):
    told(3.0, 1.0, 1.2, 1.2)
    folder = train(steps=50, eval_split=0.34, checkpoint_every=1, early_stopping=2)
    done = bodies(folder)[-1]
    assert isinstance(done, RunStopped) and (done.step, done.rule) == (4, "plateau")


def test_a_diverging_run_stops_at_the_second_measure_and_gives_its_best_step(train, told):
    told(1.0, 1.6, 1.7)
    folder = train(steps=50, eval_split=0.34, checkpoint_every=1)
    done = bodies(folder)[-1]
    assert (done.type, done.step, done.rule) == ("run.stopped", 3, "divergence")
    assert done.reason == "held-out loss 1.7, the lowest was 1, 2 measures in a row"
    assert any("The result is that of step 1" in getattr(body, "message", "") for body in bodies(folder))


def test_a_run_ends_at_the_first_step_after_its_hours(train):
    folder = train(steps=50, budget_hours=1e-9)
    done = bodies(folder)[-1]
    assert (done.type, done.step, done.rule, done.artifact) == ("run.stopped", 1, "budget", "adapter")


def test_a_measure_that_is_no_number_is_never_the_best(train, told):
    told(float("nan"), 2.0)
    folder = train(steps=2, eval_split=0.34, checkpoint_every=1)
    assert [body.loss for body in evaluations(folder)] == [None, 2.0]


def test_patience_goes_on_counting_after_a_resume(train, told, own_home, monkeypatch):
    folder = train.new(steps=50, eval_split=0.34, checkpoint_every=1, early_stopping=3)
    real = callbacks.StepReporter.on_step_begin

    def ordered(reporter, args, state, control, **rest):
        real(reporter, args, state, control, **rest)
        if state.global_step == 2:
            reporter._context.control.ordered.set()

    told(1.0, 1.2, 1.2, 1.2)
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepReporter, "on_step_begin", ordered)
        attempt(folder, own_home)
    attempt(folder, own_home)
    assert [body.step for body in evaluations(folder)] == [1, 2, 3, 4]
    assert bodies(folder)[-1].rule == "plateau"
