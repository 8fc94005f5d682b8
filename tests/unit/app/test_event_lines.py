"""Events as lines of the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backprop_app.views.events import newest_first
from backprop_core.events import types as ev

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)


def saved(step: int) -> ev.CheckpointSaved:
    return ev.CheckpointSaved(step=step, path="x", size_bytes=59_000_000, seconds=0.1)


def lines(*bodies: ev.Body) -> list[str]:
    events = [
        ev.Event(seq, NOW + timedelta(minutes=seq), float(seq), body) for seq, body in enumerate(bodies)
    ]
    shown = newest_first(events, "plain", (), UTC, 10)
    return [f"{line.clock} {line.noun}{line.fact}" for line in shown]


def test_checkpoints_in_a_row_are_one_line_with_their_number() -> None:
    assert lines(saved(5), saved(10), ev.PhaseChanged(phase="training"), saved(15)) == [
        "02:03 Checkpoint step 15 saved, 3 so far"
    ]


def test_one_checkpoint_tells_its_size() -> None:
    assert lines(saved(5)) == ["02:00 Checkpoint step 5 saved, 59\u00a0MB"]


def test_another_line_between_checkpoints_keeps_them_apart_and_the_number_goes_on() -> None:
    judged = ev.Evaluated(step=10, loss=1.5, rows=4)
    assert lines(saved(5), saved(10), judged, saved(15), saved(20)) == [
        "02:04 Checkpoint step 20 saved, 4 so far",
        "02:02 Evaluation 1.500 at step 10",
        "02:01 Checkpoint step 10 saved, 2 so far",
    ]


def test_a_checkpoint_saved_again_after_a_resume_counts_once() -> None:
    assert lines(saved(5), saved(5)) == ["02:01 Checkpoint step 5 saved, 1 so far"]


def test_legs_and_merges_are_told() -> None:
    begun = ev.LegStarted(
        leg=2,
        legs=3,
        name="returns",
        first_step=4,
        steps=4,
        learning_rate=1e-4,
        rows=8,
        replay_rows=0,
        held_out=1,
    )
    kept = ev.LegMerged(leg=2, mode="slao", weight=0.7071, is_accepted=True, path="x", seconds=0.1)
    refused = kept.model_copy(update={"is_accepted": False, "reason": "billing lost 0.4"})
    assert lines(begun, kept, refused) == [
        "02:02 Not merged: leg 2, billing lost 0.4",
        "02:01 Merged leg 2, weight 0.707",
        "02:00 Leg 2 returns started",
    ]
