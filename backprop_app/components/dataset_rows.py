"""Left half of an open data file: lengths as a histogram, and pages of rows."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import figure, panel, segmented
from backprop_app.components.icons import icon
from backprop_app.states.dataset import DatasetState
from backprop_app.views.dataset import FILTERS
from backprop_app.views.dataset_report import PLOT_HEIGHT, PLOT_WIDTH

_LENGTHS = DatasetState.lengths


def figures() -> rx.Component:
    """Return the strip of six figures."""
    view = DatasetState.figures
    return rx.el.div(
        figure("Rows", view.rows, "", view.rows_note),
        figure("Tokens", view.tokens, view.tokens_unit, view.tokens_note),
        figure("Carry loss", view.loss, rx.cond(view.loss != "–", "%", ""), view.loss_note),
        figure("Too long", view.long, rx.cond(view.long != "–", "rows", ""), view.long_note),
        figure("Duplicates", view.repeats, "", view.repeats_note),
        figure("Leaks", view.leaks, "", view.leaks_note),
        class_name="figs",
    )


def length_panel() -> rx.Component:
    """Return the histogram of tokens per row."""
    bars = rx.el.svg(
        rx.foreach(DatasetState.bars, _bar),
        view_box=f"0 0 {PLOT_WIDTH:.0f} {PLOT_HEIGHT:.0f}",
        custom_attrs={"preserveAspectRatio": "none"},
        role="img",
        aria_label=_LENGTHS.summary,
    )
    cut = rx.cond(
        _LENGTHS.cut_x != "",
        rx.el.div(
            _LENGTHS.cut,
            rx.el.br(),
            _LENGTHS.cut_note,
            class_name=rx.cond(_LENGTHS.cut_flips, "cutline flip", "cutline"),
            style={"left": _LENGTHS.cut_x},
        ),
        rx.fragment(),
    )
    axis = rx.el.div(
        rx.el.span("0"),
        rx.el.span(_LENGTHS.middle),
        rx.el.span(_LENGTHS.last),
        class_name="ax",
        aria_hidden="true",
    )
    return rx.cond(
        DatasetState.bars,
        panel(
            "Length",
            rx.el.div(rx.el.div(bars, cut, class_name="plotbox"), axis, class_name="hist"),
            aside=_LENGTHS.lead,
        ),
        rx.fragment(),
    )


def _bar(item: Any) -> rx.Component:
    return rx.el.svg.rect(
        rx.el.svg.title(item.title),
        x=item.x,
        y=item.y,
        width=item.width,
        height=item.height,
        class_name=item.css,
    )


def rows_panel() -> rx.Component:
    """Return the table of rows with its filter and its pages."""
    head = rx.el.tr(
        rx.el.th("Row", class_name="r"),
        rx.el.th("First words"),
        rx.el.th("Tokens", class_name="r"),
        rx.el.th("Learns", class_name="r"),
    )
    table = rx.el.table(
        rx.el.thead(head),
        rx.el.tbody(rx.foreach(DatasetState.rows, _row)),
        class_name="dense",
        aria_label="Rows",
    )
    none = rx.el.div("No row is of this kind.", class_name="p sm t2")
    return panel(
        "Rows",
        rx.cond(DatasetState.rows, table, none),
        _pages(),
        aside=segmented("Rows shown", DatasetState.rows_filter, FILTERS, DatasetState.choose_filter),
    )


def _row(item: Any) -> rx.Component:
    flag = rx.cond(
        item.flag != "",
        rx.el.span(item.flag, class_name=rx.Var.create("chip ") + item.tone),
        rx.fragment(),
    )
    is_selected = item.index == DatasetState.selected
    name = rx.el.button(
        item.words,
        type="button",
        class_name="rowlink ell",
        aria_label=rx.Var.create("Row ") + item.number,
        aria_current=rx.cond(is_selected, "true", "false"),
        on_click=DatasetState.choose_row(item.index),
    )
    return rx.el.tr(
        rx.el.td(item.number, class_name="r t3 num"),
        rx.el.td(rx.el.span(name, flag, class_name="row"), class_name="firstwords"),
        rx.el.td(item.tokens, class_name="r num"),
        rx.el.td(item.learns, class_name="r t2 num"),
        class_name=rx.cond(is_selected, "sel", ""),
    )


def _pages() -> rx.Component:
    jump = rx.el.form(
        rx.el.div(
            rx.el.input(
                name="row",
                placeholder="Row",
                aria_label="Go to row",
                input_mode="numeric",
                auto_complete="off",
                max_length=12,
                custom_attrs={"data-key": "search"},
            ),
            class_name="inp short",
        ),
        on_submit=DatasetState.go_to_row,
        reset_on_submit=True,
    )
    return rx.el.div(
        rx.el.span(DatasetState.rows_text, class_name="sm t2 num"),
        rx.el.div(
            jump,
            _turn_page("Earlier", DatasetState.page == 0, DatasetState.page - 1),
            _turn_page("Later", ~DatasetState.has_more, DatasetState.page + 1),
            class_name="row",
        ),
        class_name="foot row sp",
    )


def _turn_page(word: str, is_off: Any, page: Any) -> rx.Component:
    mark = icon("left" if word == "Earlier" else "right", "s")
    return rx.el.button(
        mark,
        type="button",
        class_name="btn sm ic",
        aria_label=f"{word} rows",
        disabled=is_off,
        on_click=DatasetState.go_to_page(page),
    )
