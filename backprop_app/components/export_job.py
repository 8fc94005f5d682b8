"""The export, proof or push that works now or ended last: progress, Cancel, and why it failed."""

from __future__ import annotations

import reflex as rx

from backprop_app.components.basics import panel
from backprop_app.components.dialogs import confirm
from backprop_app.components.icons import icon
from backprop_app.components.status import pill
from backprop_app.components.steering import cancel_button, job_failure, job_progress
from backprop_app.states.export import ExportState

_JOB = ExportState.job


def job_card() -> rx.Component:
    """Return the card of the job."""
    working = rx.fragment(
        job_progress(_JOB, "Export"),
        cancel_button(ExportState.is_stopping, ExportState.ask_cancel),
    )
    failed = rx.fragment(
        job_failure(_JOB),
        rx.el.button(
            icon("again"), "Try again", type="button", class_name="btn sm", on_click=ExportState.repeat
        ),
    )
    now = rx.match(_JOB.kind, ("proof", "Proving"), ("push", "Pushing"), "Exporting")
    last = rx.match(_JOB.kind, ("proof", "Last proof"), ("push", "Last push"), "Last export")
    return panel(
        rx.el.h2(rx.cond(_JOB.is_open, now, last)),
        rx.el.div(
            rx.el.div(_JOB.name, class_name="mono m wrapcell"),
            rx.cond(_JOB.is_open, working, rx.cond(_JOB.is_bad, failed, rx.fragment())),
            class_name="p col g3",
        ),
        aside=rx.el.span(pill(_JOB.status), aria_live="polite"),
    )


def export_dialog() -> rx.Component:
    """Return the confirmation of Cancel."""
    return confirm(
        title=rx.Var.create("Cancel ") + _JOB.name + "?",
        text=rx.match(
            _JOB.kind,
            ("proof", "The file stays, and so does its older proof."),
            ("push", "Nothing appears in the repository. The files here stay as they are."),
            "What is written so far is removed. The run and its adapter stay as they are.",
        ),
        keep=rx.match(_JOB.kind, ("proof", "Keep proving"), ("push", "Keep pushing"), "Keep exporting"),
        act=rx.match(
            _JOB.kind, ("proof", "Cancel the proof"), ("push", "Cancel the push"), "Cancel the export"
        ),
        is_open=ExportState.asks_cancel,
        on_close=ExportState.keep,
        on_act=ExportState.cancel,
    )
