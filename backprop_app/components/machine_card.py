"""The card that says what this machine can train."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.icons import icon
from backprop_app.components.status import badge
from backprop_app.states.train import TrainState


def machine_card() -> rx.Component:
    """Return the card of the first-run page."""
    card = TrainState.machine
    mark = rx.cond(card.pill_tone == "ok", icon("check"), icon("alert"))
    pill = rx.cond(card.pill_text != "", badge(card.pill_tone, card.pill_text, mark), rx.fragment())
    return rx.el.section(
        rx.el.div(rx.el.h2("This machine"), pill, class_name="ptop"),
        rx.el.div(
            rx.el.p(card.text, class_name="t2"),
            rx.el.div(rx.foreach(TrainState.machine_facts, _fact), class_name="facts mt3"),
            class_name="p",
        ),
        rx.el.div(
            rx.el.div(
                rx.el.span("There is a card in this machine?", class_name="sm t2"),
                rx.el.button(
                    icon("again", "s"),
                    "Look again",
                    type="button",
                    class_name="btn sm",
                    on_click=TrainState.look_again,
                ),
                class_name="row sp",
            ),
            rx.el.div(
                "For the reason in full: ",
                rx.el.span("backprop info", class_name="mono t2"),
                class_name="sm t3 mt2",
            ),
            class_name="foot",
        ),
        class_name="panel",
        aria_label="This machine",
    )


def _fact(fact: Any) -> rx.Component:
    mark = rx.cond(
        fact.tone == "ok",
        rx.el.span(icon("check"), class_name="ok"),
        rx.el.span(icon("cross"), class_name="t3"),
    )
    return rx.el.div(
        mark,
        rx.el.div(
            rx.el.span(fact.title, class_name="m"),
            rx.el.div(fact.text, class_name="sm t2"),
            class_name="grow",
        ),
        class_name="row g3 top",
    )
