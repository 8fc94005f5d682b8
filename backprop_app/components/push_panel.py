"""The panel that sends an export to the hub."""

from __future__ import annotations

import reflex as rx

from backprop_app.components.basics import field_error
from backprop_app.components.icons import icon
from backprop_app.states.push import PushState


def push_dialog() -> rx.Component:
    """Return the dialog that asks where an export goes."""
    repo = rx.el.div(
        rx.el.label("Repository", html_for="push-repo"),
        rx.el.div(
            rx.el.input(
                id="push-repo",
                default_value=PushState.repo,
                placeholder="owner/name",
                auto_complete="off",
                max_length=200,
                on_change=PushState.set_repo.debounce(200),
            ),
            class_name="inp",
        ),
        rx.el.div("Made when it is missing. A model card goes along.", class_name="help"),
        field_error(PushState.problem),
        class_name="field",
    )
    private = rx.el.label(
        rx.el.input(
            type="checkbox",
            role="switch",
            class_name="rb",
            checked=PushState.is_private,
            on_change=PushState.toggle_private,
        ),
        "Private: only you and those you invite see it",
        class_name="row g3",
    )
    login = rx.cond(
        PushState.login != "",
        rx.el.div(icon("check", "s"), PushState.login, class_name="row g6 sm t2"),
        rx.el.div(
            icon("alert"),
            rx.el.span(
                "No token is set. Sign in with ", rx.el.code("hf auth login"), ", then open this again."
            ),
            class_name="note warn",
        ),
    )
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("Push to the hub", class_name="title"),
            rx.dialog.description(PushState.name, class_name="mono t2 wrapcell"),
            rx.el.div(repo, private, login, class_name="col g3 mt2"),
            rx.el.div(
                rx.dialog.close(rx.el.button("Keep it here", type="button", class_name="btn")),
                rx.el.button(
                    icon("upload"),
                    rx.cond(PushState.is_starting, "Starting", "Push"),
                    type="button",
                    class_name="btn pri",
                    disabled=PushState.is_starting | (PushState.repo == "") | (PushState.login == ""),
                    aria_busy=PushState.is_starting,
                    on_click=PushState.start,
                ),
                class_name="acts",
            ),
            class_name="dlg",
        ),
        open=PushState.job_id != "",
        on_open_change=PushState.close,
    )
