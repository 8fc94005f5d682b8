"""The Storage page: places and their sizes, what may be deleted, and the trash with its way back."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import bar, empty, page_head, panel
from backprop_app.components.dialogs import confirm
from backprop_app.components.icons import icon
from backprop_app.components.local import link
from backprop_app.layout import Twin, shell
from backprop_app.states.storage import StorageState


def storage_page() -> rx.Component:
    """Return the page at `/storage`."""
    again = rx.el.button(
        icon("again"), "Look again", type="button", class_name="btn", on_click=StorageState.load
    )
    body = rx.cond(
        StorageState.is_loaded,
        rx.fragment(_places(), _deletable(), _trash(), *_questions()),
        rx.el.div("Looking through the folders", class_name="sm t2", role="status"),
    )
    return shell(
        page_head("Storage", StorageState.lead, again),
        rx.cond(
            StorageState.problem != "",
            rx.el.div(icon("alert"), rx.el.span(StorageState.problem), class_name="help bad", role="alert"),
            body,
        ),
        active="Storage",
        twin=Twin("backprop storage", ""),
    )


def _places() -> rx.Component:
    head = rx.el.tr(
        rx.el.th("Place"),
        rx.el.th("Share", class_name="hide-s"),
        rx.el.th("Size", class_name="r"),
        rx.el.th("What it is", class_name="hide-s hide-n"),
    )
    table = rx.el.table(
        rx.el.thead(head), rx.el.tbody(rx.foreach(StorageState.areas, _place)), aria_label="Places"
    )
    return panel("What takes space", rx.el.div(table, class_name="scroll"))


def _place(area: Any) -> rx.Component:
    return rx.el.tr(
        rx.el.td(rx.el.span(area.name, class_name="m", title=area.path)),
        rx.el.td(bar(area.share), class_name="hide-s"),
        rx.el.td(area.size, class_name="r num"),
        rx.el.td(area.note, class_name="t2 hide-s hide-n"),
    )


def _deletable() -> rx.Component:
    head = rx.el.tr(
        rx.el.th("Name"),
        rx.el.th("Kind", class_name="hide-s"),
        rx.el.th("Size", class_name="r"),
        rx.el.th("What goes with it", class_name="hide-s hide-n"),
        rx.el.th(rx.el.span("Actions", class_name="sr"), class_name="r"),
    )
    table = rx.el.table(
        rx.el.thead(head), rx.el.tbody(rx.foreach(StorageState.items, _item)), aria_label="May be deleted"
    )
    nothing = empty(
        "check",
        "Nothing to delete",
        "Runs that have ended, data files and exports appear here.",
        link("See the runs", to="/runs", class_name="btn"),
    )
    return panel(
        "May be deleted",
        rx.cond(StorageState.items, rx.el.div(table, class_name="scroll"), nothing),
        aside="Goes into the trash first",
    )


def _item(item: Any) -> rx.Component:
    act = rx.el.button(
        "Delete",
        type="button",
        class_name="btn sm",
        aria_label=f"Move {item.kind} {item.name} into the trash",
        on_click=StorageState.delete(item.key),
    )
    return rx.el.tr(
        rx.el.td(rx.el.span(item.name, class_name="mono"), class_name="wrapcell"),
        rx.el.td(item.kind, class_name="t2 hide-s"),
        rx.el.td(item.size, class_name="r num"),
        rx.el.td(item.note, class_name="t2 hide-s hide-n"),
        rx.el.td(act, class_name="r"),
    )


def _trash() -> rx.Component:
    head = rx.el.tr(
        rx.el.th("Name"),
        rx.el.th("Kind", class_name="hide-s"),
        rx.el.th("Size", class_name="r"),
        rx.el.th("Deleted", class_name="hide-s"),
        rx.el.th(rx.el.span("Actions", class_name="sr"), class_name="r"),
    )
    table = rx.el.table(
        rx.el.thead(head), rx.el.tbody(rx.foreach(StorageState.trashed, _trashed)), aria_label="Trash"
    )
    old = rx.cond(
        StorageState.old_ids,
        rx.el.div(
            rx.el.button(
                StorageState.old_text, type="button", class_name="btn sm", on_click=StorageState.ask_purge_old
            ),
            class_name="foot",
        ),
        rx.fragment(),
    )
    nothing = rx.el.p("The trash is empty.", class_name="p sm t2")
    return panel(
        "Trash",
        rx.cond(StorageState.trashed, rx.fragment(rx.el.div(table, class_name="scroll"), old), nothing),
        aside=StorageState.trash_text,
    )


def _trashed(item: Any) -> rx.Component:
    back = rx.cond(
        item.can_restore,
        rx.el.button(
            "Restore",
            type="button",
            class_name="btn sm",
            aria_label=f"Restore {item.name}",
            on_click=StorageState.restore(item.trash_id),
        ),
        rx.fragment(),
    )
    gone = rx.el.button(
        "Remove for good",
        type="button",
        class_name="btn sm ghost",
        aria_label=f"Remove {item.name} for good",
        on_click=StorageState.ask_purge(item.trash_id),
    )
    return rx.el.tr(
        rx.el.td(rx.el.span(item.name, class_name="mono"), class_name="wrapcell"),
        rx.el.td(item.kind, class_name="t2 hide-s"),
        rx.el.td(item.size, class_name="r num"),
        rx.el.td(item.deleted, class_name="t2 hide-s num"),
        rx.el.td(back, " ", gone, class_name="r"),
    )


def _questions() -> tuple[rx.Component, ...]:
    one = confirm(
        title="Remove for good?",
        text=f"{StorageState.asked.name}, {StorageState.asked.size}. There is no way back.",
        keep="Keep it",
        act="Remove for good",
        is_open=StorageState.asks_purge,
        on_close=StorageState.keep,
        on_act=StorageState.purge,
    )
    old = confirm(
        title="Remove everything old for good?",
        text=f"{StorageState.old_text}. There is no way back.",
        keep="Keep it",
        act="Remove for good",
        is_open=StorageState.asks_purge_old,
        on_close=StorageState.keep,
        on_act=StorageState.purge_old,
    )
    return one, old
