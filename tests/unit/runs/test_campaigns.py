"""The state of a campaign from its journal, and the three figures of forgetting."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backprop_core.events import types as ev
from backprop_core.runs.campaigns import PlannedLeg, campaign_state, summarise


def planned(count):
    return [
        PlannedLeg(
            number=number, name=f"week{number}", source="", sha256="", samples=9, steps=3, learning_rate=1.0
        )
        for number in range(1, count + 1)
    ]


def events(*bodies):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return [ev.Event(seq, now, 0.0, body) for seq, body in enumerate(bodies, 1)]


def merged(leg, *, is_accepted=True):
    return ev.LegMerged(leg=leg, mode="slao", weight=1.0, is_accepted=is_accepted, path="", seconds=0.1)


def row(leg, *losses, adapter="merged"):
    return ev.ForgetRow(leg=leg, adapter=adapter, loss=losses, exact=tuple(None for _ in losses))


def test_the_three_figures_of_a_matrix():
    found = summarise([(1, [0.9, 0.1, 0.0]), (2, [0.5, 0.8, 0.0]), (3, [0.4, 0.6, 0.7])], "exact")
    assert found.average == pytest.approx((0.4 + 0.6 + 0.7) / 3)
    assert found.backward == pytest.approx((0.4 - 0.9 + 0.6 - 0.8) / 2)
    assert found.learned == pytest.approx((0.9 + 0.8 + 0.7) / 3)


def test_one_leg_has_no_backward_transfer():
    assert summarise([(1, [0.5])], "exact").backward is None


def test_nothing_is_told_while_a_value_is_missing():
    assert summarise([(1, [None, 0.1]), (2, [0.1, 0.2])], "exact") is None
    assert summarise([], "exact") is None


def test_losses_turn_their_sign_so_that_higher_is_better():
    told = events(merged(1), row(1, 1.0, 3.0), merged(2), row(2, 2.0, 1.0))
    found = campaign_state(planned(2), told).summary("loss")
    assert (found.average, found.backward, found.learned) == (-1.5, -1.0, -1.0)


def test_a_rejected_merge_counts_in_no_figure():
    told = events(merged(1), row(1, 1.0, 3.0), merged(2, is_accepted=False), row(2, 9.0, 9.0))
    found = campaign_state(planned(2), told).summary("loss")
    assert (found.average, found.backward) == (-1.0, None)


def test_a_leg_goes_from_waiting_to_merged():
    state = campaign_state(planned(2), events())
    assert [leg.status for leg in state.legs] == ["waiting", "waiting"]
    begun = ev.LegStarted(
        leg=1,
        legs=2,
        name="week1",
        first_step=0,
        steps=3,
        learning_rate=0.5,
        rows=8,
        replay_rows=0,
        held_out=1,
    )
    state = campaign_state(planned(2), events(begun))
    assert (state.legs[0].status, state.legs[0].rows, state.legs[0].learning_rate) == ("training", 8, 0.5)
    state = campaign_state(planned(2), events(begun, ev.LegEnded(leg=1, step=3, path="", seconds=1.0)))
    assert state.legs[0].status == "merging"
    state = campaign_state(planned(2), events(begun, merged(1), ev.LegChosen(leg=1)))
    assert (state.legs[0].status, state.product_leg) == ("merged", 1)


def test_what_is_told_twice_counts_as_told_last():
    told = events(row(1, 5.0), row(0, 9.0, adapter="base"), row(1, 1.0))
    assert [found.loss for found in campaign_state(planned(1), told).matrix.rows] == [(9.0,), (1.0,)]
