"""The frame around every page: header, navigation, rail, live strip, tab bar, command twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import reflex as rx
from reflex_components_core.core.banner import has_connection_errors

from backprop_app.components.basics import bar
from backprop_app.components.dialogs import shortcuts_list, toast
from backprop_app.components.icons import brand_mark, icon
from backprop_app.components.leave import sign_out
from backprop_app.components.local import Chart, CopyButton, Notices, Offline, Shortcuts, link
from backprop_app.components.log import event_log
from backprop_app.components.machine import machine_block
from backprop_app.components.status import pill
from backprop_app.states.rail import RailState
from backprop_app.states.shell import ShellState
from backprop_app.theme import SERIES_REST, SERIES_TRAIN

_PAGES: Final = (
    ("Train", "train", "/"),
    ("Dataset", "data", "/dataset"),
    ("Multi-Run", "tokens", "/multi-run"),
    ("Runs", "runs", "/runs"),
    ("Export", "download", "/export"),
    ("Playground", "chat", "/playground"),
    ("Models", "model", "/models"),
    ("Storage", "disk", "/storage"),
)
# Apart from the others, at the foot of the navigation.
_SETTINGS: Final = ("Settings", "settings", "/settings")
# What the tab bar of a phone shows; the rest is behind More.
_TABS: Final = ("Train", "Runs", "Dataset", "Export")


@dataclass(frozen=True, slots=True)
class Twin:
    """The command that does what the page does: its first words, the rest, and Python if there is any."""

    head: Any
    rest: Any
    python: Any = ""


def shell(*children: rx.Component, active: str, twin: Twin, has_bar: bool = False) -> rx.Component:
    """Return a whole page.

    Args:
        children: the page column.
        active: label of the page in the navigation.
        twin: its command line.
        has_bar: whether the phone shows a bar with the main action above the tabs.
    """
    return rx.el.div(
        rx.el.a("Skip to the page", href="#page", class_name="skip"),
        rx.el.div(
            _header(),
            _navigation(active),
            rx.el.main(
                _strip(),
                Offline.create(icon("again"), lost=has_connection_errors),
                _notice(),
                rx.el.div(*children, id="page", class_name="page", tab_index=-1),
                _command_line(twin),
                class_name="main",
            ),
            _rail(),
            class_name="app",
        ),
        _tabs(active),
        shortcuts_list(),
        toast(),
        Shortcuts.create(),
        Notices.create(notices=RailState.notices, ready=RailState.knows_notices),
        class_name="has-bar" if has_bar else "",
    )


def _notice() -> rx.Component:
    """Return the line about the app as a whole, as that it is shared, or no longer is."""
    is_bad = RailState.notice_is_bad
    return rx.cond(
        RailState.notice != "",
        rx.el.div(
            icon("alert"),
            rx.el.span(RailState.notice),
            class_name=rx.cond(is_bad, "note danger notice", "note notice"),
            role=rx.cond(is_bad, "alert", "status"),
        ),
        rx.fragment(),
    )


def _header() -> rx.Component:
    is_lost = has_connection_errors
    dot = rx.el.span(class_name=rx.cond(is_lost, "dot warn", "dot ok"))
    return rx.el.header(
        link(
            brand_mark(), "Backpropagate", to="/", class_name="brand", aria_label="Backpropagate, start page"
        ),
        rx.el.span(RailState.version, class_name="ver hide-s"),
        rx.el.span(class_name="grow"),
        rx.el.span(icon("chip", "s"), RailState.machine.label, class_name="row sm t2 hide-s"),
        rx.el.span(dot, rx.cond(is_lost, "Offline", "Live"), class_name="row g6 sm t2", role="status"),
        rx.el.button(
            icon("keyboard"),
            type="button",
            class_name="btn ghost ic hide-s",
            aria_label="Keyboard shortcuts",
            on_click=ShellState.toggle_keys,
            custom_attrs={"data-key": "help"},
        ),
        rx.el.button(
            rx.color_mode_cond(icon("sun"), icon("moon")),
            type="button",
            class_name="btn ghost ic",
            aria_label=rx.color_mode_cond("Theme: light", "Theme: dark"),
            on_click=rx.toggle_color_mode,
        ),
        sign_out(),
        rx.cond(
            RailState.run.is_active,
            rx.el.i(class_name="line", style={"width": f"{RailState.run.percent}%"}),
            rx.fragment(),
        ),
        class_name="hd",
    )


def _navigation(active: str) -> rx.Component:
    links = [
        link(
            icon(mark),
            label,
            rx.cond(RailState.total > 0, rx.el.span(RailState.total, class_name="n"), rx.fragment())
            if label == "Runs"
            else rx.fragment(),
            to=path,
            title=label,
            aria_current="page" if label == active else None,
        )
        for label, mark, path in (*_PAGES, _SETTINGS)
    ]
    links.insert(len(_PAGES), rx.el.span(class_name="gap"))
    return rx.el.nav(*links, class_name="nav", aria_label="Pages")


def _tabs(active: str) -> rx.Component:
    pages = {label: (mark, path) for label, mark, path in (*_PAGES, _SETTINGS)}

    def tab(label: str, css: str = "") -> rx.Component:
        mark, path = pages[label]
        current = "page" if label == active else None
        return link(icon(mark, "l"), label, to=path, aria_current=current, class_name=css)

    rest = [label for label in pages if label not in _TABS]
    more = rx.popover.root(
        rx.popover.trigger(
            rx.el.button(
                icon("more", "l"), "More", type="button", aria_current="page" if active in rest else None
            )
        ),
        rx.popover.content(
            *[rx.popover.close(tab(label, "row g3 opt")) for label in rest],
            class_name="pop",
            side="top",
            align="end",
        ),
    )
    return rx.el.nav(*[tab(label) for label in _TABS], more, class_name="tabs-b", aria_label="Pages, bottom")


def _strip() -> rx.Component:
    run = RailState.run
    busy = [
        rx.el.span(run.step, " / ", run.total, class_name="m num"),
        rx.el.span(class_name="grow"),
        _spark(),
        rx.el.span(run.loss, class_name="m num"),
        rx.el.span(run.left, class_name="sm t2 num"),
    ]
    idle = [
        rx.el.span(class_name="grow"),
        rx.el.span(RailState.machine.strip_busy, class_name="sm t2 num"),
        rx.el.span(RailState.machine.strip_memory, class_name="sm t2 num"),
    ]
    return rx.el.button(
        pill(rx.cond(run.is_active | run.is_waiting, run.status, "")),
        rx.cond(run.is_active, rx.fragment(*busy), rx.fragment(*idle)),
        type="button",
        class_name="strip",
        aria_label="Show or hide live numbers",
        aria_expanded=rx.cond(ShellState.rail_open, "true", "false"),
        on_click=ShellState.toggle_rail,
    )


def _rail() -> rx.Component:
    return rx.el.aside(
        _status_block(),
        rx.cond(RailState.run.has_steps, _loss_block(), rx.fragment()),
        machine_block(RailState.machine, RailState.machine_pairs),
        rx.el.section(
            rx.el.div(
                rx.el.h2("Events"),
                rx.cond(
                    RailState.run.run_id != "",
                    link("All", to=RailState.run.href, class_name="sm"),
                    rx.fragment(),
                ),
                class_name="row sp",
            ),
            event_log(RailState.events),
            aria_label="Event log",
        ),
        class_name=rx.cond(ShellState.rail_open, "rail open", "rail"),
        aria_label="Live",
    )


def _working() -> rx.Component:
    run = RailState.run
    return rx.fragment(
        link(run.name, to=run.href, class_name="m t1 ell ptitle"),
        rx.cond(
            run.has_steps,
            rx.fragment(
                rx.el.div(
                    rx.el.span("Step ", rx.el.b(run.step, class_name="m t1"), " of ", run.total),
                    rx.el.span(run.percent_text),
                    class_name="row sp sm t2 num",
                ),
                rx.el.div(bar(f"{run.percent}%"), class_name="mt2"),
                rx.el.div(
                    rx.el.span(run.left, " left", class_name="t2"),
                    rx.el.span(run.done_at, class_name="t3"),
                    class_name="row sp sm num mt2",
                ),
            ),
            rx.el.div(run.phase, class_name="sm t2"),
        ),
    )


def _resting() -> rx.Component:
    run = RailState.run
    return rx.fragment(
        rx.el.div(
            rx.match(
                run.status,
                ("", "Waiting for a first run"),
                ("queued", run.name),
                "Ready for a run",
            ),
            class_name="m ptitle",
        ),
        rx.el.div(
            rx.match(
                run.status,
                ("", rx.el.span("Live numbers appear here on every page.")),
                ("queued", rx.el.span("Starts when the device is free.")),
                rx.el.span(
                    "Last: ",
                    link(run.name, to=run.href),
                    f", {run.status} {run.ended}",
                ),
            ),
            class_name="sm t2",
        ),
    )


def _status_block() -> rx.Component:
    run = RailState.run
    return rx.el.section(
        rx.el.div(
            pill(rx.cond(run.is_active | run.is_waiting, run.status, "")),
            rx.cond(
                run.is_active,
                rx.el.span(run.short_id, class_name="sm t3 mono"),
                rx.el.span(RailState.queue_text, class_name="sm t3"),
            ),
            class_name="row sp",
            aria_live="polite",
        ),
        rx.cond(run.is_active, _working(), _resting()),
        class_name="col",
        aria_label="Status",
    )


def _spark() -> rx.Component:
    run = RailState.run
    return Chart.create(
        chunk=RailState.chunk,
        stream=run.run_id,
        variant="spark",
        tone=rx.cond(run.is_active, SERIES_TRAIN, rx.cond(run.is_bad, "--danger", SERIES_REST)),
        summary="Loss, smoothed",
    )


def _loss_block() -> rx.Component:
    run = RailState.run
    return rx.el.section(
        rx.el.div(
            rx.el.h2(rx.cond(run.is_active, "Loss", "Loss, last run")),
            rx.cond(
                run.is_active,
                rx.el.span("smoothed", class_name="sm t3"),
                link("Open", to=run.href, class_name="sm"),
            ),
            class_name="row sp",
        ),
        rx.el.div(run.loss, class_name="fig"),
        rx.el.div(rx.cond(run.is_active, run.loss_note, run.summary), class_name="sm t3 num"),
        _spark(),
        aria_label="Loss",
    )


def _command_line(twin: Twin) -> rx.Component:
    command = rx.Var.create(twin.head).to(str) + " " + twin.rest
    has_python = rx.Var.create(twin.python).to(str) != ""
    shows_python = ShellState.shows_python & has_python
    shown = rx.cond(
        shows_python,
        rx.el.code(twin.python, class_name="grow ell"),
        rx.el.code(rx.el.b(twin.head), " ", twin.rest, class_name="grow ell"),
    )
    toggle = rx.cond(
        has_python,
        rx.el.button(
            rx.cond(shows_python, "Command", "Python"),
            type="button",
            class_name="btn sm ghost",
            on_click=ShellState.toggle_python,
        ),
        rx.fragment(),
    )
    return rx.el.div(
        icon("prompt"),
        shown,
        toggle,
        CopyButton.create(
            icon("copy", "s"),
            text=rx.cond(shows_python, twin.python, command),
            class_name="btn sm ghost",
            custom_attrs={"data-key": "copy"},
        ),
        class_name="cli",
        role="group",
        aria_label="The same on the command line",
    )
