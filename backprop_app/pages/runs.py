"""The list of runs: search, filter, a small curve, one row per run."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import empty, page_head, segmented
from backprop_app.components.icons import icon
from backprop_app.components.local import link
from backprop_app.components.status import word
from backprop_app.layout import Twin, shell
from backprop_app.states.runs import RunsState


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
        rx.fragment(_table(), _pages()),
        rx.cond(RunsState.is_loaded, _nothing(), rx.fragment()),
    )
    return shell(
        page_head("Runs", lead, search, status),
        body,
        active="Runs",
        twin=Twin("backprop list-runs", ""),
    )


def _table() -> rx.Component:
    head = rx.el.tr(
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
        rx.el.table(rx.el.thead(head), rx.el.tbody(rx.foreach(RunsState.items, _row))),
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
    return rx.el.tr(
        rx.el.td(
            link(item.name, to=f"/runs/{item.run_id}", class_name="rowlink"),
            rx.el.span(item.short_id, class_name="mono t3 hide-s idcell"),
        ),
        rx.el.td(word(item.status)),
        rx.el.td(item.model, class_name="t2 hide-s hide-n"),
        rx.el.td(curve, class_name="hide-s"),
        rx.el.td(item.loss, class_name="r m"),
        rx.el.td(item.took, class_name="r t2 hide-s"),
        rx.el.td(item.source, class_name="t2 hide-s hide-n"),
        rx.el.td(item.started, class_name="r t3 hide-s"),
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
