"""The forget-meter as a grid: each cell carries sign, number and tone, so that no colour is needed to read it."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import panel
from backprop_app.components.icons import icon


def forget_meter(heat: Any) -> rx.Component:
    """Return the panel; `heat` is a var of `views.forget.Heat`."""
    head = rx.el.tr(
        rx.el.th(rx.el.span("After", class_name="sr")),
        rx.foreach(heat.columns, lambda name: rx.el.th(rx.el.span(name, class_name="ell"), scope="col")),
    )
    grid = rx.el.div(
        rx.el.table(
            rx.el.thead(head),
            rx.el.tbody(rx.foreach(heat.rows, _row)),
            class_name="heat",
            aria_label="Change of held-out loss against the base model",
        ),
        class_name="scroll",
    )
    legend = rx.el.div(
        rx.el.span(rx.el.span(class_name="sw better"), "better", class_name="row g6"),
        rx.el.span(rx.el.span(class_name="sw worse"), "worse", class_name="row g6"),
        rx.el.span(rx.el.span(class_name="sw taught"), "just taught", class_name="row g6"),
        rx.el.span(heat.note, class_name="grow r t3"),
        class_name="row g4 wrap sm t2 mt3",
    )
    nothing = rx.el.div(
        icon("clock"),
        rx.el.span("Nothing is measured yet. The base model is measured before the first leg."),
        class_name="note",
    )
    return panel(
        "Forget-meter",
        rx.el.div(
            rx.cond(heat.rows, rx.fragment(grid, legend), nothing),
            class_name="p",
        ),
        aside="held-out loss against the base model, lower is better",
    )


def _row(row: Any) -> rx.Component:
    return rx.el.tr(rx.el.th(row.label, scope="row"), rx.foreach(row.cells, _cell))


def _cell(cell: Any) -> rx.Component:
    tone = rx.Var.create("cell ") + cell.tone
    return rx.el.td(
        rx.el.div(
            cell.text,
            rx.el.span(cell.words, class_name="sr"),
            title=cell.words,
            class_name=rx.cond(cell.is_taught, tone + " taught", tone),
            style={"--k": cell.weight},
        )
    )
