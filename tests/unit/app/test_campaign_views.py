"""What the Multi-Run page says of a campaign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backprop_app.views import campaign as views
from backprop_core.config.campaigns import CampaignSpec
from backprop_core.events import types as ev
from backprop_core.runs.campaigns import PlannedLeg, campaign_state
from backprop_core.runs.projection import RunState
from backprop_core.services.campaign_plan import LegPreview
from backprop_core.services.campaigns import Campaign

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
NAMES = ("billing", "returns")


def planned(number: int, name: str, rate: float = 2e-4) -> PlannedLeg:
    return PlannedLeg(
        number=number,
        name=name,
        source=f"/data/{name}.jsonl",
        sha256="0",
        samples=10,
        steps=4,
        learning_rate=rate,
    )


LEGS = [planned(number, name) for number, name in enumerate(NAMES, start=1)]


def started(leg: int) -> ev.LegStarted:
    return ev.LegStarted(
        leg=leg,
        legs=2,
        name=NAMES[leg - 1],
        first_step=4 * (leg - 1),
        steps=4,
        learning_rate=2e-4,
        rows=9,
        replay_rows=0,
        held_out=1,
    )


def merged(leg: int, *, accepted: bool = True) -> ev.LegMerged:
    return ev.LegMerged(leg=leg, mode="slao", weight=leg**-0.5, is_accepted=accepted, path="x", seconds=0.1)


def measured(leg: int, *losses: float) -> ev.ForgetRow:
    adapter = "merged" if leg else "base"
    return ev.ForgetRow(leg=leg, adapter=adapter, loss=losses, exact=(None,) * len(losses))


ONE_LEG = (measured(0, 2.0, 2.0), started(1), merged(1), ev.LegChosen(leg=1), measured(1, 1.0, 1.9))
TWO_LEGS = (*ONE_LEG, started(2), merged(2), ev.LegChosen(leg=2), measured(2, 1.25, 0.5))


def campaign(*bodies: ev.Body, **changes: object) -> Campaign:
    events = [
        ev.Event(seq, NOW + timedelta(minutes=seq), float(seq), body) for seq, body in enumerate(bodies)
    ]
    told = campaign_state(LEGS, events)
    state = RunState.model_validate(
        {
            "run_id": "7f3a91c2-0000-4000-8000-000000000000",
            "folder": "/runs/7f3a91c2",
            "name": "helpdesk",
            "source": "page",
            "kind": "multi-run",
            "model": "smollm2-135m",
            "dataset": "",
            "created_at": NOW.isoformat(),
            "status": "running",
            **changes,
        }
    )
    return Campaign(
        state=state,
        spec=CampaignSpec(),
        legs=told.legs,
        matrix=told.matrix,
        exact=told.summary("exact"),
        loss=told.summary("loss"),
        product_leg=told.product_leg,
        decidable_leg=2 if state.is_terminal else None,
        can_add_leg=state.status == "completed",
    )


def test_the_three_figures_stand_together_in_terms_of_loss() -> None:
    told = {pair.label: pair.value for pair in views.figures(campaign(*TWO_LEGS))}
    assert told == {
        "Average now": "0.875",
        "Learned, right after each leg": "0.750",
        "Backward transfer": "−0.250",
        "Merge weight, leg 2": "0.707",
    }


def test_before_the_first_merge_there_are_no_figures() -> None:
    assert views.figures(campaign(measured(0, 2.0, 2.0), started(1))) == []


def test_the_leg_that_lost_most_is_named() -> None:
    shown = campaign(*TWO_LEGS)
    assert views.campaign_view(shown.state, shown, None).warning == (
        "billing is 0.25 worse than right after it was taught."
    )


def test_a_leg_tells_how_far_it_is() -> None:
    shown = campaign(*ONE_LEG, started(2), step=6, leg=2, step_s=2.0)
    lanes = views.legs_view(shown.state, shown, NOW + timedelta(minutes=9)).legs
    assert [(lane.status, lane.status_text) for lane in lanes] == [
        ("merged", "Merged"),
        ("running", "Step 2 of 4"),
    ]
    assert views.campaign_view(shown.state, shown, None).leg_text == "Leg 2 of 2"


@pytest.mark.parametrize(
    ("status", "lane", "text"), [("failed", "failed", "Failed"), ("interrupted", "held", "Interrupted")]
)
def test_a_leg_that_ended_early_says_how(status: str, lane: str, text: str) -> None:
    shown = campaign(*ONE_LEG, started(2), status=status, ended_at=NOW.isoformat())
    last = views.legs_view(shown.state, shown, NOW + timedelta(minutes=9)).legs[-1]
    assert (last.status, last.status_text) == (lane, text)


def test_a_merge_can_be_judged_once_the_campaign_has_ended() -> None:
    running, ended = campaign(*TWO_LEGS), campaign(*TWO_LEGS, status="completed", ended_at=NOW.isoformat())
    assert views.campaign_view(running.state, running, None).decidable == 0
    shown = views.campaign_view(ended.state, ended, None)
    assert (shown.decidable, shown.decided, shown.can_add) == (2, "merged", True)


def test_a_rejected_leg_is_told_so_and_the_adapter_is_the_one_before() -> None:
    shown = campaign(*ONE_LEG, started(2), merged(2, accepted=False), status="completed")
    assert views.legs_view(shown.state, shown, NOW).legs[1].status_text == "Not merged"
    assert views.campaign_view(shown.state, shown, None).product == "Merged adapter of leg 1"


def test_replay_and_decay_are_shown_before_the_start() -> None:
    legs = [
        LegPreview(planned(1, "billing", 2e-4), rows=40, replay_rows=0, held_out=4, steps=10),
        LegPreview(planned(2, "returns", 1e-4), rows=40, replay_rows=10, held_out=4, steps=10),
    ]
    assert [
        (leg.rows, leg.replay, leg.own_share, leg.rate, leg.rate_width) for leg in views.preview(legs)
    ] == [
        ("40", "", "80.0%", "2e-4", "100.0%"),
        ("40", "+ 10", "80.0%", "1e-4", "50.0%"),
    ]


def test_the_twin_names_each_file_and_each_changed_option() -> None:
    draft = {"model": "smollm2-135m", "replay_fraction": "0.25", "validation": "off"}
    assert views.command_twin(draft, ["/data/a.jsonl", "/data/b c.jsonl"]) == (
        "-d /data/a.jsonl -d '/data/b c.jsonl' -m smollm2-135m --replay-fraction 0.25 --no-validate"
    )
