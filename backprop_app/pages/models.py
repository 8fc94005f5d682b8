"""The Models page: presets and whether they fit this machine, the caches, one download at a time."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import empty, field_error, page_head, panel
from backprop_app.components.dialogs import confirm
from backprop_app.components.icons import icon
from backprop_app.components.local import CopyButton, link
from backprop_app.components.status import pill
from backprop_app.components.steering import cancel_button, job_failure, job_progress
from backprop_app.layout import Twin, shell
from backprop_app.states.models import ModelsState

_JOB = ModelsState.job


def models_page() -> rx.Component:
    """Return the page at `/models`."""
    rest = rx.cond(ModelsState.typed != "", rx.Var.create("download ") + ModelsState.typed, "list")
    return shell(
        page_head("Models", "Base models to fine-tune: what fits this machine, and what is here already."),
        rx.cond(_JOB.job_id != "", _job_card(), rx.fragment()),
        _presets(),
        _other(),
        _cached(),
        _dialog(),
        active="Models",
        twin=Twin("backprop models", rest),
    )


def _presets() -> rx.Component:
    head = rx.el.tr(
        rx.el.th("Model"),
        rx.el.th("Licence", class_name="hide-s"),
        rx.el.th("Memory to train", class_name="r hide-s"),
        rx.el.th("This machine"),
        rx.el.th(rx.el.span("On the disk", class_name="sr"), class_name="r"),
    )
    table = rx.el.table(
        rx.el.thead(head),
        rx.el.tbody(rx.foreach(ModelsState.presets, _preset)),
        aria_label="Presets",
        class_name="roomy",
    )
    waiting = rx.el.div("Looking at this machine", class_name="p t2", role="status")
    return panel(
        "Presets",
        rx.cond(ModelsState.is_loaded, table, waiting),
        aside="forecast at the settings of this machine",
    )


def _preset(item: Any) -> rx.Component:
    here = rx.el.span(icon("check", "s"), item.size, class_name="row g6 t2 num right")
    fetch = rx.el.button(
        rx.el.span(icon("download", "s"), class_name="hide-s"),
        item.size,
        type="button",
        class_name="btn sm num",
        aria_label=rx.Var.create("Download ") + item.model + ", " + item.size,
        disabled=ModelsState.is_starting,
        on_click=ModelsState.start(item.key),
    )
    verdict = rx.match(
        item.tone,
        ("ok", rx.el.span(icon("check"), item.verdict, class_name="st ok")),
        ("danger", rx.el.span(icon("cross"), item.verdict, class_name="st danger")),
        rx.el.span(icon("info"), item.verdict, class_name="st"),
    )
    return rx.el.tr(
        rx.el.td(
            rx.el.div(item.key, class_name="mono m"),
            rx.el.div(item.model, ", ", item.parameters, class_name="sm t3 wrapcell hide-s"),
        ),
        rx.el.td(
            rx.el.div(item.licence),
            rx.cond(item.note != "", rx.el.div(item.note, class_name="sm t3 wrapcell"), rx.fragment()),
            class_name="hide-s wrapcell",
        ),
        rx.el.td(
            rx.el.div(item.needs, class_name="num"),
            rx.el.div(item.needs_note, class_name="sm t3 wrapcell"),
            class_name="r hide-s",
        ),
        rx.el.td(verdict),
        rx.el.td(
            rx.cond(
                item.is_here,
                here,
                rx.cond(item.is_coming, rx.el.span("fetching", class_name="t2"), fetch),
            ),
            class_name="r",
        ),
    )


def _other() -> rx.Component:
    field = rx.el.div(
        rx.el.input(
            id="other-model",
            placeholder="owner/name",
            default_value=ModelsState.typed,
            auto_complete="off",
            max_length=200,
            on_change=ModelsState.type_name.debounce(200),
        ),
        class_name="inp grow",
    )
    button = rx.el.button(
        icon("download"),
        rx.cond(ModelsState.is_starting, "Starting", "Download"),
        type="button",
        class_name="btn",
        disabled=(ModelsState.typed == "") | ModelsState.is_starting,
        on_click=ModelsState.fetch_typed,
    )
    return rx.el.section(
        rx.el.label("Another model of the hub", html_for="other-model", class_name="label"),
        rx.el.div(field, button, class_name="row"),
        rx.cond(
            ModelsState.typed_error != "",
            field_error(ModelsState.typed_error),
            rx.el.div(
                "Safetensors of a family that transformers knows. Code and pickles are never fetched. "
                "Gated models need `hf auth login` on this machine.",
                class_name="help",
            ),
        ),
        class_name="panel p field",
        aria_label="Another model",
    )


def _cached() -> rx.Component:
    head = rx.el.tr(
        rx.el.th("Name"),
        rx.el.th("From", class_name="hide-s"),
        rx.el.th("Size", class_name="r"),
        rx.el.th(rx.el.span("Actions", class_name="sr"), class_name="r"),
    )
    table = rx.el.table(
        rx.el.thead(head),
        rx.el.tbody(rx.foreach(ModelsState.cached, _row)),
        aria_label="On this machine",
        class_name="roomy",
    )
    nothing = empty(
        "model",
        "No model is here yet",
        "The smallest preset trains on any machine.",
        link("Train the example", to="/", class_name="btn"),
    )
    return rx.cond(
        ModelsState.is_loaded,
        panel("On this machine", rx.cond(ModelsState.cached, table, nothing), aside=ModelsState.total),
        rx.fragment(),
    )


def _row(item: Any) -> rx.Component:
    remove = rx.el.button(
        icon("trash", "s"),
        rx.el.span("Remove", class_name="hide-s"),
        type="button",
        class_name="btn sm",
        aria_label=rx.Var.create("Remove ") + item.id,
        on_click=ModelsState.ask_remove(item.name),
    )
    return rx.el.tr(
        rx.el.td(rx.el.span(item.id, class_name="mono m"), class_name="wrapcell"),
        rx.el.td(item.origin, class_name="t2 hide-s wrapcell"),
        rx.el.td(item.size, class_name="r"),
        rx.el.td(
            rx.el.div(
                rx.el.span(
                    CopyButton.create(
                        icon("folder", "s"), text=item.path, class_name="btn sm ghost", title=item.path
                    ),
                    class_name="hide-s",
                ),
                rx.cond(item.name != "", remove, rx.fragment()),
                class_name="row right",
            ),
            class_name="r",
        ),
    )


def _job_card() -> rx.Component:
    working = rx.fragment(
        job_progress(_JOB, "Download"),
        rx.el.div(
            rx.el.span(
                icon("moon", "s"), "Runs on when this page closes", class_name="row g6 sm t3 grow hide-s"
            ),
            cancel_button(ModelsState.is_stopping, ModelsState.cancel),
            class_name="row",
        ),
    )
    again = rx.el.button(
        icon("again"), "Try again", type="button", class_name="btn sm", on_click=ModelsState.repeat
    )
    failed = rx.fragment(
        job_failure(_JOB),
        rx.el.div(again, class_name="row"),
    )
    stopped = rx.el.div(
        rx.el.span("Whole files are kept; the next try takes them up.", class_name="t2 grow"),
        again,
        class_name="row",
    )
    body = rx.cond(
        _JOB.is_open, working, rx.cond(_JOB.is_bad, failed, rx.cond(_JOB.status == "stopped", stopped, ""))
    )
    return panel(
        rx.el.h2(rx.cond(_JOB.is_open, "Fetching ", "Last download: "), rx.el.span(_JOB.model)),
        rx.cond(_JOB.status == "completed", rx.fragment(), rx.el.div(body, class_name="p col g3")),
        aside=rx.el.span(pill(_JOB.status), aria_live="polite"),
        aria_label="Download",
    )


def _dialog() -> rx.Component:
    return confirm(
        title=rx.Var.create("Remove ") + ModelsState.asks_remove + "?",
        text=ModelsState.remove_text + ". Runs and adapters stay; what needs it later fetches it again.",
        keep="Keep it",
        act="Remove it",
        is_open=ModelsState.asks_remove != "",
        on_close=ModelsState.keep,
        on_act=ModelsState.remove,
    )
