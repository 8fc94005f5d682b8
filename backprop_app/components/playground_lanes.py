"""The two sides of the Playground: what was asked, what each model writes, how its reply ended."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.icons import icon
from backprop_app.components.local import CopyButton
from backprop_app.states.playground import PlaygroundState


def lane(title: str, head: rx.Component, view: Any, side: str) -> rx.Component:
    """Return the panel of one side.

    Args:
        title: of the side.
        head: names the model.
        view: var of the newest reply.
        side: field of a turn that holds the earlier replies.
    """
    earlier = rx.foreach(
        PlaygroundState.turns, lambda turn: _turn(title, turn.asked, _reply(getattr(turn, side)))
    )
    newest = rx.cond(
        PlaygroundState.question != "",
        rx.fragment(
            _said("You", rx.el.div(PlaygroundState.question, class_name="talkline")),
            _said(title, _newest(view), _copy(view)),
        ),
        rx.el.div("Nothing asked yet.", class_name="t3 talkline"),
    )
    return rx.el.section(
        rx.el.div(rx.el.h2(title), head, class_name="ptop"),
        rx.el.div(rx.el.div(earlier, newest), class_name="talk"),
        _foot(view),
        class_name=rx.cond(view.state == "writing", "panel col live-line talkpanel", "panel col talkpanel"),
        aria_label=title,
    )


def _turn(title: str, asked: Any, reply: rx.Component) -> rx.Component:
    return rx.fragment(_said("You", rx.el.div(asked, class_name="talkline")), _said(title, reply))


def _said(who: str, words: rx.Component, action: rx.Component | None = None) -> rx.Component:
    head = rx.el.div(who, action or rx.fragment(), class_name="row sp sm t3 saidhead")
    return rx.el.div(head, words, class_name="said-by")


def _reply(text: Any) -> rx.Component:
    return rx.cond(
        text != "",
        rx.el.div(text, class_name="talkline"),
        rx.el.div("Not asked.", class_name="talkline t3"),
    )


def _newest(view: Any) -> rx.Component:
    cursor = rx.cond(view.state == "writing", rx.el.i(class_name="cursor"), rx.fragment())
    failure = rx.el.div(
        icon("alert"),
        rx.el.div(
            rx.el.div(view.message, class_name="t1"),
            rx.el.div(view.hint, class_name="wrapcell"),
            rx.el.div(view.code, class_name="mono t3"),
        ),
        class_name="note danger mt2",
        role="alert",
    )
    words = rx.el.div(view.text, cursor, class_name="talkline")
    return rx.fragment(
        rx.cond((view.text != "") | (view.state == "writing"), words, rx.fragment()),
        rx.cond(view.state == "", rx.el.div("Not asked.", class_name="talkline t3"), rx.fragment()),
        rx.cond(view.state == "failed", failure, rx.fragment()),
    )


def _copy(view: Any) -> rx.Component:
    return rx.cond(
        (view.state == "ended") & (view.text != ""),
        CopyButton.create(icon("copy", "s"), text=view.text, class_name="btn sm ghost"),
        rx.fragment(),
    )


def _foot(view: Any) -> rx.Component:
    dot = rx.el.span(class_name="dot")
    mark = rx.match(
        view.state,
        ("loading", rx.el.span(dot, "Loading the model", class_name="pill live")),
        ("reading", rx.el.span(dot, "Reading", class_name="pill live")),
        ("writing", rx.el.span(dot, "Writing", class_name="pill live")),
        ("failed", rx.el.span(icon("cross"), "Failed", class_name="pill danger")),
        (
            "ended",
            rx.el.span(
                rx.cond(
                    view.is_whole,
                    rx.el.span(icon("check", "s"), class_name="ok"),
                    rx.el.span(icon("stop", "s"), class_name="t3"),
                ),
                view.ending,
                class_name="row g6 t3",
            ),
        ),
        rx.fragment(),
    )
    return rx.el.div(
        rx.el.span(view.note, class_name="num grow nw"),
        rx.el.span(mark, aria_live="polite"),
        class_name="row sm t3 talkfoot",
    )
