"""What lies over the page: the confirmation, the list of shortcuts, the toast."""

from __future__ import annotations

from typing import Any, Final

import reflex as rx

from backprop_app.components.icons import icon
from backprop_app.states.shell import ShellState

_KEYS: Final = (
    (("g", "t"), "Train"),
    (("g", "d"), "Dataset"),
    (("g", "m"), "Multi-Run"),
    (("g", "r"), "Runs"),
    (("g", "e"), "Export"),
    (("g", "p"), "Playground"),
    (("g", "o"), "Models"),
    (("g", "s"), "Settings"),
    (("Ctrl", "Enter"), "Start training, or ask"),
    (("p",), "Pause the run, or go on"),
    (("/",), "Search runs"),
    (("j", "k"), "Next and previous row, Enter opens"),
    (("[", "]"), "Previous and next row under the microscope"),
    (("x",), "Select the row"),
    (("c",), "Copy the command"),
    (("?",), "This list"),
    (("Esc",), "Close"),
)


def confirm(
    *, title: Any, text: Any, keep: Any, act: Any, is_open: Any, on_close: Any, on_act: Any
) -> rx.Component:
    """Return a dialog for what ends something; the safe button comes first and has the focus.

    Args:
        title: names the thing.
        text: what happens and what survives.
        keep: the safe button.
        act: the other one.
        is_open: var.
        on_close: handler of the safe button, Escape and a click beside the dialog.
        on_act: handler of the other one.
    """
    return rx.alert_dialog.root(
        rx.alert_dialog.content(
            rx.alert_dialog.title(title, class_name="title"),
            rx.alert_dialog.description(text, class_name="t2 mt2"),
            rx.el.div(
                rx.alert_dialog.cancel(rx.el.button(keep, type="button", class_name="btn", auto_focus=True)),
                rx.el.button(act, type="button", class_name="btn end", on_click=on_act),
                class_name="acts",
            ),
            class_name="dlg",
            on_escape_key_down=on_close,
        ),
        open=is_open,
        on_open_change=on_close,
    )


def shortcuts_list() -> rx.Component:
    """Return the dialog with every shortcut."""
    rows = [
        part
        for keys, words in _KEYS
        for part in (rx.el.span(*[rx.el.kbd(key) for key in keys]), rx.el.span(words, class_name="t2"))
    ]
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("Keyboard", class_name="title"),
            rx.dialog.description("Shortcuts rest while you type.", class_name="t2"),
            rx.el.div(*rows, class_name="keys"),
            rx.el.div(
                rx.dialog.close(rx.el.button("Close", type="button", class_name="btn")), class_name="acts"
            ),
            class_name="dlg",
        ),
        open=ShellState.keys_open,
        on_open_change=ShellState.set_keys,
    )


def toast() -> rx.Component:
    """Return the toast that the state holds, if any."""
    mark = rx.match(
        ShellState.toast_tone,
        ("ok", rx.el.span(icon("check"), class_name="ok")),
        ("danger", rx.el.span(icon("alert"), class_name="danger")),
        rx.el.span(icon("info"), class_name="t3"),
    )
    words = rx.el.span(
        rx.el.span(ShellState.toast_title, class_name="m"),
        rx.el.br(),
        rx.el.span(ShellState.toast_text, class_name="sm t2"),
        class_name="grow",
    )
    close = rx.el.button(
        icon("cross", "s"),
        type="button",
        class_name="btn sm ic ghost",
        aria_label="Close",
        on_click=ShellState.close_toast,
    )
    return rx.el.div(
        rx.cond(
            ShellState.toast_title != "",
            rx.el.div(mark, words, close, class_name="toast"),
            rx.fragment(),
        ),
        aria_live="polite",
    )
