"""The proof of an exported file: verdict, each check with its figures, the cause when it is not green."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import panel
from backprop_app.components.icons import icon
from backprop_app.components.status import badge


def proof_card(view: Any, is_proving: Any, on_prove: Any) -> rx.Component:
    """Return the card.

    Args:
        view: var with a `ProofView`.
        is_proving: var; whether a proof of this or another file works or waits.
        on_prove: handler of the button that proves it again.
    """
    verdict = rx.el.div(
        rx.el.span(icon("shield", "l"), class_name=_tone(view.tone)),
        rx.el.div(
            rx.el.div(view.title, class_name="m"),
            rx.el.div(view.lead, class_name="sm t2"),
            class_name="grow",
        ),
        class_name="row g3 top",
    )
    cause = rx.cond(
        view.cause != "",
        rx.el.div(
            icon("alert"),
            rx.el.span(view.cause, class_name="wrapcell"),
            class_name=rx.Var.create("note ") + view.tone,
            role="status",
        ),
        rx.fragment(),
    )
    proof_json = rx.cond(
        view.href != "",
        rx.el.a(
            icon("download", "s"),
            "proof.json",
            href=view.href,
            class_name="btn sm ghost",
            custom_attrs={"download": "", "reloadDocument": True},
        ),
        rx.fragment(),
    )
    again = rx.el.button(
        icon("shield", "s"),
        rx.cond(is_proving, "Proving", rx.cond(view.href != "", "Prove again", "Prove this file")),
        type="button",
        class_name="btn sm steady",
        disabled=is_proving,
        aria_busy=is_proving,
        on_click=on_prove,
    )
    digest = rx.cond(
        view.digest != "",
        rx.el.div(
            rx.el.span("SHA-256", class_name="t2"),
            rx.el.span(view.digest, class_name="mono t2"),
            class_name="row sp sm",
        ),
        rx.fragment(),
    )
    return panel(
        "Ship proof",
        rx.el.div(verdict, cause, rx.el.div(rx.foreach(view.checks, _check)), class_name="p col g3"),
        rx.el.div(
            rx.el.div(
                rx.el.span(view.file, class_name="t2 ell"),
                rx.el.span(view.size, class_name="m num nw"),
                class_name="row sp sm",
            ),
            digest,
            rx.el.div(again, rx.el.span(class_name="grow"), proof_json, class_name="row"),
            class_name="foot col g3",
        ),
        aside=rx.el.span(badge(view.tone, view.word, _mark(view.tone)), aria_live="polite"),
        class_name=rx.Var.create("panel proof t-") + view.tone,
        aria_label="Ship proof",
    )


def _check(item: Any) -> rx.Component:
    return rx.el.div(
        rx.el.span(_mark(item.tone), class_name=_tone(item.tone)),
        rx.el.div(
            rx.el.div(
                rx.el.span(item.name, class_name="m"),
                rx.el.span(item.word, class_name="sm t2 nw"),
                class_name="row sp",
            ),
            rx.el.div(item.text, class_name="sm t2 wrapcell"),
            class_name="grow",
        ),
        class_name="row g3 top checkline",
    )


def _tone(tone: Any) -> Any:
    return rx.cond(tone != "", tone, "t3")


def _mark(tone: Any) -> rx.Component:
    return rx.match(
        tone, ("ok", icon("check")), ("warn", icon("alert")), ("danger", icon("cross")), icon("info")
    )
