"""The mask microscope: every token of one row, and whether the model learns it; or the row as a chat."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import segmented
from backprop_app.components.icons import icon
from backprop_app.states.dataset import DatasetState

_MASK = DatasetState.mask


def microscope() -> rx.Component:
    """Return the panel."""
    head = rx.el.div(
        rx.el.div(
            rx.el.h2("Mask microscope"),
            rx.el.span(_MASK.title, class_name="sm t3 num", aria_live="polite"),
            class_name="row g3",
        ),
        rx.el.div(
            segmented(
                "Shown as", DatasetState.shows, (("mask", "Tokens"), ("chat", "Chat")), DatasetState.show
            ),
            _step("Previous row", "left", "previous", -1),
            _step("Next row", "right", "next", 1),
            class_name="row",
        ),
        class_name="ptop",
    )
    problem = rx.cond(
        _MASK.problem != "",
        rx.el.div(
            icon("alert"), rx.el.span(_MASK.problem), class_name="note danger maskproblem", role="alert"
        ),
        rx.fragment(),
    )
    body = rx.cond(
        (DatasetState.shows == "chat") | ~DatasetState.has_tokens,
        rx.el.div(rx.foreach(DatasetState.chat, _said), class_name="turns"),
        rx.fragment(_legend(), rx.el.div(rx.foreach(DatasetState.turns, _turn), class_name="turns")),
    )
    foot = rx.cond(
        _MASK.note != "",
        rx.el.div(
            icon("shield"),
            rx.el.span(rx.cond(_MASK.rest != "", _MASK.rest + " ", ""), _MASK.note),
            class_name="note masknote",
        ),
        rx.fragment(),
    )
    return rx.el.section(head, problem, body, foot, class_name="panel col stay", aria_label="Mask microscope")


def _step(label: str, mark: str, key: str, by: int) -> rx.Component:
    return rx.el.button(
        icon(mark, "s"),
        type="button",
        class_name="btn sm ic ghost",
        aria_label=label,
        on_click=DatasetState.step(by),
        custom_attrs={"data-key": key},
    )


def _legend() -> rx.Component:
    def entry(css: str, word: str, value: Any) -> rx.Component:
        return rx.el.span(
            rx.el.span(rx.el.span(word, class_name=css), class_name="toks tag"), value, class_name="row g6"
        )

    return rx.el.div(
        entry("y", "learns", _MASK.learns),
        entry("", "ignored", _MASK.ignored),
        entry("c", "cut", _MASK.cut),
        class_name="row g4 wrap sm t2 num legend",
    )


def _turn(turn: Any) -> rx.Component:
    return rx.el.div(
        rx.el.div(turn.role, rx.el.br(), rx.el.span(turn.count, class_name="t3 num"), class_name="sm t2"),
        rx.el.div(
            rx.foreach(turn.pieces, lambda piece: rx.el.span(piece.text, class_name=piece.css)),
            class_name="toks",
        ),
        class_name="turn",
    )


def _said(turn: Any) -> rx.Component:
    return rx.el.div(
        rx.el.div(turn.role, class_name="sm t2"),
        rx.el.div(
            rx.el.div(turn.text, class_name="said"),
            rx.cond(turn.aside != "", rx.el.div(turn.aside, class_name="sm t3"), rx.fragment()),
        ),
        class_name="turn",
    )
