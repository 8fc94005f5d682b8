"""The exports that stand on the disk, each with its place, its download and its line for Ollama."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import panel
from backprop_app.components.icons import icon
from backprop_app.components.local import CopyButton, link
from backprop_app.states.export import ExportState
from backprop_app.states.push import PushState


def export_list() -> rx.Component:
    """Return the panel with the list."""
    head = rx.el.tr(
        rx.el.th("File"),
        rx.el.th("Made", class_name="hide-s"),
        rx.el.th("Size", class_name="r hide-s"),
        rx.el.th("Proof"),
        rx.el.th("Ollama", class_name="hide-s hide-n"),
        rx.el.th(rx.el.span("Actions", class_name="sr"), class_name="r"),
    )
    return panel(
        "Exports",
        rx.el.table(
            rx.el.thead(head), rx.el.tbody(rx.foreach(ExportState.items, _row)), aria_label="Exports"
        ),
        aside=ExportState.items_text,
    )


def _row(item: Any) -> rx.Component:
    run_line = rx.cond(
        item.run_line != "",
        CopyButton.create(icon("prompt", "s"), text=item.run_line, class_name="btn sm ghost hide-s"),
        rx.fragment(),
    )
    download = rx.cond(
        item.href != "",
        rx.el.a(
            icon("download", "s"),
            "Download",
            href=item.href,
            class_name="btn sm hide-s",
            # The router would take the click for a change of the page.
            custom_attrs={"download": "", "reloadDocument": True},
        ),
        rx.fragment(),
    )
    proof = rx.cond(
        item.is_provable,
        rx.el.button(
            rx.match(
                item.proof_tone,
                ("ok", icon("check", "s")),
                ("warn", icon("alert", "s")),
                ("danger", icon("cross", "s")),
                icon("info", "s"),
            ),
            item.proof,
            type="button",
            class_name=rx.Var.create("btn sm ghost ") + item.proof_tone,
            title="Show the proof",
            on_click=ExportState.show_proof(item.job_id),
        ),
        rx.el.span("–", class_name="t3"),
    )
    push = rx.el.button(
        icon("upload", "s"),
        "Push",
        type="button",
        class_name="btn sm ghost hide-s",
        aria_label=rx.Var.create("Push ") + item.name,
        on_click=PushState.ask(item.job_id, item.name),
    )
    try_it = link(icon("chat", "s"), "Try it", to=f"/playground?run={item.job_id}", class_name="btn sm")
    return rx.el.tr(
        rx.el.td(rx.el.span(item.name, class_name="mono m", title=item.path), class_name="wrapcell"),
        rx.el.td(item.made, class_name="t2 hide-s"),
        rx.el.td(item.size, class_name="r hide-s"),
        rx.el.td(proof),
        rx.el.td(item.ollama, class_name="t2 hide-s hide-n"),
        rx.el.td(
            rx.el.div(
                run_line,
                CopyButton.create(icon("copy", "s"), text=item.path, class_name="btn sm ghost hide-s"),
                push,
                try_it,
                download,
                class_name="row end",
            ),
            class_name="r",
        ),
    )
