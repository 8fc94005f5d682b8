import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_core.errors import RunError
from backprop_core.events import types as ev
from backprop_core.runs.projection import RunState, apply, apply_all, settle
from tests.support.fake_worker import metrics

NEW = RunState(
    run_id="0" * 36,
    folder="/r",
    name="n",
    source="cli",
    model="m",
    dataset="d",
    created_at="2026-01-01T00:00:00+00:00",
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def journal(*bodies):
    return [ev.Event(n, START + timedelta(seconds=n), float(n), body) for n, body in enumerate(bodies, 1)]


FULL = journal(
    ev.RunStarted(attempt=1, pid=3, process_token="t", device="cpu"),
    ev.PhaseChanged(phase="loading", detail="m", done=1, total=2),
    metrics(1, 3),
    metrics(2, 3),
    ev.CheckpointSaved(step=2, path="checkpoints/step-2", size_bytes=1, seconds=0.1),
    metrics(3, 3),
    ev.RunCompleted(step=3, artifact="adapter", seconds=4.0),
)


def test_a_whole_journal_gives_the_end_state():
    state = apply_all(NEW, FULL)
    assert (state.status, state.step, state.loss, state.first_loss) == ("completed", 3, 2.0 / 3, 2.0)
    assert (state.seconds, state.artifact, state.checkpoint_step) == (4.0, "adapter", 2)


@given(st.lists(st.integers(min_value=0, max_value=len(FULL) - 1), max_size=20))
def test_applying_events_again_in_any_order_changes_nothing(indices):
    state = apply_all(NEW, FULL)
    assert apply_all(state, [FULL[index] for index in indices]) == state


def test_a_run_without_a_worker_and_without_a_last_word_is_interrupted():
    state = settle(apply_all(NEW, FULL[:4]), "2026-01-02T00:00:00+00:00")
    assert (state.status, state.error["code"]) == ("interrupted", "RUNTIME_TRAINING_ABORTED")
    assert state.ended_at == FULL[3].ts.isoformat(timespec="milliseconds")


@pytest.mark.parametrize("status", ["queued", "completed", "stopped", "failed"])
def test_settling_leaves_other_states_alone(status):
    state = NEW.model_copy(update={"status": status})
    assert settle(state, "now") == state


def test_a_second_attempt_clears_the_error_of_the_first():
    failed = apply_all(
        NEW,
        journal(
            ev.RunStarted(attempt=1, pid=3), ev.RunFailed(step=0, error=RunError("INTERNAL", "x").record())
        ),
    )
    assert failed.error is not None
    again = apply(failed, ev.Event(3, START, 3.0, ev.RunStarted(attempt=2, pid=4)))
    assert (again.status, again.attempt, again.error, again.ended_at) == ("running", 2, None, None)


def test_a_pause_and_its_end():
    paused = apply_all(NEW, journal(ev.RunStarted(attempt=1, pid=3), ev.RunPaused(step=1, reason="asked")))
    assert (paused.status, paused.pause_reason) == ("paused", "asked")
    assert apply(paused, ev.Event(3, START, 3.0, ev.RunContinued(step=1))).status == "running"


def test_the_time_left_comes_from_the_newest_step():
    state = apply_all(NEW, FULL[:3])
    assert state.remaining_s == pytest.approx(0.1)
    assert apply_all(NEW, FULL).remaining_s is None


def test_a_clock_that_jumps_changes_neither_order_nor_the_time_left():
    day = timedelta(days=1)
    steady, jumped = NEW, NEW
    for number, event in enumerate(FULL, 1):
        away = {0: timedelta(), 1: -day, 2: 365 * day}[number % 3]
        steady = apply(steady, event)
        jumped = apply(jumped, dataclasses.replace(event, ts=event.ts + away))
    clock = {"updated_at", "started_at", "ended_at"}
    assert jumped.model_dump(exclude=clock) == steady.model_dump(exclude=clock)
    assert jumped.remaining_s == steady.remaining_s
