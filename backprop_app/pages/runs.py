"""The list of runs: search, filter, a small curve, one row per run; two selected ones are compared."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import empty, page_head, segmented
from backprop_app.components.icons import icon
from backprop_app.components.local import CompareChart, link
from backprop_app.components.night_card import night_card
from backprop_app.components.queue_panel import queue_panel
from backprop_app.components.status import word
from backprop_app.layout import Twin, shell
from backprop_app.states.compare import CompareState
from backprop_app.states.runs import RunsState

_SELECTED: Any = CompareState.selected
_NAMES: Any = CompareState.names
_COMPARED = _NAMES.length() == 2


def runs_page() -> rx.Component:
    """Return the page at `/runs`."""
    lead = rx.el.p(
        RunsState.total,
        rx.cond(RunsState.total == 1, " run", " runs"),
        ", from the page, the command line and Python.",
    )
    search = rx.el.div(
        icon("search"),
        rx.el.input(
            placeholder="Name, model, id",
            aria_label="Search runs",
            type="search",
            default_value=RunsState.search,
            key=f"search-{RunsState.resets}",
            on_change=RunsState.set_search.debounce(200),
            max_length=100,
            custom_attrs={"data-key": "search"},
        ),
        class_name="inp search",
    )
    choices = (("all", "All"), ("running", "Running"), ("failed", "Failed"))
    status = segmented("Status", RunsState.status_filter, choices, RunsState.choose_filter)
    body = rx.cond(
        RunsState.items,
        rx.fragment(_table(), _pages(), _hint(), _comparison(), night_card()),
        rx.cond(RunsState.is_loaded, _nothing(), rx.fragment()),
    )
    return shell(
        page_head("Runs", lead, search, status),
        queue_panel(),
        body,
        active="Runs",
        twin=Twin(rx.cond(_COMPARED, "backprop diff-runs", "backprop list-runs"), _NAMES.join(" ")),
    )


def _table() -> rx.Component:
    head = rx.el.tr(
        rx.el.th(rx.el.span("Compare", class_name="sr"), class_name="hide-s cbcell"),
        rx.el.th("Run"),
        rx.el.th("Status"),
        rx.el.th("Model", class_name="hide-s hide-n"),
        rx.el.th("Curve", class_name="hide-s"),
        rx.el.th("Loss", class_name="r"),
        rx.el.th("Time", class_name="r hide-s"),
        rx.el.th("From", class_name="hide-s hide-n"),
        rx.el.th("Started", class_name="r hide-s"),
    )
    return rx.el.div(
        rx.el.table(rx.el.thead(head), rx.el.tbody(rx.foreach(RunsState.items, _row)), aria_label="Runs"),
        class_name="panel scroll",
    )


def _row(item: Any) -> rx.Component:
    curve = rx.cond(
        item.curve != "",
        rx.el.svg(
            rx.el.path(d=item.curve, class_name=item.curve_class),
            rx.el.circle(cx=item.curve_end_x, cy=item.curve_end_y, r="2.2"),
            view_box="0 0 92 24",
            width="92",
            height="24",
            role="img",
            aria_label="Loss over steps",
        ),
        rx.el.span("–", class_name="t3"),
    )
    is_selected = _SELECTED.contains(item.run_id)
    select = rx.el.input(
        type="checkbox",
        checked=is_selected,
        on_change=CompareState.toggle(item.run_id),
        aria_label=f"Compare {item.name} {item.short_id}",
        class_name="cb",
        custom_attrs={"data-key": "select"},
    )
    return rx.el.tr(
        rx.el.td(select, class_name="hide-s cbcell"),
        rx.el.td(
            link(item.name, to=item.href, class_name="rowlink"),
            rx.el.span(item.short_id, class_name="mono t3 hide-s idcell"),
        ),
        rx.el.td(word(item.status)),
        rx.el.td(item.model, class_name="t2 hide-s hide-n"),
        rx.el.td(curve, class_name="hide-s"),
        rx.el.td(item.loss, class_name="r m"),
        rx.el.td(item.took, class_name="r t2 hide-s"),
        rx.el.td(item.source, class_name="t2 hide-s hide-n"),
        rx.el.td(item.started, class_name="r t3 hide-s"),
        class_name=rx.cond(is_selected, "sel", ""),
    )


def _hint() -> rx.Component:
    return rx.cond(
        _SELECTED.length() == 1,
        rx.el.p("Select another run to compare the two.", class_name="sm t2 hide-s", role="status"),
        rx.fragment(),
    )


def _comparison() -> rx.Component:
    legend = rx.el.div(
        rx.el.h2("Compare 2 runs"),
        rx.el.span(
            rx.el.i(class_name="key"), rx.el.span(_NAMES[0], class_name="mono"), class_name="row g6 sm t2"
        ),
        rx.el.span(
            rx.el.i(class_name="key eval dashed"),
            rx.el.span(_NAMES[1], class_name="mono"),
            class_name="row g6 sm t2",
        ),
        class_name="row g4 wrap",
    )
    clear = rx.el.button("Clear", type="button", class_name="btn sm ghost", on_click=CompareState.clear)
    chart = CompareChart.create(
        first=CompareState.first, second=CompareState.second, streams=CompareState.compared, names=_NAMES
    )
    head = rx.el.tr(
        rx.el.th(CompareState.settings_text),
        rx.el.th(_NAMES[0], class_name="mono"),
        rx.el.th(_NAMES[1], class_name="mono"),
    )
    table = rx.el.table(
        rx.el.thead(head),
        rx.el.tbody(
            rx.foreach(CompareState.settings, _difference), rx.foreach(CompareState.results, _difference)
        ),
        class_name="dense",
    )
    return rx.cond(
        _COMPARED,
        rx.el.section(
            rx.el.div(legend, clear, class_name="ptop"),
            rx.el.div(
                rx.el.div(chart, class_name="chead"),
                rx.el.div(table, class_name="scroll beside"),
                class_name="grid two flat",
            ),
            class_name="panel",
            aria_label="Comparison",
        ),
        rx.fragment(),
    )


def _difference(item: Any) -> rx.Component:
    return rx.el.tr(
        rx.el.td(item.label, class_name="t2"),
        rx.el.td(item.first, class_name="num wrapcell"),
        rx.el.td(item.second, class_name="num wrapcell"),
    )


def _pages() -> rx.Component:
    return rx.cond(
        RunsState.pages > 1,
        rx.el.div(
            rx.el.span(f"Page {RunsState.page + 1} of {RunsState.pages}", class_name="sm t2 num"),
            rx.el.div(
                rx.el.button(
                    "Newer",
                    type="button",
                    class_name="btn sm",
                    disabled=RunsState.page == 0,
                    on_click=RunsState.go_to_page(RunsState.page - 1),
                ),
                rx.el.button(
                    "Older",
                    type="button",
                    class_name="btn sm",
                    disabled=RunsState.page + 1 >= RunsState.pages,
                    on_click=RunsState.go_to_page(RunsState.page + 1),
                ),
                class_name="row",
            ),
            class_name="row sp",
        ),
        rx.fragment(),
    )


def _nothing() -> rx.Component:
    first = empty(
        "runs",
        "No runs yet",
        "The first one takes a few minutes on a processor.",
        link("Train the example", to="/", class_name="btn"),
    )
    none_found = empty(
        "search",
        "No run matches",
        "Another word, or all states, may find it.",
        rx.el.button("Show all", type="button", class_name="btn", on_click=RunsState.show_all),
    )
    return rx.el.div(rx.cond(RunsState.total == 0, first, none_found), class_name="panel")
