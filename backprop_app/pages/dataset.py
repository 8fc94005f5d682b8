"""The Dataset page: which files there are, and what exactly a model would learn from one of them."""

from __future__ import annotations

import reflex as rx

from backprop_app.components.basics import empty, page_head
from backprop_app.components.dataset_files import add_actions, file_list, hub_panel, paste_panel
from backprop_app.components.dataset_mask import microscope
from backprop_app.components.dataset_rows import figures, length_panel, rows_panel
from backprop_app.components.dataset_work import change_panel, report_panel, versions_panel
from backprop_app.components.icons import icon
from backprop_app.components.local import link
from backprop_app.layout import Twin, shell
from backprop_app.states.dataset import DatasetState
from backprop_app.states.dataset_work import DatasetWorkState


def dataset_page() -> rx.Component:
    """Return the page at `/dataset`."""
    return shell(
        rx.cond(DatasetState.path != "", _open_file(), _files()),
        active="Dataset",
        twin=Twin("backprop data", DatasetState.command),
    )


def _files() -> rx.Component:
    return rx.fragment(
        page_head("Dataset", "See exactly what a model would learn, before it does.", *add_actions()),
        paste_panel(),
        hub_panel(),
        file_list(),
    )


def _open_file() -> rx.Component:
    train = rx.el.button(
        icon("train"),
        "Train with this",
        type="button",
        class_name="btn pri",
        disabled=DatasetState.problem != "",
        on_click=DatasetState.train_on_this,
        custom_attrs={"data-key": "start"},
    )
    return rx.fragment(
        page_head(
            rx.el.h1(DatasetState.name, class_name="ell"),
            rx.el.p(DatasetState.lead, " ", DatasetWorkState.version_text),
            link(icon("left", "s"), "All files", to="/dataset", class_name="btn"),
            train,
        ),
        rx.cond(DatasetState.problem != "", _unusable(), rx.fragment()),
        rx.cond(
            DatasetState.has_rows,
            _body(),
            rx.cond(
                DatasetState.problem != "",
                rx.fragment(),
                rx.el.div("Reading the first rows", class_name="sm t2", role="status"),
            ),
        ),
    )


def _body() -> rx.Component:
    return rx.fragment(
        figures(),
        _choices(),
        rx.el.div(
            rx.el.div(length_panel(), rows_panel(), class_name="col g4"),
            microscope(),
            class_name="grid two data",
        ),
        rx.el.div(
            report_panel(),
            rx.el.div(change_panel(), versions_panel(), class_name="col g4"),
            class_name="grid two data work",
        ),
    )


def _choices() -> rx.Component:
    model = rx.el.select(
        rx.foreach(DatasetState.models, lambda item: rx.el.option(item.label, value=item.key)),
        value=DatasetState.model,
        aria_label="Tokens and template of",
        on_change=DatasetWorkState.choose_model,
    )
    length = rx.el.input(
        default_value=DatasetState.length,
        key=f"length-{DatasetState.revision}",
        aria_label="Cut at so many tokens",
        input_mode="numeric",
        max_length=9,
        on_blur=DatasetWorkState.set_length,
    )
    return rx.el.div(
        rx.el.span("Tokens and template of", class_name="sm t2"),
        rx.el.div(icon("model"), model, class_name="inp pick"),
        rx.el.span("cut at", class_name="sm t2"),
        rx.el.div(length, class_name="inp short"),
        rx.el.span("tokens", class_name="sm t2"),
        class_name="row wrap",
        role="group",
        aria_label="What decides over tokens and mask",
    )


def _unusable() -> rx.Component:
    return rx.el.div(
        empty(
            "alert",
            DatasetState.problem,
            DatasetState.problem_hint,
            link("All files", to="/dataset", class_name="btn"),
        ),
        class_name="panel",
        role="alert",
    )
