"""The card "Did it help?": base against tuned on held-out rows, or the way to find out."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import bar, panel
from backprop_app.components.icons import icon
from backprop_app.components.status import badge
from backprop_app.states.judge import JudgeState

_VIEW = JudgeState.evaluation
_JOB = JudgeState.job


def eval_card() -> rx.Component:
    """Return the card."""
    has_result = _VIEW.tone != ""
    mark = rx.match(_VIEW.tone, ("ok", icon("check")), ("danger", icon("cross")), icon("alert"))
    return panel(
        "Did it help?",
        rx.cond(has_result, _result(), rx.fragment()),
        rx.cond(_JOB.is_open, _working(), _ask()),
        aside=rx.cond(
            has_result,
            rx.el.span(badge(_VIEW.tone, _VIEW.word, mark), aria_live="polite"),
            rx.el.span("base against tuned, on rows it never saw", class_name="sm t3"),
        ),
        aria_label="Did it help?",
    )


def _result() -> rx.Component:
    head = rx.el.tr(
        rx.el.th(_VIEW.about),
        rx.el.th(_VIEW.before, class_name="r"),
        rx.el.th(_VIEW.after, class_name="r"),
    )
    rows = rx.foreach(
        _VIEW.measures,
        lambda item: rx.el.tr(
            rx.el.td(
                rx.el.div(item.name, class_name="t2"),
                rx.cond(
                    item.gain != "",
                    rx.el.div("gain ", item.gain, class_name="sm t3 num wrapcell"),
                    rx.fragment(),
                ),
                class_name="wrapcell",
            ),
            rx.el.td(item.before, class_name="r"),
            rx.el.td(item.after, class_name="r m"),
        ),
    )
    flips = rx.cond(
        _VIEW.flips,
        rx.el.details(
            rx.el.summary("Rows that changed between right and wrong", class_name="m"),
            rx.foreach(_VIEW.flips, _flip),
            class_name="col g3",
        ),
        rx.fragment(),
    )
    return rx.fragment(
        rx.el.div(rx.el.div(_VIEW.cause, class_name="wrapcell"), class_name="p"),
        rx.el.div(
            rx.el.table(rx.el.thead(head), rx.el.tbody(rows), aria_label="Did it help?"), class_name="scroll"
        ),
        rx.el.div(
            flips,
            rx.el.div(_VIEW.moved, ". ", _VIEW.method, class_name="sm t3 wrapcell"),
            class_name="p col g3",
        ),
    )


def _flip(item: Any) -> rx.Component:
    return rx.el.div(
        rx.el.div(
            rx.cond(
                item.is_fixed,
                rx.el.span(icon("check", "s"), "right now", class_name="row g6 ok"),
                rx.el.span(icon("cross", "s"), "wrong now", class_name="row g6 danger"),
            ),
            rx.el.span(item.row, class_name="t3 num"),
            rx.el.span(item.question, class_name="grow wrapcell"),
            class_name="row g3",
        ),
        rx.el.div("was: ", item.before, class_name="sm t2 wrapcell"),
        rx.el.div("is: ", item.after, class_name="sm t2 wrapcell"),
        class_name="checkline",
    )


def _working() -> rx.Component:
    return rx.el.div(
        rx.el.div(
            rx.el.span(_JOB.phase, class_name="m"),
            rx.el.span(_JOB.percent, " %", class_name="t2 num"),
            class_name="row sp",
        ),
        rx.el.div(
            bar(f"{_JOB.percent}%"),
            role="progressbar",
            aria_label="Evaluation",
            aria_valuenow=_JOB.percent,
            aria_valuemin=0,
            aria_valuemax=100,
        ),
        rx.el.button(
            icon("stop", "s"),
            "Cancel",
            type="button",
            class_name="btn sm",
            on_click=JudgeState.stop_evaluation,
        ),
        class_name="foot col g3",
    )


def _ask() -> rx.Component:
    data = rx.el.div(
        rx.el.label("Held-out file", html_for="eval-data"),
        rx.el.div(
            rx.el.input(
                id="eval-data",
                default_value=JudgeState.data,
                placeholder=rx.cond(
                    JudgeState.held_out,
                    "the rows that this run held out",
                    "a file, by its path",
                ),
                auto_complete="off",
                max_length=500,
                on_change=JudgeState.set_data.debounce(300),
            ),
            class_name="inp",
        ),
        class_name="field grow",
    )
    button = rx.el.button(
        icon("check"),
        rx.cond(_VIEW.tone != "", "Evaluate again", "Evaluate"),
        type="button",
        class_name="btn",
        disabled=JudgeState.is_starting,
        aria_busy=JudgeState.is_starting,
        on_click=JudgeState.start_evaluation,
    )
    problem = rx.cond(
        JudgeState.problem != "",
        rx.el.div(icon("alert"), rx.el.span(JudgeState.problem), class_name="note danger", role="alert"),
        rx.fragment(),
    )
    return rx.el.div(problem, rx.el.div(data, button, class_name="row g3 wrap low"), class_name="foot col g3")
