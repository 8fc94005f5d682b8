"""The head of a run's page: what it is, how it stands, and what can be asked of it."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import page_head
from backprop_app.components.dialogs import confirm
from backprop_app.components.icons import icon
from backprop_app.components.status import pill
from backprop_app.components.steering import pause_and_stop
from backprop_app.states.run import RunState
from backprop_app.states.train import TrainState

_VIEW = RunState.view
_MARKS = RunState.marks


def run_head() -> rx.Component:
    """Return the head of the page."""
    title = rx.el.div(rx.el.h1(_VIEW.name), pill(_VIEW.status), class_name="row g3 wrap")
    lead = rx.el.p(rx.el.span(_VIEW.about, class_name="ell"), _condition(), class_name="row g6 wrap")
    return page_head(title, lead, rx.cond(_VIEW.is_ended, _after(), _during()))


def _condition() -> rx.Component:
    """Return what holds the run up, what it does, or when it ended."""
    dot = rx.el.span("·", class_name="t3")
    safe = rx.el.span(
        dot, icon("moon", "s"), "Safe to close. The run is its own process.", class_name="row g6 t2 hide-s"
    )
    paused = rx.cond(
        _MARKS.waits_by_itself,
        rx.fragment("Paused, ", _VIEW.pause_reason, ". It goes on by itself."),
        rx.fragment("Waits after step ", _VIEW.step, " and keeps its memory."),
    )
    ended = rx.el.span(
        dot,
        _VIEW.ended,
        rx.cond(_VIEW.stop_text != "", rx.fragment(". ", _VIEW.stop_text), rx.fragment()),
        rx.cond(RunState.follow_up != "", rx.fragment(". ", RunState.follow_up), rx.fragment()),
        class_name="row g6 t2 wrap",
    )
    stalled = rx.el.span(dot, RunState.stall, class_name="row g6 warn wrap", role="status")
    return rx.cond(
        _VIEW.is_ended,
        ended,
        rx.cond(
            RunState.stall != "",
            stalled,
            rx.cond(
                _VIEW.is_paused,
                rx.el.span(dot, paused, class_name="row g6 warn"),
                rx.cond(
                    _VIEW.is_active & (_VIEW.phase != "") & ~_VIEW.has_steps,
                    rx.el.span(dot, _VIEW.phase, class_name="row g6 acc"),
                    safe,
                ),
            ),
        ),
    )


def _during() -> rx.Component:
    return pause_and_stop(
        asked=RunState.asked,
        is_paused=_VIEW.is_paused,
        can_pause=_VIEW.is_active & ~(_VIEW.is_paused & _MARKS.waits_by_itself),
        on_pause=RunState.toggle_pause,
        on_stop=RunState.ask_stop,
    )


def _after() -> rx.Component:
    """Return the buttons of a run that ended; a failure card has its own."""
    resume = rx.cond(_VIEW.can_resume, resume_button("btn steady"), rx.fragment())
    return rx.cond(RunState.failure.code != "", rx.fragment(), rx.fragment(resume, again_button()))


def resume_button(css: Any) -> rx.Component:
    """Return the button that lets the run go on from its newest checkpoint."""
    is_asked = RunState.asked == "resume"
    return rx.el.button(
        icon("play"),
        rx.cond(is_asked, "Resuming", "Resume"),
        type="button",
        class_name=css,
        aria_busy=is_asked,
        disabled=is_asked,
        on_click=RunState.request("resume"),
    )


def again_button() -> rx.Component:
    """Return the button that opens Train with the settings of the run."""
    return rx.el.button(
        icon("again"),
        "Use these settings again",
        type="button",
        class_name="btn",
        on_click=TrainState.use_again(_VIEW.run_id),
    )


def stop_dialog() -> rx.Component:
    """Return the question before the run is stopped."""
    return confirm(
        title=rx.Var.create("Stop ") + _VIEW.name + "?",
        text="It finishes its step, saves the adapter and ends. What it learned so far is kept.",
        keep="Keep running",
        act="Stop the run",
        is_open=RunState.asks_stop,
        on_close=RunState.cancel_stop,
        on_act=RunState.stop,
    )
