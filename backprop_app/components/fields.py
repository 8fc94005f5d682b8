"""A field of the schema on a form: select or input, help, message, what holds without it."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import field_error


def schema_field(form: Any, item: Any) -> rx.Component:
    """Return one field with its control, its help or its message, and the way back to the rule.

    Args:
        form: a State with `set_field` and `reset_field`.
        item: var of a `FieldView`.
    """
    change = form.set_field
    control = rx.cond(
        item.choices,
        rx.el.select(
            rx.foreach(item.choices, lambda choice: rx.el.option(choice, value=choice)),
            value=item.value,
            on_change=lambda value: change(item.name, value),
            aria_label=item.label,
        ),
        rx.el.input(
            default_value=item.value,
            key=item.key,
            on_change=lambda value: change(item.name, value).debounce(300),
            aria_label=item.label,
            max_length=4096,
        ),
    )
    below = rx.cond(
        item.changed,
        rx.el.div(
            rx.el.span("Rule: ", item.rule),
            rx.el.button(
                "Use the rule", type="button", class_name="link", on_click=form.reset_field(item.name)
            ),
            class_name="help row sp",
        ),
        rx.el.div(item.help, class_name="help"),
    )
    return rx.el.div(
        rx.el.span(item.label, class_name="label"),
        rx.el.div(
            control,
            rx.cond(item.changed, rx.el.span("changed", class_name="chip"), rx.fragment()),
            class_name=rx.cond(item.error != "", "inp bad", "inp"),
        ),
        rx.cond(item.error != "", field_error(item.error), below),
        class_name="field",
    )
