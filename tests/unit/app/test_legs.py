"""The legs of a campaign on one clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backprop_app.views.legs import LegTimes, timeline
from backprop_core.units import NBSP

BEGAN = datetime(2026, 11, 20, 22, 10, tzinfo=UTC)


def minutes(number: float) -> datetime:
    return BEGAN + timedelta(minutes=number)


def test_finished_legs_lie_end_to_end_and_tell_how_long_they_took() -> None:
    legs = [
        LegTimes("billing", "merged", "Merged", BEGAN, minutes(30)),
        LegTimes("returns", "merged", "Merged", minutes(30), minutes(60)),
    ]
    shown = timeline(legs, minutes(90), is_ended=True)
    assert [(leg.left, leg.width, leg.took) for leg in shown.legs] == [
        ("0.00%", "50.00%", f"30{NBSP}m 0{NBSP}s"),
        ("50.00%", "50.00%", f"30{NBSP}m 0{NBSP}s"),
    ]
    assert shown.done_at == ""


def test_a_working_leg_shows_how_far_it_is_and_the_next_follows_it() -> None:
    legs = [
        LegTimes("billing", "merged", "Merged", BEGAN, minutes(30)),
        LegTimes("returns", "running", "Step 5 of 10", minutes(30), None, 1800, 0.5),
        LegTimes("spanish", "waiting", "Waiting"),
    ]
    shown = timeline(legs, minutes(45), is_ended=False)
    assert [(leg.left, leg.width, leg.done) for leg in shown.legs[1:]] == [
        ("33.33%", "33.33%", "16.67%"),
        ("66.67%", "33.33%", "0.00%"),
    ]
    assert shown.done_at == "23:40"
    assert [tick.text for tick in shown.ticks if tick.is_now] == ["now 22:55"]


def test_a_campaign_that_waits_for_its_turn_has_lanes_too() -> None:
    shown = timeline([LegTimes("a", "waiting", "Waiting")], BEGAN, is_ended=False)
    assert [leg.took for leg in shown.legs] == ["to come"]


def test_no_lane_leaves_the_track() -> None:
    legs = [LegTimes(str(n), "waiting", "Waiting", seconds=1) for n in range(300)]
    shown = timeline(legs, BEGAN, is_ended=False)
    assert all(0 <= float(leg.left[:-1]) <= 100 for leg in shown.legs)
