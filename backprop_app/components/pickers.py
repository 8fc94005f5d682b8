"""The two choices of the Train page: a base model and a data file, from a list or typed."""

from __future__ import annotations

from typing import Any, Final

import reflex as rx

from backprop_app.components.basics import field_error
from backprop_app.components.icons import icon
from backprop_app.components.local import Upload, link
from backprop_app.states.train import TrainState

ACCEPT: Final = ".jsonl,.ndjson,.json,.csv,.tsv,.parquet,.txt,.md,.gz"


def model_field() -> rx.Component:
    """Return the field of the base model."""
    picker = _picker(
        mark="model",
        label="Model",
        shown=TrainState.choice.model,
        field="model",
        options=TrainState.models,
        placeholder="Hub id or folder",
    )
    note = rx.el.div(TrainState.choice.model_note, class_name="help")
    return _field("Model", picker, note, "model")


def data_field() -> rx.Component:
    """Return the field of the data file."""
    picker = _picker(
        mark="data",
        label="Data",
        shown=TrainState.choice.data,
        field="dataset",
        options=TrainState.data,
        placeholder="Path below a folder of the app",
        extra=Upload.create(
            icon("upload", "s"), accept=ACCEPT, label="Upload a file", on_done=TrainState.uploaded
        ),
    )
    note = rx.el.div(
        rx.el.span(TrainState.choice.data_note),
        rx.cond(
            TrainState.choice.data_href != "",
            link("See the mask", to=TrainState.choice.data_href),
            rx.fragment(),
        ),
        class_name="help row sp",
    )
    return _field("Data", picker, note, "dataset")


def _field(label: str, picker: rx.Component, note: rx.Component, name: str) -> rx.Component:
    error = TrainState.errors.get(name, "")
    return rx.el.div(
        rx.el.span(label, class_name="label", id=f"label-{name}"),
        picker,
        rx.cond(error != "", field_error(error), note),
        class_name="field",
    )


def _picker(
    *,
    mark: str,
    label: str,
    shown: Any,
    field: str,
    options: Any,
    placeholder: str,
    extra: rx.Component | None = None,
) -> rx.Component:
    trigger = rx.el.button(
        icon(mark),
        rx.el.span(shown, class_name="grow ell m"),
        icon("down"),
        type="button",
        class_name=rx.cond(TrainState.errors.get(field, "") != "", "inp bad", "inp"),
        aria_label=rx.Var.create(f"{label}: ") + shown,
        id=f"pick-{field}",
    )
    typed = rx.el.form(
        rx.el.div(
            rx.el.input(
                name=field,
                placeholder=placeholder,
                aria_label=placeholder,
                auto_complete="off",
                max_length=4096,
            ),
            class_name="inp",
        ),
        rx.el.button("Use what is typed", type="submit", class_name="btn sm full mt2"),
        on_submit=TrainState.pick_typed,
        reset_on_submit=True,
    )
    return rx.popover.root(
        rx.popover.trigger(trigger),
        rx.popover.content(
            *([extra] if extra else []),
            typed,
            rx.el.div(rx.foreach(options, lambda option: _option(option, field)), class_name="opts"),
            class_name="pop",
            side="bottom",
            align="start",
        ),
        open=TrainState.open_picker == field,
        on_open_change=lambda is_open: TrainState.show_picker(field, is_open),
    )


def _option(option: Any, field: str) -> rx.Component:
    return rx.el.button(
        rx.el.span(option.label, class_name="m ell"),
        rx.el.span(option.aside, class_name="sm ok"),
        rx.el.span(option.note, class_name="sm t3 ell"),
        type="button",
        class_name="opt",
        on_click=TrainState.pick(field, option.key),
    )
