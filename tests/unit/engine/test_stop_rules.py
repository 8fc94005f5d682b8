"""The rules that end a run by itself, judged on invented losses."""

from __future__ import annotations

import math

import pytest

from backprop_core.config.specs import TrainSpec
from backprop_core.engine.stop_rules import Trend, after_measure, budget_stop, held_out_stop


def rule_after(losses, **spec):
    """Return the rule and the measure at which the losses meet it."""
    wanted, trend, lowest = TrainSpec(**spec), Trend(), None
    for number, loss in enumerate(losses, 1):
        if math.isfinite(loss) and (lowest is None or loss < lowest):
            lowest = loss
        trend = after_measure(trend, loss, lowest, wanted.divergence_limit)
        stop = held_out_stop(wanted, trend, loss, lowest)
        if stop is not None:
            return stop.rule, number
    return None


@pytest.mark.parametrize(
    "losses, found",
    [
        ([2.0, 1.0, 1.2, 1.4, 1.49] * 3, None),
        ([2.0, 1.0, 1.6, 1.0, 1.6, 1.0], None),
        ([2.0, 1.0, 1.6, 1.6], ("divergence", 4)),
        ([2.0, math.nan, math.inf], ("divergence", 3)),
        ([math.nan, math.nan], ("divergence", 2)),
    ],
)
def test_two_measures_in_a_row_half_above_the_lowest_are_divergence(losses, found):
    assert rule_after(losses) == found


def test_no_limit_means_no_divergence():
    assert rule_after([1.0, 9.0, math.nan, math.nan], divergence_limit=None) is None


def test_a_loss_that_creeps_down_in_the_fifth_digit_is_a_plateau():
    creeping = [1.0 - 1e-6 * number for number in range(10)]
    assert rule_after(creeping, early_stopping=3) == ("plateau", 4)


def test_progress_begins_the_patience_anew():
    assert rule_after([1.0, 1.0, 0.9, 0.9, 0.8, 0.8, 0.8], early_stopping=2) == ("plateau", 7)


def test_the_budget_is_met_at_its_last_second():
    spec = TrainSpec(budget_hours=2)
    assert budget_stop(spec, 7199.9) is None
    assert budget_stop(spec, 7200.0).rule == "budget"
    assert budget_stop(TrainSpec(), 1e9) is None
