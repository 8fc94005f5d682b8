"""The button that signs out. A form of Reflex would send nothing: it stops every form without a handler."""

from __future__ import annotations

import reflex as rx

from backprop_app.components.icons import icon


class Leave(rx.Component):
    """The form around the button; the style shows it once `session.js` knows that somebody is signed in."""

    library = f"$/public{rx.asset('leave.jsx', shared=True)}"
    tag = "Leave"


def sign_out() -> rx.Component:
    """Return the button that ends the session."""
    button = rx.el.button(icon("leave"), type="submit", class_name="btn ghost ic", aria_label="Sign out")
    return Leave.create(button, class_name="leave")
