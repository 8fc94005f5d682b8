"""The page for an address that leads nowhere."""

from __future__ import annotations

import reflex as rx

from backprop_app.components.basics import empty, page_head
from backprop_app.components.local import link
from backprop_app.layout import Twin, shell


def not_found_page() -> rx.Component:
    """Return the page for an unknown address."""
    return shell(
        page_head("No such page", "This address leads nowhere in Backpropagate."),
        rx.el.div(
            empty(
                "search",
                "Nothing is here",
                "The address may be old, or mistyped.",
                link("Train", to="/", class_name="btn"),
            ),
            class_name="panel",
        ),
        active="",
        twin=Twin("backprop", "--help"),
    )
