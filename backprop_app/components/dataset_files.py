"""The list of data files, and the ways to add one: an upload, pasted rows, a data set of the hub."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import empty, field_error
from backprop_app.components.icons import icon
from backprop_app.components.local import Upload, link
from backprop_app.components.pickers import ACCEPT
from backprop_app.states.dataset import DatasetState
from backprop_app.states.dataset_fetch import DatasetFetchState
from backprop_app.states.dataset_work import DatasetWorkState


def add_actions() -> list[rx.Component]:
    """Return the buttons of the page head."""
    return [
        rx.el.button(
            icon("copy", "s"),
            "Paste rows",
            type="button",
            class_name="btn",
            aria_expanded=rx.cond(DatasetWorkState.shows_paste, "true", "false"),
            on_click=DatasetWorkState.toggle_paste,
        ),
        rx.el.button(
            icon("download", "s"),
            "From the hub",
            type="button",
            class_name="btn",
            aria_expanded=rx.cond(DatasetFetchState.is_open, "true", "false"),
            on_click=DatasetFetchState.toggle,
        ),
        Upload.create(
            icon("upload", "s"), accept=ACCEPT, label="Upload a file", on_done=DatasetState.open_path
        ),
    ]


def paste_panel() -> rx.Component:
    """Return the field for pasted rows."""
    form = rx.el.form(
        rx.el.span("Rows", class_name="label"),
        rx.el.textarea(
            name="rows",
            aria_label="Rows",
            class_name="area",
            placeholder='{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}',
            spell_check=False,
            auto_focus=True,
            max_length=100_000,
        ),
        rx.el.div("One JSON object per line, a JSON array, or plain text.", class_name="help"),
        field_error(DatasetWorkState.paste_error),
        rx.el.div(
            rx.el.div(
                rx.el.input(
                    name="name",
                    placeholder="Name",
                    aria_label="Name of the file",
                    max_length=60,
                    auto_complete="off",
                ),
                class_name="inp grow",
            ),
            rx.el.button("Keep as a file", type="submit", class_name="btn"),
            class_name="row mt3",
        ),
        on_submit=DatasetWorkState.paste,
        class_name="field",
    )
    return rx.cond(
        DatasetWorkState.shows_paste,
        rx.el.section(form, class_name="panel p", aria_label="Paste rows"),
        rx.fragment(),
    )


def hub_panel() -> rx.Component:
    """Return the form that fetches a data set of the hub."""
    fields = (
        ("repo", "Data set", "owner/name"),
        ("split", "Split", "train"),
        ("config", "Configuration", "the only one"),
        ("rows", "Rows", "all"),
    )
    start = rx.el.button("Fetch", type="submit", class_name="btn")
    busy = rx.el.div(
        rx.el.span(DatasetFetchState.done, class_name="sm t2 num grow", role="status"),
        rx.el.button("Cancel", type="button", class_name="btn sm", on_click=DatasetFetchState.give_up),
        class_name="row mt3",
    )
    form = rx.el.form(
        rx.el.div(*(_field(*field) for field in fields), class_name="grid pair stack"),
        rx.el.div(
            "Fetched by this machine into the app's folder, with the login of the Hugging Face tools.",
            class_name="help",
        ),
        field_error(DatasetFetchState.error),
        rx.cond(DatasetFetchState.is_fetching, busy, rx.el.div(start, class_name="row mt3")),
        on_submit=DatasetFetchState.fetch,
    )
    return rx.cond(
        DatasetFetchState.is_open,
        rx.el.section(form, class_name="panel p", aria_label="From the hub"),
        rx.fragment(),
    )


def _field(name: str, label: str, placeholder: str) -> rx.Component:
    box = rx.el.input(
        name=name, placeholder=placeholder, aria_label=label, auto_complete="off", max_length=200
    )
    return rx.el.div(
        rx.el.span(label, class_name="label"), rx.el.div(box, class_name="inp"), class_name="field"
    )


def file_list() -> rx.Component:
    """Return the table of files."""
    head = rx.el.tr(
        rx.el.th("File"),
        rx.el.th("Format", class_name="hide-s"),
        rx.el.th("Rows", class_name="r"),
        rx.el.th("Size", class_name="r"),
        rx.el.th("From", class_name="hide-s"),
    )
    table = rx.el.section(
        rx.el.div(
            rx.el.h2("Files"), rx.el.span(DatasetState.files_text, class_name="sm t3"), class_name="ptop"
        ),
        rx.el.table(
            rx.el.thead(head), rx.el.tbody(rx.foreach(DatasetState.files, _file)), aria_label="Data files"
        ),
        class_name="panel",
    )
    nothing = rx.el.div(
        empty("data", "No data yet", "Upload a file, or paste rows.", rx.fragment()), class_name="panel"
    )
    return rx.cond(DatasetState.files, table, rx.cond(DatasetState.is_loaded, nothing, rx.fragment()))


def _file(item: Any) -> rx.Component:
    problem = rx.cond(
        item.problem != "",
        rx.el.span(icon("alert", "s"), "not usable", class_name="chip danger", title=item.problem),
        rx.fragment(),
    )
    return rx.el.tr(
        rx.el.td(
            rx.el.span(link(item.name, to=item.href, class_name="rowlink"), problem, class_name="row"),
            class_name="firstwords",
        ),
        rx.el.td(item.layout, class_name="t2 hide-s"),
        rx.el.td(item.rows, class_name="r num"),
        rx.el.td(item.size, class_name="r t2 num"),
        rx.el.td(item.place, class_name="t3 hide-s"),
    )
