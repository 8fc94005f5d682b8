"""The GGUF types side by side: exact size, bits per weight, time on this machine, quality."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import panel
from backprop_app.components.icons import icon
from backprop_app.states.export import ExportState


def type_table() -> rx.Component:
    """Return the table; one row is chosen."""
    head = rx.el.tr(
        rx.el.th("Type"),
        rx.el.th("Size", class_name="r"),
        rx.el.th("Bits", class_name="r hide-s"),
        rx.el.th("Time", class_name="r"),
        rx.el.th("Quality", class_name="hide-s hide-n"),
    )
    return panel(
        "Choose a type",
        rx.el.table(
            rx.el.thead(head),
            rx.el.tbody(rx.foreach(ExportState.types, _row)),
            class_name="dense",
            aria_label="GGUF types",
        ),
        aside=rx.cond(
            ExportState.is_measuring, "working out sizes and times", "times forecast for this machine"
        ),
    )


def _row(item: Any) -> rx.Component:
    is_chosen = ExportState.quantization == item.key
    name = rx.el.label(
        rx.el.input(
            type="radio",
            name="gguf-type",
            class_name="rb",
            checked=is_chosen,
            on_change=ExportState.choose_type(item.key),
        ),
        rx.el.span(item.key, class_name="mono m"),
        rx.cond(item.is_made, rx.el.span(icon("check", "s"), "made", class_name="st ok sm"), rx.fragment()),
        class_name="row g3 rowlabel",
    )
    return rx.el.tr(
        rx.el.td(name),
        rx.el.td(item.size, class_name="r m"),
        rx.el.td(item.bits, class_name="r t2 hide-s"),
        rx.el.td(item.time, class_name="r t2"),
        rx.el.td(
            item.quality,
            class_name=rx.cond(item.is_poor, "warn wrapcell hide-s hide-n", "t2 wrapcell hide-s hide-n"),
        ),
        class_name=rx.cond(is_chosen, "sel", ""),
    )
