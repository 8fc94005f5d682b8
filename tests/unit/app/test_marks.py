"""What stands on the loss chart beside the curve."""

from __future__ import annotations

from datetime import UTC, datetime

from backprop_app.views.marks import marks_of
from backprop_core.events import types as ev

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
HEAT = "RUNTIME_GPU_TEMPERATURE_CRITICAL"


def events(*bodies: ev.Body) -> list[ev.Event]:
    return [ev.Event(seq, NOW, float(seq), body) for seq, body in enumerate(bodies, start=1)]


def saved(step: int) -> ev.CheckpointSaved:
    return ev.CheckpointSaved(step=step, path=f"checkpoints/step-{step}", size_bytes=10, seconds=0.1)


def judged(step: int, loss: float | None) -> ev.Evaluated:
    return ev.Evaluated(step=step, loss=loss, rows=4)


def test_a_step_evaluated_again_after_a_resume_counts_once_with_its_newest_loss() -> None:
    marks = marks_of(events(judged(10, 1.5), judged(20, 1.4), judged(10, 1.3)))
    assert marks.evaluations == [[10, 1.3], [20, 1.4]]


def test_an_evaluation_that_was_not_finite_is_no_point() -> None:
    assert marks_of(events(judged(10, None))).evaluations == []


def test_the_newest_evaluation_is_called_best_or_compared_with_the_best() -> None:
    assert marks_of(events(judged(10, 1.5), judged(1280, 1.25))).eval_note == "best so far"
    assert marks_of(events(judged(10, 1.25), judged(20, 1.5))).eval_note == "best 1.250"
    assert marks_of([]).eval_note == ""


def test_a_pause_ends_where_the_run_goes_on_and_an_open_one_where_it_began() -> None:
    paused = ev.RunPaused(step=5, reason="asked")
    marks = marks_of(events(paused, ev.RunContinued(step=5), ev.RunPaused(step=9, reason="asked")))
    assert marks.pauses == [[5, 5], [9, 9]]
    assert not marks.waits_by_itself


def test_a_pause_for_heat_goes_on_by_itself_until_it_has() -> None:
    hot = ev.RunPaused(step=5, reason="the card is hot", code=HEAT)
    assert marks_of(events(hot)).waits_by_itself
    assert not marks_of(events(hot, ev.RunContinued(step=5))).waits_by_itself
    assert not marks_of(events(hot, ev.RunStarted(attempt=2, pid=1))).waits_by_itself


def test_restarts_stand_at_the_step_they_went_on_from() -> None:
    marks = marks_of(events(saved(10), saved(20), ev.RunResumed(step=20, path="checkpoints/step-20")))
    assert (marks.checkpoints, marks.restarts) == ([10, 20], [20])
