"""The ring of the GPU or processor and its memory bar."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import bar

_RADIUS = 27


def ring(view: Any) -> rx.Component:
    """Return the load of `view` as a ring with the number inside; unknown is an empty ring."""
    circle = {"cx": 33, "cy": 33, "r": _RADIUS}
    return rx.el.div(
        rx.el.svg(
            rx.el.circle(**circle),
            rx.el.circle(**circle, class_name="v", custom_attrs={"strokeDasharray": view.ring}),
            view_box="0 0 66 66",
            aria_hidden="true",
        ),
        rx.el.span(view.busy_text, rx.el.small(view.busy_unit)),
        role="img",
        aria_label=view.strip_busy,
        class_name=rx.cond(view.is_gpu, "ring", "ring grey"),
    )


def machine_block(view: Any, pairs: Any) -> rx.Component:
    """Return the block of the rail: title, ring, figures, memory."""
    figures = rx.foreach(
        pairs,
        lambda pair: rx.el.div(
            rx.el.span(pair.label, class_name="t2"),
            rx.el.span(pair.value, rx.el.span(pair.aside, class_name="t3 n"), class_name="m num"),
            class_name="row sp sm",
        ),
    )
    return rx.el.section(
        rx.el.div(rx.el.h2(view.title), rx.el.span(view.index, class_name="sm t3"), class_name="row sp"),
        rx.el.div(ring(view), rx.el.div(figures, class_name="grow col"), class_name="row g4 mt2"),
        rx.el.div(
            rx.el.span(view.memory_label, class_name="t2"),
            rx.el.span(view.memory_used, rx.el.span(view.memory_of, class_name="t3 n"), class_name="m num"),
            class_name="row sp sm mt3",
        ),
        rx.el.div(
            bar(view.memory_width, rx.cond(view.is_gpu, "thick", "thick grey")),
            rx.cond(
                view.forecast_at != "",
                rx.el.i(class_name="forecast", style={"left": view.forecast_at}, title=view.memory_note),
                rx.fragment(),
            ),
            class_name="mt1 barbox",
        ),
        rx.el.div(
            rx.el.span(view.memory_note, class_name="t3"),
            rx.el.span(view.memory_free, class_name="t3"),
            class_name="row sp sm mt1",
        ),
        aria_label=view.title,
    )
