"""The Export page: a run, a format, a type, and what came of it."""

from __future__ import annotations

import reflex as rx

from backprop_app.components.basics import empty, field_error, page_head, panel, segmented
from backprop_app.components.export_job import export_dialog, job_card
from backprop_app.components.export_list import export_list
from backprop_app.components.export_types import type_table
from backprop_app.components.icons import icon
from backprop_app.components.local import link
from backprop_app.components.proof_card import proof_card
from backprop_app.components.push_panel import push_dialog
from backprop_app.layout import Twin, shell
from backprop_app.states.export import ExportState
from backprop_app.views.export import FORMATS

_IS_QUANTIZED = (ExportState.format == "gguf") | (ExportState.format == "ollama-adapter")


def export_page() -> rx.Component:
    """Return the page at `/export`."""
    has_source = ExportState.source.run_id != ""
    return shell(
        page_head(
            "Export",
            rx.cond(
                has_source,
                f"From {ExportState.source.name}, {ExportState.source.about}.",
                "A trained model becomes a file that other programs run.",
            ),
            rx.cond(
                has_source,
                segmented("Format", ExportState.format, FORMATS, ExportState.choose_format),
                rx.fragment(),
            ),
        ),
        rx.cond(has_source, _form(), rx.cond(ExportState.is_loaded, _nothing(), rx.fragment())),
        rx.cond(ExportState.items, export_list(), rx.fragment()),
        export_dialog(),
        push_dialog(),
        active="Export",
        twin=Twin("backprop export", ExportState.command, ExportState.python),
    )


def _form() -> rx.Component:
    choices = rx.el.section(
        _run_field(),
        rx.el.div(ExportState.format_note, class_name="sm t2"),
        _name_field(),
        class_name="panel p col g4",
        aria_label="Choices",
    )
    left = rx.el.div(choices, rx.cond(_IS_QUANTIZED, type_table(), rx.fragment()), class_name="col g4")
    right = rx.el.div(
        rx.cond(_IS_QUANTIZED, _ollama(), rx.fragment()),
        _start(),
        rx.cond(ExportState.job.job_id != "", job_card(), rx.fragment()),
        rx.cond(
            ExportState.proof.job_id != "",
            proof_card(ExportState.proof, ExportState.is_proving, ExportState.start_proof),
            rx.fragment(),
        ),
        class_name="col g4",
    )
    return rx.el.div(left, right, class_name="grid two types")


def _run_field() -> rx.Component:
    trigger = rx.el.button(
        icon("runs"),
        rx.el.span(ExportState.source.name, class_name="grow ell m"),
        rx.el.span(ExportState.source.short_id, class_name="mono t3"),
        icon("down"),
        type="button",
        class_name="inp",
        aria_label=rx.Var.create("Run: ") + ExportState.source.name,
    )
    options = rx.foreach(
        ExportState.sources,
        lambda item: rx.el.button(
            rx.el.span(item.name, class_name="m ell"),
            rx.el.span(item.short_id, class_name="sm mono t3"),
            rx.el.span(item.about, class_name="sm t3 ell"),
            type="button",
            class_name="opt",
            on_click=ExportState.choose_run(item.run_id),
        ),
    )
    picker = rx.popover.root(
        rx.popover.trigger(trigger),
        rx.popover.content(
            rx.el.div(options, class_name="opts"), class_name="pop", side="bottom", align="start"
        ),
        open=ExportState.open_picker,
        on_open_change=ExportState.show_picker,
    )
    return rx.el.div(rx.el.span("Run", class_name="label"), picker, class_name="field")


def _name_field() -> rx.Component:
    return rx.el.div(
        rx.el.label("Name", html_for="export-name"),
        rx.el.div(
            rx.el.input(
                id="export-name",
                default_value=ExportState.name,
                key=f"name-{ExportState.revision}",
                auto_complete="off",
                max_length=80,
                on_change=ExportState.set_name.debounce(300),
            ),
            class_name="inp",
        ),
        rx.el.div("Of the file, and of the model inside it.", class_name="help"),
        class_name="field",
    )


def _ollama() -> rx.Component:
    server = ExportState.server
    state = rx.cond(
        server.is_running,
        rx.el.span(icon("check"), "Answers", class_name="pill ok"),
        rx.cond(
            server.is_known,
            rx.el.span(icon("alert"), "Not reachable", class_name="pill warn"),
            rx.el.span("Looking", class_name="pill"),
        ),
    )
    name = rx.el.div(
        rx.el.label("Name in Ollama", html_for="ollama-name"),
        rx.el.div(
            rx.el.input(
                id="ollama-name",
                default_value=ExportState.ollama_name,
                key=f"ollama-{ExportState.revision}",
                auto_complete="off",
                max_length=80,
                on_change=ExportState.set_ollama_name.debounce(300),
            ),
            class_name="inp",
        ),
        class_name="field",
    )
    look_again = rx.el.button(
        icon("again", "s"),
        "Look again",
        type="button",
        class_name="btn sm",
        on_click=ExportState.look_at_ollama,
    )
    return panel(
        "Ollama",
        rx.el.div(
            rx.el.label(
                rx.el.input(
                    type="checkbox",
                    role="switch",
                    class_name="rb",
                    checked=ExportState.to_ollama,
                    on_change=ExportState.toggle_ollama,
                ),
                "Register it when the file is ready",
                class_name="row g3",
            ),
            rx.cond(ExportState.to_ollama, name, rx.fragment()),
            rx.el.div(
                rx.el.span(server.text, class_name="sm t2 grow"),
                rx.cond(server.is_running, rx.fragment(), look_again),
                class_name="row",
            ),
            class_name="p col g3",
        ),
        aside=state,
    )


def _start() -> rx.Component:
    label = rx.cond(
        _IS_QUANTIZED,
        rx.Var.create("Export ") + ExportState.quantization,
        rx.cond(ExportState.format == "lora", "Export the adapter", "Export the merged model"),
    )
    button = rx.el.button(
        icon("download"),
        rx.cond(ExportState.is_starting, "Starting", label),
        type="button",
        class_name="btn pri big full",
        disabled=(ExportState.blocked != "") | ExportState.is_starting,
        aria_busy=ExportState.is_starting,
        on_click=ExportState.start,
        custom_attrs={"data-key": "start"},
    )
    blocked = f"{ExportState.blocked} {ExportState.blocked_hint}"
    return rx.el.section(
        rx.cond(
            ExportState.blocked != "",
            rx.cond(
                ExportState.is_made,
                rx.el.div(icon("check", "s"), rx.el.span(blocked), class_name="row g6 sm t2", role="status"),
                field_error(blocked),
            ),
            rx.el.div(ExportState.needs, class_name="sm t2 num"),
        ),
        rx.cond(
            _IS_QUANTIZED,
            rx.el.label(
                rx.el.input(
                    type="checkbox",
                    role="switch",
                    class_name="rb",
                    checked=ExportState.wants_proof,
                    on_change=ExportState.toggle_proof,
                ),
                "Prove that it answers as the trained model did",
                class_name="row g3",
            ),
            rx.fragment(),
        ),
        button,
        rx.el.div(icon("moon", "s"), "Runs on when this page closes", class_name="row g6 sm t3"),
        class_name="panel p col g3",
        aria_label="Start",
    )


def _nothing() -> rx.Component:
    return rx.el.div(
        empty(
            "download",
            "Nothing to export yet",
            "A run that has finished, or was stopped after its first step, appears here.",
            link("Train a model", to="/", class_name="btn"),
        ),
        class_name="panel",
    )
