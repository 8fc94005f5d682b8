"""The curves of a run's page, with their controls and their numbers as a table."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import empty, segmented
from backprop_app.components.local import Chart, PointTable
from backprop_app.states.run import RunState

_VIEW = RunState.view
_MARKS = RunState.marks
_COLUMNS = {"loss": 2, "learning_rate": 3, "grad_norm": 4, "tokens_per_s": 5}
_LAST_STEPS = 500


def loss_panel() -> rx.Component:
    """Return the panel of the loss."""
    legend = rx.el.div(
        rx.el.h2(rx.cond(_VIEW.is_bad, "Loss until then", "Loss")),
        rx.el.span(rx.el.i(class_name="key"), "train", class_name="row g6 sm t2"),
        rx.cond(
            _MARKS.evaluations,
            rx.el.span(rx.el.i(class_name="key eval"), "evaluation", class_name="row g6 sm t2"),
            rx.fragment(),
        ),
        rx.el.span(rx.el.i(class_name="key tick"), "checkpoint", class_name="row g6 sm t2 hide-s"),
        rx.cond(
            _MARKS.pauses,
            rx.el.span(rx.el.i(class_name="key band"), "pause", class_name="row g6 sm t2 hide-s"),
            rx.fragment(),
        ),
        class_name="row g4",
    )
    chart = _chart(
        "loss",
        "loss",
        "Training loss, smoothed",
        smooth=RunState.smooth,
        log=RunState.is_log,
        window=rx.cond(RunState.last_only, _LAST_STEPS, 0),
        marks=_MARKS,
        failed=_VIEW.is_bad,
    )
    waiting = empty(
        "train",
        rx.cond(
            _VIEW.phase != "", _VIEW.phase, rx.cond(_VIEW.is_waiting, "Waiting for its turn", "No step yet")
        ),
        rx.cond(
            _VIEW.is_ended,
            "The run ended before its first step.",
            "The first point appears after the first step.",
        ),
        rx.fragment(),
    )
    return rx.el.section(
        rx.el.div(legend, rx.cond(_VIEW.has_steps, _chart_controls(), rx.fragment()), class_name="ptop"),
        rx.cond(_VIEW.has_steps, rx.fragment(rx.el.div(chart, class_name="chead"), _points()), waiting),
        class_name="panel",
        aria_label="Loss",
    )


def small_charts() -> rx.Component:
    """Return the three small charts."""
    return rx.el.div(
        _mini("Learning rate", "learning_rate", _VIEW.learning_rate),
        _mini("Gradient norm", "grad_norm", _VIEW.grad_norm),
        _mini("Tokens per second", "tokens_per_s", _VIEW.tokens_per_s),
        class_name="grid three",
    )


def _chart(variant: str, name: str, summary: str, **props: Any) -> rx.Component:
    return Chart.create(
        chunk=RunState.chunk,
        stream=_VIEW.run_id,
        variant=variant,
        column=_COLUMNS[name],
        total=_VIEW.total_steps,
        summary=summary,
        **props,
    )


def _chart_controls() -> rx.Component:
    return rx.el.div(
        rx.el.label(
            "Smooth",
            rx.el.input(
                type="range",
                min="0",
                max="99",
                default_value="90",
                class_name="range",
                on_change=RunState.set_smooth.throttle(100),
            ),
            class_name="row sm t2 hide-s",
        ),
        segmented(
            "Scale",
            _key(RunState.is_log, "log", "linear"),
            (("linear", "Linear"), ("log", "Log")),
            RunState.choose_scale,
        ),
        segmented(
            "Steps",
            _key(RunState.last_only, "last", "all"),
            (("all", "All"), ("last", "Last 500")),
            RunState.choose_span,
        ),
        class_name="row wrap",
    )


def _points() -> rx.Component:
    return PointTable.create(chunk=RunState.chunk, stream=_VIEW.run_id, marks=_MARKS)


def _key(condition: Any, yes: str, no: str) -> Any:
    return rx.cond(condition, yes, no)


def _mini(label: str, name: str, value: Any) -> rx.Component:
    return rx.el.section(
        rx.el.div(
            rx.el.span(label, class_name="lab"), rx.el.span(value, class_name="m num"), class_name="row sp"
        ),
        _chart("mini", name, label),
        class_name="panel p small",
        aria_label=label,
    )
