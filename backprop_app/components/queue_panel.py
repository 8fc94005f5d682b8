"""The queue as a panel: number, name, reason it waits, start time, and buttons to move and remove it."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.icons import icon
from backprop_app.states.queue import QueueState


def queue_panel() -> rx.Component:
    """Return the panel; nothing while nothing waits."""
    return rx.cond(
        QueueState.rows,
        rx.el.section(
            rx.el.div(
                rx.el.h2("Queue"), rx.el.span("arrows, or Alt ↑ ↓", class_name="sm t3"), class_name="ptop"
            ),
            rx.el.div(rx.foreach(QueueState.rows, _row), class_name="p", role="list"),
            class_name="panel",
            aria_label="Queue",
        ),
        rx.fragment(),
    )


def _row(row: Any) -> rx.Component:
    return rx.el.div(
        rx.el.span(row.position, class_name="t3 num"),
        rx.el.div(
            rx.el.div(row.name, class_name="m ell"),
            rx.el.div(row.about, class_name="sm t2"),
            class_name="grow",
        ),
        rx.el.span(row.starts, class_name="sm t2 num hide-s"),
        _button("up", "Move up", QueueState.move(row.run_id, "up"), row.is_first, row.name),
        _button("down", "Move down", QueueState.move(row.run_id, "down"), row.is_last, row.name),
        _button("cross", "Remove from the queue", QueueState.cancel(row.run_id), False, row.name),
        class_name="q",
        role="listitem",
        tab_index=0,
        aria_keyshortcuts="Alt+ArrowUp Alt+ArrowDown",
        custom_attrs={"data-queue": row.run_id},
    )


def _button(mark: str, words: str, event: Any, disabled: Any, name: Any) -> rx.Component:
    return rx.el.button(
        icon(mark, "s"),
        type="button",
        class_name="btn sm ic ghost",
        aria_label=rx.Var.create(f"{words}: ") + name,
        title=words,
        disabled=disabled,
        on_click=event,
        custom_attrs={"data-key": mark},
    )
