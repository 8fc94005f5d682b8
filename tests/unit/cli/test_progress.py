"""What a run says in one line, and when."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from backprop_core.events import types as ev
from backprop_core.runs.projection import RunState, apply
from backpropagate.cli.views import LiveView, PlainView, view_for
from backpropagate.progress import end_line, event_line, phase_line, step_line


def state(**values):
    base = {
        "run_id": "1" * 36,
        "folder": "/runs/1",
        "name": "night",
        "source": "cli",
        "model": "m",
        "dataset": "d",
        "created_at": "2025-01-01T00:00:00+00:00",
    }
    return RunState(**base | values)


def metrics(step, total=100):
    return ev.Metrics(
        step=step,
        total_steps=total,
        epoch=1.0,
        loss=2.0 / step,
        learning_rate=1e-4,
        grad_norm=1.0,
        tokens=1,
        supervised_tokens=1,
        tokens_per_s=812.4,
        step_s=0.5,
        memory_bytes=3 << 29,
    )


def event(seq, body):
    return ev.Event(seq, datetime(2025, 1, 1, tzinfo=UTC), float(seq), body)


def test_a_step_tells_loss_speed_time_left_and_memory():
    after = apply(state(status="running"), event(1, metrics(4)))
    assert step_line(after) == "step 4/100  loss 0.500  812 tokens/s  48\u00a0s left  1.5\u00a0GiB"


def test_a_loss_that_is_no_number_is_a_dash():
    assert "loss –" in step_line(state(step=1, total_steps=2))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("loading", "libraries"), "loading: libraries"),
        (("tokenizing", "", 50, 200), "reading the data, 25%"),
        (("downloading", "x", 93e6, 270e6), "downloading: x, 93\u00a0MB of 270\u00a0MB"),
        (("downloading", "x", 93e6, None), "downloading: x, 93\u00a0MB"),
        (("something new",), "something new"),
    ],
)
def test_a_phase_tells_how_far_it_is(arguments, line):
    assert phase_line(*arguments) == line


def test_steps_and_telemetry_are_no_lines_of_their_own():
    assert event_line(metrics(1)) is None
    assert event_line(ev.TelemetrySampled()) is None


def test_a_warning_says_that_it_is_one():
    assert event_line(ev.Notice(level="warning", message="3 rows cannot be used.")) == (
        "warning: 3 rows cannot be used."
    )


def test_a_split_batch_says_that_no_step_was_lost():
    assert event_line(ev.BatchSplit(step=3, before=8, after=4)) == (
        "out of memory at step 3: 8 rows became 4, no step was lost"
    )


def test_the_end_tells_status_steps_loss_and_time():
    ended = state(status="stopped", step=7, first_loss=2.0, loss=1.0, seconds=95.0)
    assert end_line(ended) == "stopped: 7 steps, loss 2.000 to 1.000, 1\u00a0m 35\u00a0s"


def plain_lines(*shown):
    out = io.StringIO()
    with PlainView(Console(file=out, soft_wrap=True)) as view:
        for now, events in shown:
            view.show(now, events)
    return out.getvalue().splitlines()


def test_plain_steps_are_told_at_most_once_in_two_seconds():
    first = apply(state(status="running"), event(1, metrics(1)))
    second = apply(first, event(2, metrics(2)))
    lines = plain_lines((first, [event(1, metrics(1))]), (second, [event(2, metrics(2))]))
    assert [line.split("  ")[0] for line in lines] == ["step 1/100"]


def test_the_last_plain_step_is_always_told():
    first = apply(state(status="running"), event(1, metrics(1)))
    last = apply(first, event(2, metrics(100))).model_copy(update={"status": "completed"})
    lines = plain_lines((first, [event(1, metrics(1))]), (last, [event(2, metrics(100))]))
    assert [line.split("  ")[0] for line in lines] == ["step 1/100", "step 100/100"]


def test_a_plain_phase_is_told_once_and_its_progress_not():
    begun = event(1, ev.PhaseChanged(phase="downloading", detail="x"))
    going = event(2, ev.PhaseChanged(phase="downloading", detail="x", done=1.0, total=2.0))
    assert plain_lines((state(), [begun]), (state(), [going])) == ["queued", "downloading: x"]


def test_text_that_looks_like_markup_stays_text():
    assert plain_lines((state(status="running"), [event(1, ev.Notice(message="[bold]x[/bold]"))])) == [
        "[bold]x[/bold]"
    ]


def test_a_pipe_gets_plain_lines_and_a_terminal_a_bar():
    assert isinstance(view_for(Console(file=io.StringIO())), PlainView)
    terminal = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    assert isinstance(view_for(terminal), LiveView)
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert isinstance(view_for(dumb), PlainView)


def test_the_bar_shows_the_newest_step_and_leaves_notices_above():
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=120, _environ={"TERM": "xterm"}, no_color=True)
    now = apply(state(status="running", phase="training"), event(1, metrics(4)))
    with LiveView(terminal) as view:
        view.show(now, [event(2, ev.Notice(message="careful"))])
    assert "step 4/100  loss 0.500" in out.getvalue()
    assert "careful" in out.getvalue()
