"""Lower half of an open data file: the report with its verdict, what makes new versions, the versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import reflex as rx

from backprop_app.components.basics import field_error, panel, segmented
from backprop_app.components.icons import icon
from backprop_app.components.local import link
from backprop_app.states.dataset import DatasetState
from backprop_app.states.dataset_work import DatasetWorkState

_OPERATIONS: Final = (
    ("filter", "Filter"),
    ("dedupe", "Dedupe"),
    ("curriculum", "Order"),
    ("split", "Split"),
    ("sample", "Sample"),
    ("convert", "Convert"),
)
# A download is for the browser, not for the router of the page.
_RELOAD: Final = {"download": "", "reloadDocument": True}
_ABOUT: Final = {
    "filter": "Keeps the usable rows that meet every condition. An empty field asks for nothing.",
    "dedupe": "Keeps the first of rows that say the same.",
    "curriculum": "Orders the rows by length.",
    "split": "Sets a share aside as a held-out file. Rows with the same question stay together, so nothing leaks.",
    "sample": "Keeps some rows, chosen by a fixed seed.",
    "convert": "Writes every usable row in one format.",
}


def report_panel() -> rx.Component:
    """Return the verdict with its reasons, or the button that asks for it."""
    verdict = DatasetWorkState.verdict
    pill = rx.match(
        verdict.tone,
        ("ok", rx.el.span(icon("check"), verdict.word, class_name="pill ok")),
        ("warn", rx.el.span(icon("alert"), verdict.word, class_name="pill warn")),
        ("danger", rx.el.span(icon("cross"), verdict.word, class_name="pill danger")),
        rx.el.span("Not made yet", class_name="pill"),
    )
    return panel(
        "Report",
        rx.el.div(
            rx.cond(
                verdict.tone != "",
                rx.el.div(verdict.about, ".", class_name="sm t3 num"),
                rx.el.div(
                    "Counts every token, finds duplicates, leaks and keys, and judges.", class_name="sm t2"
                ),
            ),
            rx.cond(
                DatasetWorkState.reasons,
                rx.el.div(rx.foreach(DatasetWorkState.reasons, _reason)),
                rx.cond(
                    verdict.tone == "ok",
                    rx.el.div("Nothing stands against training on this file.", class_name="sm t2"),
                    rx.fragment(),
                ),
            ),
            field_error(DatasetWorkState.report_problem),
            rx.cond(DatasetWorkState.verdict.tone != "", _downloads(), rx.fragment()),
            _heldout(),
            _report_actions(),
            class_name="p col g3",
        ),
        aside=rx.el.span(pill, aria_live="polite"),
    )


def _reason(item: Any) -> rx.Component:
    mark = rx.match(
        item.icon, ("cross", icon("cross", "s")), ("alert", icon("alert", "s")), icon("check", "s")
    )
    return rx.el.div(
        rx.el.span(mark, class_name=item.tone),
        rx.el.span(item.sentence, class_name="sm"),
        class_name="reason",
    )


def _downloads() -> rx.Component:
    kinds = (("HTML", DatasetWorkState.html_href), ("JSON", DatasetWorkState.json_href))
    return rx.el.div(
        *(
            link(icon("download", "s"), kind, to=href, class_name="btn sm", custom_attrs=_RELOAD)
            for kind, href in kinds
        ),
        class_name="row",
    )


def _heldout() -> rx.Component:
    return rx.el.div(
        rx.el.label("Held-out file", html_for="heldout"),
        rx.el.div(
            rx.el.select(
                rx.el.option("None, leaks are not looked for", value=""),
                rx.foreach(DatasetWorkState.heldouts, lambda item: rx.el.option(item.label, value=item.key)),
                id="heldout",
                value=DatasetWorkState.heldout,
                on_change=DatasetWorkState.choose_heldout,
            ),
            class_name="inp",
        ),
        class_name="field",
    )


def _report_actions() -> rx.Component:
    busy = rx.el.div(
        rx.el.span(DatasetWorkState.report_done, class_name="sm t2 num grow", role="status"),
        rx.el.button("Cancel", type="button", class_name="btn sm", on_click=DatasetWorkState.cancel_report),
        class_name="row",
    )
    ask = rx.el.button(
        "Make the report",
        type="button",
        class_name="btn",
        disabled=DatasetState.figures.tokens == "–",
        on_click=DatasetWorkState.start_report,
    )
    return rx.cond(
        DatasetWorkState.is_reporting,
        busy,
        rx.cond(
            DatasetWorkState.verdict.tone == "",
            rx.el.div(
                ask,
                rx.cond(
                    DatasetState.figures.tokens == "–",
                    rx.el.span(DatasetState.figures.tokens_note, class_name="sm t3"),
                    rx.fragment(),
                ),
                class_name="row",
            ),
            rx.fragment(),
        ),
    )


def change_panel() -> rx.Component:
    """Return the form that makes a new version."""
    state = DatasetWorkState
    fields = rx.match(
        state.operation,
        ("dedupe", _dedupe()),
        (
            "curriculum",
            _choice(
                "order", "Order", (("short_first", "Short rows first"), ("long_first", "Long rows first"))
            ),
        ),
        ("split", _pair(_text("share", "Share held out", "0.1"), _text("seed", "Seed", "0"))),
        ("sample", _pair(_text("rows", "Rows", "1,000"), _text("seed", "Seed", "0"))),
        ("convert", _convert()),
        _filter(),
    )
    about = rx.match(state.operation, *list(_ABOUT.items()), "")
    form = rx.el.form(
        fields,
        field_error(state.operation_error),
        rx.el.button(
            rx.cond(state.is_making, "Making a new version", "Make a new version"),
            type="submit",
            class_name="btn mt3",
            disabled=state.is_making,
            aria_busy=state.is_making,
        ),
        on_submit=state.make,
        key=state.operation,
    )
    return panel(
        "New version",
        rx.el.div(
            segmented("Operation", state.operation, _OPERATIONS, state.choose_operation),
            rx.el.div(about, class_name="sm t2"),
            form,
            class_name="p col g3",
        ),
        aside="the source stays as it is",
    )


def _filter() -> rx.Component:
    return rx.el.div(
        _pair(_text("min_turns", "Turns at least", "any"), _text("max_turns", "Turns at most", "any")),
        _pair(
            _text("min_chars", "Characters at least", "any"), _text("max_chars", "Characters at most", "any")
        ),
        _pair(
            _text("matching", "Must match", "regular expression"),
            _text("not_matching", "Must not match", "regular expression"),
        ),
        class_name="col g3",
    )


def _dedupe() -> rx.Component:
    kinds = (("on", "Exact and nearly equal"), ("off", "Exact only"))
    return _pair(_choice("near", "Rows that are", kinds), _text("threshold", "Likeness from", "0.8"))


def _convert() -> rx.Component:
    formats = (("openai", "OpenAI messages"), ("sharegpt", "ShareGPT"), ("csv", "CSV, one answer per row"))
    columns = (
        ("prompt", "Column of questions"),
        ("completion", "Column of answers"),
        ("system", "Column of system turns"),
        ("text", "Column of raw text"),
        ("chat", "Column of turns"),
    )
    return rx.el.div(
        _choice("to", "Format", formats),
        rx.el.div("Where the names of the columns say nothing, name them here.", class_name="help"),
        _pair(*(_column(name, label) for name, label in columns)),
        class_name="col g3",
    )


def _column(name: str, label: str) -> rx.Component:
    chosen: Any = DatasetWorkState.remembered[name]
    columns: Any = DatasetWorkState.columns
    select = rx.el.select(
        rx.el.option("As found", value=""),
        rx.foreach(columns, lambda column: rx.el.option(column, value=column)),
        name=name,
        aria_label=label,
        default_value=chosen,
        key=f"{name}-{chosen}-{columns.length()}",
    )
    return rx.el.div(
        rx.el.span(label, class_name="label"), rx.el.div(select, class_name="inp"), class_name="field"
    )


def _pair(*children: rx.Component) -> rx.Component:
    return rx.el.div(*children, class_name="grid pair stack")


# Fields carry no id: a form would send every id that any operation has, shown or not.
def _text(name: str, label: str, placeholder: str) -> rx.Component:
    return rx.el.div(
        rx.el.span(label, class_name="label"),
        rx.el.div(
            rx.el.input(
                name=name, placeholder=placeholder, aria_label=label, auto_complete="off", max_length=1000
            ),
            class_name="inp",
        ),
        class_name="field",
    )


def _choice(name: str, label: str, choices: Sequence[tuple[str, str]]) -> rx.Component:
    options = [rx.el.option(word, value=key) for key, word in choices]
    return rx.el.div(
        rx.el.span(label, class_name="label"),
        rx.el.div(rx.el.select(*options, name=name, aria_label=label), class_name="inp"),
        class_name="field",
    )


def versions_panel() -> rx.Component:
    """Return every version with what made it; to undo is to open the older one."""
    return rx.cond(
        DatasetWorkState.has_versions,
        panel(
            "Versions",
            rx.el.table(rx.el.tbody(rx.foreach(DatasetWorkState.versions, _version)), aria_label="Versions"),
            aside="to undo, open the older one",
        ),
        rx.fragment(),
    )


def _version(item: Any) -> rx.Component:
    name = rx.cond(
        item.is_open,
        rx.el.span(item.name, class_name="m"),
        link(item.name, to=item.href, class_name="rowlink"),
    )
    return rx.el.tr(
        rx.el.td(rx.el.div(name), rx.el.div(item.recipe, class_name="sm t3"), class_name="wrapcell"),
        rx.el.td(item.rows, class_name="r num t2"),
        rx.el.td(item.made, class_name="r t3 hide-s"),
        class_name=rx.cond(item.is_open, "sel", ""),
    )
