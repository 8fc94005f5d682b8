"""The card that says why a run ended badly, what helps and what is safe."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.icons import icon
from backprop_app.components.run_head import again_button, resume_button
from backprop_app.states.run import RunState

_VIEW = RunState.view


def failure_card() -> rx.Component:
    """Return the card."""
    what = rx.el.div(
        rx.el.div(
            rx.el.span(icon("alert", "l"), class_name="danger"),
            rx.el.div(
                rx.el.h2(RunState.failure.message),
                rx.el.p(RunState.failure.cause, " ", RunState.failure.hint, class_name="t2 mt1"),
                rx.el.div(
                    RunState.failure.code,
                    rx.cond(
                        RunState.failure.setting != "",
                        rx.fragment(" · ", RunState.failure.setting),
                        rx.fragment(),
                    ),
                    class_name="mono t2 mt2",
                ),
                class_name="grow",
            ),
            class_name="row g3 top",
        ),
        rx.el.div(
            rx.foreach(RunState.failure.fixes, _fix_row),
            _fix("Change the settings", "Opens Train with those of this run.", again_button()),
            class_name="fixes",
        ),
    )
    safe = rx.el.div(
        rx.el.h2("What is safe", class_name="small-title"),
        rx.el.div(
            rx.el.span(icon("check"), class_name="ok"),
            rx.el.div(
                rx.el.div(RunState.failure.safe_title),
                rx.el.div(RunState.failure.safe_text, class_name="sm t2"),
            ),
            class_name="row g3 top mt3",
        ),
    )
    log = rx.cond(
        RunState.log,
        rx.el.div(
            rx.el.h2("Last lines", class_name="small-title"),
            rx.el.div(rx.foreach(RunState.log, _log_line), class_name="logtail mt2"),
            class_name="foot",
        ),
        rx.fragment(),
    )
    return rx.el.section(
        rx.el.div(what, safe, class_name="body"), log, class_name="panel fail", aria_label="What went wrong"
    )


def _fix_row(fix: Any) -> rx.Component:
    css = rx.cond(fix.number == 0, "btn pri steady", "btn steady")
    start = rx.el.button(
        icon("play"),
        rx.cond(RunState.asked == "fix", "Starting", "Start anew"),
        type="button",
        class_name=css,
        aria_label=rx.Var.create("Start anew: ") + fix.title,
        aria_busy=RunState.asked == "fix",
        disabled=RunState.asked == "fix",
        on_click=RunState.start_fixed(fix.number),
    )
    title = rx.cond(
        fix.number == 0,
        rx.fragment(fix.title, " ", rx.el.span("least change", class_name="chip")),
        rx.fragment(fix.title),
    )
    return _fix(title, fix.effect, rx.cond(fix.is_resume, resume_button(css), start))


def _fix(title: Any, text: Any, button: rx.Component) -> rx.Component:
    return rx.el.div(
        rx.el.div(rx.el.div(title, class_name="m"), rx.el.div(text, class_name="sm t2"), class_name="grow"),
        button,
        class_name="row g3",
    )


def _log_line(line: Any) -> rx.Component:
    return rx.el.div(line)
