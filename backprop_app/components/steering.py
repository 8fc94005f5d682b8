"""What can be asked of work that goes on: the buttons Pause and Stop, and the progress of a job with Cancel."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import bar
from backprop_app.components.icons import icon


def pause_and_stop(
    *, asked: Any, is_paused: Any, can_pause: Any, on_pause: Any, on_stop: Any
) -> rx.Component:
    """Return the two buttons; they say what was asked for until it has happened.

    Args:
        asked: the wish that is on its way: `pause`, `continue`, `stop` or nothing.
    """
    is_going_on = is_paused | (asked == "pause")
    words = rx.match(
        asked, ("pause", "Pausing"), ("continue", "Going on"), rx.cond(is_paused, "Go on", "Pause")
    )
    pause = rx.el.button(
        rx.cond(is_going_on, icon("play"), icon("pause")),
        words,
        type="button",
        class_name="btn steady",
        aria_busy=(asked == "pause") | (asked == "continue"),
        aria_keyshortcuts="p",
        title=rx.cond(is_going_on, "Go on (p)", "Pause after this step (p)"),
        on_click=on_pause,
        custom_attrs={"data-key": "pause"},
    )
    stop = rx.el.button(
        icon("stop"),
        rx.cond(asked == "stop", "Stopping", "Stop"),
        type="button",
        class_name="btn dng steady",
        aria_busy=asked == "stop",
        disabled=asked == "stop",
        on_click=on_stop,
    )
    return rx.fragment(rx.cond(can_pause, pause, rx.fragment()), stop)


def job_progress(job: Any, label: str) -> rx.Component:
    """Return phase, percentage and bar of a job that works."""
    return rx.fragment(
        rx.el.div(
            rx.el.span(job.phase, class_name="m"),
            rx.el.span(job.percent_text, class_name="t2 num"),
            class_name="row sp",
        ),
        rx.el.div(
            bar(f"{job.percent}%"),
            role="progressbar",
            aria_label=label,
            aria_valuenow=job.percent,
            aria_valuemin=0,
            aria_valuemax=100,
        ),
    )


def cancel_button(is_stopping: Any, on_cancel: Any) -> rx.Component:
    """Return the button that gives a job up."""
    return rx.el.button(
        icon("stop"),
        rx.cond(is_stopping, "Cancelling", "Cancel"),
        type="button",
        class_name="btn sm dng",
        disabled=is_stopping,
        aria_busy=is_stopping,
        on_click=on_cancel,
    )


def job_failure(job: Any) -> rx.Component:
    """Return why a job failed, with its code and the next step."""
    return rx.el.div(
        icon("alert"),
        rx.el.div(
            rx.el.div(job.message, class_name="t1"),
            rx.el.div(job.hint, class_name="wrapcell"),
            rx.el.div(job.code, class_name="mono t3"),
        ),
        class_name="note danger",
        role="alert",
    )
