"""Which rows a step takes, and at which learning rate."""

from __future__ import annotations

import pytest

from backprop_core.engine.sampling import RowOrder
from backprop_core.engine.schedules import learning_rate_factor, warmup_steps


def test_each_pass_takes_every_row_once():
    order = RowOrder(10, 5, seed=3)
    assert sorted(order.of_step(0) + order.of_step(1)) == list(range(10))
    assert sorted(order.of_step(2) + order.of_step(3)) == list(range(10))


def test_passes_differ():
    order = RowOrder(50, 50, seed=3)
    assert order.of_step(0) != order.of_step(1)


def test_a_step_is_the_same_wherever_one_begins():
    walked = RowOrder(7, 3, seed=1)
    steps = [walked.of_step(step) for step in range(9)]
    assert RowOrder(7, 3, seed=1).of_step(8) == steps[8]


def test_another_seed_is_another_order():
    assert RowOrder(50, 50, seed=1).of_step(0) != RowOrder(50, 50, seed=2).of_step(0)


def test_a_step_may_take_more_rows_than_there_are():
    assert len(RowOrder(3, 8, seed=0).of_step(0)) == 8


def test_epochs_are_rows_taken_by_rows_there_are():
    assert RowOrder(5, 8, seed=0).epochs_after(10) == 16.0


def test_the_first_step_is_not_wasted():
    assert learning_rate_factor(0, steps=10, warmup=2, schedule="cosine") == pytest.approx(1 / 3)


def test_the_peak_follows_the_rise():
    assert learning_rate_factor(2, steps=10, warmup=2, schedule="linear") == 1.0


def test_no_step_of_the_run_is_without_effect():
    for schedule in ("linear", "cosine", "constant"):
        assert learning_rate_factor(9, steps=10, warmup=2, schedule=schedule) > 0


def test_a_constant_schedule_stays():
    assert learning_rate_factor(9, steps=10, warmup=2, schedule="constant") == 1.0


def test_half_way_down_a_cosine_is_half():
    assert learning_rate_factor(5, steps=10, warmup=0, schedule="cosine") == pytest.approx(0.5)


def test_a_short_run_has_no_rise():
    assert warmup_steps(0.05, 5) == 0
