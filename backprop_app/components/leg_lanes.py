"""The legs of a campaign as lanes on one clock."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.icons import icon


def leg_lanes(timeline: Any) -> rx.Component:
    """Return the lanes with their axis; `timeline` is a var of `views.legs.Timeline`."""
    axis = rx.el.div(
        rx.el.span(),
        rx.el.span(),
        rx.el.span(),
        rx.el.span(
            rx.foreach(
                timeline.ticks,
                lambda tick: rx.el.span(
                    tick.text, class_name=rx.cond(tick.is_now, "t1", ""), style={"left": tick.left}
                ),
            ),
            class_name="axis num",
        ),
        rx.el.span(),
        class_name="lane ax sm t3",
        aria_hidden="true",
    )
    return rx.el.div(
        rx.el.div(rx.foreach(timeline.legs, _lane), role="list", aria_label="Legs"), axis, class_name="lanes"
    )


def _lane(leg: Any) -> rx.Component:
    bar = rx.match(
        leg.status,
        ("waiting", rx.el.i(class_name="todo", style={"left": leg.left, "width": leg.width})),
        (
            "running",
            rx.fragment(
                rx.el.i(class_name="plan", style={"left": leg.left, "width": leg.width}),
                rx.el.i(class_name="work", style={"left": leg.left, "width": leg.done}),
            ),
        ),
        ("failed", rx.el.i(class_name="bad", style={"left": leg.left, "width": leg.width})),
        rx.el.i(class_name="done", style={"left": leg.left, "width": leg.width}),
    )
    return rx.el.div(
        rx.el.span(leg.number, class_name="t3 num"),
        rx.el.span(leg.name, class_name="m ell", title=leg.name),
        rx.el.span(_state(leg)),
        rx.el.span(bar, class_name="track", aria_hidden="true"),
        rx.el.span(leg.took, class_name="r t2 sm num"),
        role="listitem",
        class_name="lane",
    )


def _state(leg: Any) -> rx.Component:
    return rx.match(
        leg.status,
        ("waiting", rx.el.span(icon("clock"), leg.status_text, class_name="st")),
        ("running", rx.el.span(rx.el.span(class_name="dot"), leg.status_text, class_name="pill live")),
        ("merged", rx.el.span(icon("check"), leg.status_text, class_name="st ok")),
        ("rejected", rx.el.span(icon("alert"), leg.status_text, class_name="st warn")),
        ("failed", rx.el.span(icon("cross"), leg.status_text, class_name="st danger")),
        rx.el.span(icon("stop"), leg.status_text, class_name="st"),
    )
