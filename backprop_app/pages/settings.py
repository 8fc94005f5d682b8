"""The Settings page: every value with its origin, how it looks, and whether this machine is in order."""

from __future__ import annotations

from typing import Any

import reflex as rx
from reflex.style import color_mode, set_color_mode

from backprop_app.components.basics import empty, field_error, page_head, panel, segmented
from backprop_app.components.dialogs import confirm
from backprop_app.components.icons import icon
from backprop_app.layout import Twin, shell
from backprop_app.states.settings import SettingsState

_GROUPS: Any = SettingsState.groups


def settings_page() -> rx.Component:
    """Return the page at `/settings`."""
    editing = SettingsState.editing
    shown = segmented(
        "Show",
        rx.cond(SettingsState.only_changed, "changed", "all"),
        (("all", "All"), ("changed", "Changed")),
        SettingsState.choose,
    )
    rest = rx.cond(editing != "", rx.Var.create("set ") + editing + " VALUE", "show")
    return shell(
        page_head("Settings", "What holds on this machine, and where each value comes from.", shown),
        _look(),
        rx.cond(SettingsState.problem != "", _broken(), rx.fragment()),
        rx.foreach(_GROUPS, _group),
        rx.cond(
            _GROUPS,
            rx.fragment(),
            rx.cond(SettingsState.is_loaded & (SettingsState.problem == ""), _nothing(), rx.fragment()),
        ),
        _machine(),
        _dialog(),
        active="Settings",
        twin=Twin("backprop config", rest),
    )


def _look() -> rx.Component:
    theme = segmented(
        "Theme",
        color_mode,
        (("dark", "Dark"), ("light", "Light"), ("system", "As the system")),
        set_color_mode,
    )
    return rx.el.section(
        rx.el.div(
            rx.el.div("Theme", class_name="m"),
            rx.el.div("Kept in this browser.", class_name="sm t2"),
            class_name="grow",
        ),
        theme,
        class_name="panel p row wrap",
        aria_label="Look",
    )


def _broken() -> rx.Component:
    return rx.el.section(
        rx.el.div(
            icon("alert"),
            rx.el.div(rx.el.div(SettingsState.problem, class_name="t1 wrapcell")),
            class_name="note danger",
            role="alert",
        ),
        rx.el.div(_reset_button(), class_name="row mt3"),
        class_name="panel p",
        aria_label="The file cannot be used",
    )


def _group(group: Any) -> rx.Component:
    return panel(group.title, rx.foreach(group.rows, _setting), aside=group.note)


def _setting(item: Any) -> rx.Component:
    words = rx.el.div(
        rx.el.div(rx.el.span(item.label, class_name="m"), " ", rx.el.code(item.key, class_name="mono t3 sm")),
        rx.el.div(item.description, class_name="sm t2"),
        rx.cond(item.locked != "", rx.el.div(item.locked, class_name="sm t3"), rx.fragment()),
        class_name="grow",
    )
    is_open = SettingsState.editing == item.key
    reset = rx.el.button(
        "Reset",
        type="button",
        class_name="btn sm ghost",
        aria_label=rx.Var.create("Reset ") + item.label,
        on_click=SettingsState.reset_one(item.key),
    )
    change = rx.el.button(
        "Change",
        type="button",
        class_name="btn sm",
        aria_label=rx.Var.create("Change ") + item.label,
        on_click=SettingsState.edit(item.key),
    )
    shown = rx.el.div(
        rx.el.div(
            rx.el.div(item.value, class_name="m wrapcell"),
            rx.el.div(item.origin, class_name=rx.cond(item.origin == "default", "sm t3", "sm acc")),
            class_name="r",
        ),
        rx.cond(item.is_set, reset, rx.fragment()),
        rx.cond(item.locked == "", change, rx.fragment()),
        class_name="row g3 value",
    )
    return rx.el.div(
        rx.el.div(words, rx.cond(is_open, rx.fragment(), shown), class_name="row g4 wrap"),
        rx.cond(is_open, _editor(item), rx.fragment()),
        class_name="setrow",
    )


def _editor(item: Any) -> rx.Component:
    choice = rx.el.select(
        rx.foreach(item.choices, lambda word: rx.el.option(word, value=word)),
        name="value",
        default_value=item.text,
        aria_label=item.label,
        auto_focus=True,
    )
    text = rx.el.input(
        name="value",
        default_value=item.text,
        aria_label=item.label,
        auto_complete="off",
        auto_focus=True,
        max_length=1000,
    )
    return rx.el.form(
        rx.el.div(
            rx.el.div(
                rx.cond(item.is_choice, choice, text),
                class_name=rx.cond(SettingsState.error != "", "inp bad grow", "inp grow"),
            ),
            rx.el.button("Save", type="submit", class_name="btn pri"),
            rx.el.button("Cancel", type="button", class_name="btn", on_click=SettingsState.close),
            class_name="row",
        ),
        rx.cond(
            SettingsState.error != "",
            field_error(SettingsState.error),
            rx.cond(item.also != "", rx.el.div(item.also, class_name="help"), rx.fragment()),
        ),
        on_submit=SettingsState.save,
        class_name="mt3",
    )


def _nothing() -> rx.Component:
    return rx.el.div(
        empty(
            "settings",
            "Every default holds",
            "Nothing is set in config.toml, the environment or at the start of the app.",
            rx.el.button("Show all", type="button", class_name="btn", on_click=SettingsState.choose("all")),
        ),
        class_name="panel",
    )


def _machine() -> rx.Component:
    checks = rx.foreach(
        SettingsState.checks,
        lambda item: rx.el.tr(
            rx.el.td(
                rx.match(
                    item.tone,
                    ("ok", rx.el.span(icon("check"), item.name, class_name="st ok")),
                    ("warn", rx.el.span(icon("alert"), item.name, class_name="st warn")),
                    rx.el.span(icon("cross"), item.name, class_name="st danger"),
                )
            ),
            rx.el.td(
                rx.el.div(item.fact),
                rx.cond(item.hint != "", rx.el.div(item.hint, class_name="sm t2"), rx.fragment()),
                class_name="wrapcell",
            ),
        ),
    )
    facts = rx.foreach(
        SettingsState.facts,
        lambda fact: rx.el.tr(
            rx.el.td(fact.label, class_name="t2"), rx.el.td(fact.value, class_name="r num wrapcell")
        ),
    )
    again = rx.el.button(
        icon("again", "s"),
        rx.cond(SettingsState.is_checking, "Looking", "Look again"),
        type="button",
        class_name="btn sm",
        aria_busy=SettingsState.is_checking,
        disabled=SettingsState.is_checking,
        on_click=SettingsState.check,
    )
    about = panel(
        "About",
        rx.el.table(rx.el.tbody(facts), class_name="dense", aria_label="About"),
        rx.el.div(
            rx.el.span("The file is renamed, never deleted.", class_name="sm t2 grow"),
            _reset_button(),
            class_name="foot row wrap",
        ),
        aside="as `backprop info`",
    )
    doctor = panel(
        "This machine",
        rx.el.table(rx.el.tbody(checks), aria_label="Checks", class_name="roomy"),
        aside=rx.el.div(
            rx.el.span(SettingsState.checks_text, class_name="sm t3", role="status"), again, class_name="row"
        ),
    )
    return rx.el.div(doctor, about, class_name="grid two types")


def _reset_button() -> rx.Component:
    return rx.el.button(
        icon("again", "s"),
        "Reset every setting",
        type="button",
        class_name="btn sm",
        on_click=SettingsState.ask_reset,
    )


def _dialog() -> rx.Component:
    return confirm(
        title="Reset every setting?",
        text="config.toml is renamed and every default holds again. Runs, models and logins stay.",
        keep="Keep the settings",
        act="Reset every setting",
        is_open=SettingsState.asks_reset,
        on_close=SettingsState.keep,
        on_act=SettingsState.reset_all,
    )
