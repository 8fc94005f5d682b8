"""The card that tells on the Runs page what ended lately, with the button that asks for notifications."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import panel
from backprop_app.components.local import NotifyButton, link
from backprop_app.components.status import word
from backprop_app.states.night import NightState

_NIGHT: Any = NightState.night


def night_card() -> rx.Component:
    """Return the card; nothing when no run has ended yet."""
    head = rx.el.div(
        rx.el.h2("Last night"),
        rx.el.span(f"{_NIGHT.headline} · {_NIGHT.facts}", class_name="sm t2"),
        class_name="row g4 wrap",
    )
    acts = rx.el.div(
        NotifyButton.create(),
        rx.el.a(
            "Whole report", href="/api/report", target="_blank", rel="noopener", class_name="btn sm ghost"
        ),
        class_name="row",
    )
    table = rx.el.table(rx.el.tbody(rx.foreach(_NIGHT.runs, _row)), class_name="dense")
    return rx.cond(
        _NIGHT.runs,
        panel(
            head,
            rx.el.div(table, class_name="scroll"),
            aside=acts,
            aria_label="Last night",
        ),
        rx.fragment(),
    )


def _row(item: Any) -> rx.Component:
    curve = rx.cond(
        item.curve != "",
        rx.el.svg(
            rx.el.path(d=item.curve, class_name="curve"),
            rx.el.circle(cx=item.curve_end_x, cy=item.curve_end_y, r="2.2"),
            view_box="0 0 92 24",
            width="92",
            height="24",
            role="img",
            aria_label="Loss over steps",
        ),
        rx.fragment(),
    )
    return rx.el.tr(
        rx.el.td(link(item.name, to=f"/runs/{item.run_id}")),
        rx.el.td(word(item.status)),
        rx.el.td(curve, class_name="hide-s"),
        rx.el.td(item.loss, class_name="r m"),
        rx.el.td(item.took, class_name="r t2 hide-s"),
        rx.el.td(item.energy, class_name="r t2 hide-s hide-n"),
        rx.el.td(item.reason, class_name="t2 wrapcell hide-s"),
        rx.el.td(item.ended, class_name="r t3 hide-s"),
    )
