"""Small parts that every page uses: panel, figure, empty state, notice, segmented choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import reflex as rx

from backprop_app.components.icons import icon


def panel(
    title: Any, *children: rx.Component, aside: Any = "", head_css: str = "ptop", **props: Any
) -> rx.Component:
    """Return a panel with a head line."""
    head = rx.el.div(
        title if isinstance(title, rx.Component) else rx.el.h2(title),
        aside if isinstance(aside, rx.Component) else rx.el.span(aside, class_name="sm t3"),
        class_name=head_css,
    )
    props.setdefault("class_name", "panel")
    return rx.el.section(head, *children, **props)


def page_head(title: Any, lead: Any, *actions: rx.Component) -> rx.Component:
    """Return the head of a page: its one h1, a sentence, the actions."""
    words = rx.el.div(
        title if isinstance(title, rx.Component) else rx.el.h1(title),
        lead if isinstance(lead, rx.Component) else rx.el.p(lead),
        class_name="grow",
    )
    return rx.el.div(
        words, *([rx.el.div(*actions, class_name="row acts")] if actions else []), class_name="ph"
    )


def figure(label: str, value: Any, unit: Any = "", sub: Any = "") -> rx.Component:
    """Return one figure of a row of figures."""
    return rx.el.div(
        rx.el.div(label, class_name="lab"),
        rx.el.div(value, rx.el.small(unit), class_name="fig"),
        rx.el.div(sub, class_name="sub"),
    )


def empty(mark: str, title: str, text: str, action: rx.Component) -> rx.Component:
    """Return an empty state: what is missing and the one next step."""
    return rx.el.div(icon(mark, "l"), rx.el.b(title), rx.el.span(text), action, class_name="empty")


def segmented(
    label: str, value: Any, choices: Sequence[tuple[str, str]], on_choose: Any, *, full: bool = False
) -> rx.Component:
    """Return a choice among few words.

    Args:
        label: read by screen readers.
        value: var with the chosen key.
        choices: key and word of each.
        on_choose: event handler that takes the key.
        full: whether it takes the whole width.
    """
    buttons = [
        rx.el.button(
            word,
            type="button",
            role="radio",
            aria_checked=rx.cond(value == key, "true", "false"),
            on_click=on_choose(key),
        )
        for key, word in choices
    ]
    return rx.el.div(*buttons, role="radiogroup", aria_label=label, class_name="seg full" if full else "seg")


def field_error(text: Any) -> rx.Component:
    """Return the message beneath a field; nothing when `text` is empty."""
    return rx.cond(
        text != "",
        rx.el.div(icon("alert", "s"), rx.el.span(text), class_name="help bad", role="alert"),
        rx.fragment(),
    )


def bar(width: Any, css: Any = "") -> rx.Component:
    """Return a progress bar; `width` is a CSS width such as "58%"."""
    return rx.el.div(rx.el.i(style={"width": width}), class_name=rx.Var.create("bar ") + css)
