from __future__ import annotations

import re

import numpy as np
import pytest

from backprop_core.config.evaluations import Interval, Leaks, Measure
from backprop_core.engine.comparison.bootstrap import difference_interval, ratio_interval
from backprop_core.engine.comparison.replies import Answered, flips, is_right, measure
from backprop_core.engine.comparison.verdict import judge

UP = Interval(value=0.5, low=0.2, high=0.8)
FLAT = Interval(value=0.0, low=-0.1, high=0.1)
DOWN = Interval(value=-0.5, low=-0.8, high=-0.2)


def test_the_interval_of_a_constant_gain_is_that_gain():
    assert ratio_interval(np.full(20, 3.0), np.full(20, 2.0)) == Interval(value=1.5, low=1.5, high=1.5)


def test_the_interval_covers_the_mean_of_known_noise_and_is_the_same_each_time():
    gains = np.random.default_rng(1).normal(0.3, 1.0, 400)
    found = ratio_interval(gains, np.ones(400))
    # 1.96 standard errors of 1 / sqrt(400) to each side.
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.1)
    assert found.low < 0.3 < found.high
    assert ratio_interval(gains, np.ones(400)) == found


def test_rows_count_by_their_tokens():
    assert ratio_interval(np.array([10.0, 1.0]), np.array([10.0, 90.0])).value == pytest.approx(0.11)


def test_equal_gains_of_own_and_other_answers_are_no_own_gain():
    gains, tokens = np.array([1.0, 2.0, 3.0]), np.ones(3)
    assert difference_interval(gains, tokens, gains, tokens) == Interval(value=0, low=0, high=0)


def test_likelier_own_answers_are_a_gain():
    assert judge(50, UP, UP, (), None)[0] == "gain"


def test_an_interval_around_zero_is_no_evidence():
    assert judge(50, FLAT, FLAT, (), None) == ("none", "The difference may be an accident of these rows.")


def test_answers_of_other_rows_that_gained_as_much_are_no_evidence():
    verdict, cause = judge(50, UP, FLAT, (), None)
    assert verdict == "none"
    assert "it learned how answers look" in cause


def test_less_likely_answers_are_worse():
    assert judge(50, DOWN, FLAT, (), None)[0] == "worse"


def test_fewer_right_replies_are_worse_even_when_the_loss_fell():
    measured = Measure(name="exact", rows=50, before=0.6, after=0.1, gain=DOWN)
    assert judge(50, UP, UP, (measured,), None) == ("worse", "Fewer replies are right by exact match.")


def test_a_few_rows_are_never_evidence():
    assert judge(7, UP, UP, (), None) == ("none", "7 held-out rows are too few to tell; it takes 8.")


def test_leaking_rows_are_named():
    cause = judge(50, UP, UP, (), Leaks(rows=2, training_row=17, held_out_row=4))[1]
    assert "2 training rows are also held out, the first as row 17 and row 4" in cause


@pytest.mark.parametrize(
    ("name", "reply", "answer", "right"),
    [
        ("exact", "Paris.", "paris", True),
        ("exact", "It is Paris.", "Paris", False),
        ("contains", "It is Paris, in France.", "Paris", True),
        ("contains", "Parisian", "Paris", False),
        ("regex", "so 7 x 6 = 42", "The answer is 42.", False),
        ("regex", "The answer is 42!", "Well: the answer is 42.", True),
    ],
)
def test_what_counts_as_right(name, reply, answer, right):
    assert is_right(name, reply, answer, re.compile(r"(?i)answer is (\d+)")) is right


def test_shares_flips_and_their_texts():
    rows = [
        Answered(1, "a?", "yes", before="no", after="Yes."),
        Answered(2, "b?", "no", before="no", after="yes"),
        Answered(3, "c?", "no", before="no", after="no"),
    ]
    exact, contains = measure(rows, None)
    assert (exact.before, exact.after) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert contains.name == "contains"
    assert [(flip.row, flip.is_fixed) for flip in flips(rows, None)] == [(1, True), (2, False)]


def test_rows_whose_answer_lacks_the_pattern_are_left_out_of_its_share():
    rows = [Answered(1, "", "= 4", "= 4", "= 5"), Answered(2, "", "four", "= 4", "= 4")]
    assert [(part.name, part.rows) for part in measure(rows, re.compile(r"= (\d)"))][-1] == ("regex", 1)
