"""The event log: newest first, a clock, a bold noun, a fact."""

from __future__ import annotations

from typing import Any

import reflex as rx


def event_log(events: Any) -> rx.Component:
    """Return the lines of `events`, a var of `EventItem`."""
    return rx.el.div(
        rx.foreach(
            events,
            lambda line: rx.el.div(
                rx.el.time(line.clock, date_time=line.stamp),
                rx.el.span(rx.el.b(line.noun), line.fact),
            ),
        ),
        role="log",
        aria_label="Events",
        class_name="log",
    )
