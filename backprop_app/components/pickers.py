"""A base model or a data file, from a list or typed.

Serves every State that has `open_picker`, `errors`, `show_picker`, `pick` and `pick_typed`.
"""

from __future__ import annotations

from typing import Any, Final

import reflex as rx

from backprop_app.components.basics import field_error
from backprop_app.components.icons import icon
from backprop_app.components.local import Upload, link

DATA_HINT: Final = "Path below a folder of the app"
ACCEPT: Final = ".jsonl,.ndjson,.json,.csv,.tsv,.parquet,.txt,.md,.gz"


def model_field(form: Any, shown: Any, note: Any) -> rx.Component:
    """Return the field of the base model.

    Args:
        form: the State, with `models` to choose from.
        shown: the model that is chosen.
        note: a few words about it.
    """
    chooser = picker(
        form,
        mark="model",
        label="Model",
        shown=shown,
        field="model",
        options=form.models,
        placeholder="Hub id or folder",
    )
    return _field(form, "Model", chooser, rx.el.div(note, class_name="help"), "model")


def data_field(form: Any, shown: Any, note: Any, href: Any) -> rx.Component:
    """Return the field of the data file.

    Args:
        form: the State, with `data` to choose from and `uploaded`.
        shown: the file that is chosen.
        note: a few words about it.
        href: where its mask is shown; empty when there is none.
    """
    chooser = picker(
        form,
        mark="data",
        label="Data",
        shown=shown,
        field="dataset",
        options=form.data,
        placeholder=DATA_HINT,
        extra=upload(form),
    )
    words = rx.el.div(
        rx.el.span(note),
        rx.cond(href != "", link("See the mask", to=href), rx.fragment()),
        class_name="help row sp",
    )
    return _field(form, "Data", chooser, words, "dataset")


def upload(form: Any) -> rx.Component:
    """Return the button that sends a data file to the app and hands its path to `form.uploaded`."""
    return Upload.create(icon("upload", "s"), accept=ACCEPT, label="Upload a file", on_done=form.uploaded)


def _field(form: Any, label: str, chooser: rx.Component, note: rx.Component, name: str) -> rx.Component:
    error = form.errors.get(name, "")
    return rx.el.div(
        rx.el.span(label, class_name="label", id=f"label-{name}"),
        chooser,
        rx.cond(error != "", field_error(error), note),
        class_name="field",
    )


def picker(
    form: Any,
    *,
    mark: str,
    label: str,
    shown: Any,
    field: str,
    options: Any,
    placeholder: str,
    extra: rx.Component | None = None,
) -> rx.Component:
    """Return a field that opens a list with an input for what is not in it.

    Args:
        form: the State.
        mark: an icon.
        label: of the field.
        shown: what is chosen.
        field: the name that `form.pick` gets.
        options: var with the list.
        placeholder: says what may be typed.
        extra: stands above the input.
    """
    trigger = rx.el.button(
        icon(mark),
        rx.el.span(shown, class_name="grow ell m"),
        icon("down"),
        type="button",
        class_name=rx.cond(form.errors.get(field, "") != "", "inp bad", "inp"),
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
        on_submit=form.pick_typed,
        reset_on_submit=True,
    )
    return rx.popover.root(
        rx.popover.trigger(trigger),
        rx.popover.content(
            *([extra] if extra else []),
            typed,
            rx.el.div(rx.foreach(options, lambda option: _option(form, option, field)), class_name="opts"),
            class_name="pop",
            side="bottom",
            align="start",
        ),
        open=form.open_picker == field,
        on_open_change=lambda is_open: form.show_picker(field, is_open),
    )


def _option(form: Any, option: Any, field: str) -> rx.Component:
    return rx.el.button(
        rx.el.span(option.label, class_name="m ell"),
        rx.el.span(option.aside, class_name="sm ok"),
        rx.el.span(option.note, class_name="sm t3 ell"),
        type="button",
        class_name="opt",
        on_click=form.pick(field, option.key),
    )
