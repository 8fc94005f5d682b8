"""When heat pauses a run, and when it goes on."""

from __future__ import annotations

import pytest

from backprop_core.engine.thermal import Heat, HeatJudge


def judge(*readings):
    """Return a judge that saw one reading each ten seconds."""
    found = HeatJudge()
    for number, (margin, is_limited) in enumerate(readings):
        found.see(Heat(10.0 * number, margin, is_limited))
    return found


def test_a_card_that_is_hot_for_half_a_minute_pauses_the_run():
    assert not judge(*[(4.0, False)] * 3).must_pause
    assert judge(*[(4.0, False)] * 4).must_pause


def test_one_cooler_reading_starts_the_half_minute_again():
    assert not judge((4.0, False), (4.0, False), (6.0, False), (4.0, False), (4.0, False)).must_pause


def test_a_warm_card_does_not_pause_the_run():
    assert not judge(*[(6.0, False)] * 20).must_pause


def test_a_card_that_heat_slows_down_pauses_the_run():
    assert judge(*[(None, True)] * 4).must_pause
    assert judge(*[(8.0, True)] * 4).must_pause


def test_a_card_far_from_its_limit_is_not_believed_to_be_slowed():
    assert not judge(*[(20.0, True)] * 20).must_pause


def test_a_card_that_tells_nothing_never_pauses_the_run():
    assert not judge(*[(None, None)] * 100).must_pause


def test_the_run_goes_on_after_a_minute_of_room():
    assert not judge(*[(16.0, False)] * 6).may_continue
    assert judge(*[(16.0, False)] * 7).may_continue


def test_between_cool_and_hot_nothing_changes():
    between = judge(*[(10.0, False)] * 20)
    assert not between.must_pause
    assert not between.may_continue


def test_a_card_that_disappears_while_paused_does_not_hold_the_run_for_ever():
    assert judge((4.0, False), *[(None, None)] * 7).may_continue


def test_without_a_reading_nothing_is_decided():
    assert not HeatJudge().must_pause
    assert not HeatJudge().may_continue


@pytest.mark.parametrize("margin", [-3.0, 0.0, 4.9])
def test_below_five_degrees_is_hot(margin):
    assert Heat(0.0, margin, None).is_hot
