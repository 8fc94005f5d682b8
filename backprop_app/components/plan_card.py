"""The plan card: peak memory by component, what the run costs, one suggestion, Start."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.icons import icon
from backprop_app.components.status import badge
from backprop_app.states.train import TrainState

_PLAN = TrainState.plan
_ROW_ICONS = ("train", "tokens", "clock", "disk", "download")


def plan_pill() -> rx.Component:
    """Return whether the run fits, as a pill."""
    mark = rx.match(
        _PLAN.pill_tone,
        ("ok", icon("check")),
        ("danger", icon("cross")),
        ("warn", icon("alert")),
        icon("info"),
    )
    return rx.cond(_PLAN.pill_text != "", badge(_PLAN.pill_tone, _PLAN.pill_text, mark), rx.fragment())


def memory_bar() -> rx.Component:
    """Return the bar of memory components with its legend."""
    segments = rx.foreach(
        TrainState.parts,
        lambda part: rx.el.i(
            class_name=part.css, style={"width": part.width}, title=f"{part.label} {part.value} GiB"
        ),
    )
    legend = rx.foreach(
        TrainState.parts,
        lambda part: rx.el.div(
            rx.el.span(class_name=rx.Var.create("sw ") + part.css),
            rx.el.span(part.label),
            rx.el.b(part.value),
        ),
    )
    limit = rx.cond(
        _PLAN.limit != "", rx.el.span(class_name="limit", style={"left": _PLAN.limit}), rx.fragment()
    )
    return rx.fragment(
        rx.el.div(
            rx.el.div(segments, class_name="mem", role="img", aria_label=_PLAN.bar_label),
            limit,
            class_name="membox",
        ),
        rx.el.div(legend, class_name="leg"),
    )


def plan_card() -> rx.Component:
    """Return the whole card."""
    head = rx.el.div(
        rx.el.div(
            rx.el.div(_PLAN.memory_label, class_name="lab"),
            rx.el.div(_PLAN.peak, rx.el.small(_PLAN.free), class_name="hero"),
        ),
        rx.el.span(_PLAN.error_bar, rx.el.br(), _PLAN.source, class_name="sm t3 r"),
        class_name="row sp end",
    )
    return rx.el.section(
        rx.el.div(rx.el.h2("Plan"), plan_pill(), class_name="ptop"),
        rx.el.div(
            rx.el.div(
                head,
                memory_bar(),
                rx.el.div(rx.foreach(TrainState.plan_rows, _plan_row), class_name="mt3"),
                class_name=rx.cond(_PLAN.is_stale, "stale", ""),
            ),
            suggestion(),
            start_button(),
            blocked_reason(),
            rx.el.div(runs_on(), class_name="row sp sm t2 mt2"),
            class_name="p col grow",
        ),
        class_name="panel col stay",
        aria_label="Plan",
    )


def _plan_row(row: Any) -> rx.Component:
    mark = rx.match(row.icon, *[(name, icon(name)) for name in _ROW_ICONS], icon("info"))
    return rx.el.div(
        rx.el.span(mark, class_name="t3"),
        rx.el.span(row.label, class_name="k"),
        rx.el.span(row.value, class_name="v"),
        rx.el.span(row.note, class_name="sub2", title=row.note),
        class_name="prow num",
    )


def suggestion() -> rx.Component:
    """Return the one change that the plan suggests, with its button."""
    return rx.cond(
        _PLAN.suggestion != "",
        rx.el.div(
            icon("info"),
            rx.el.span(_PLAN.suggestion, class_name="grow"),
            rx.el.button(
                _PLAN.suggestion_button,
                type="button",
                class_name="btn sm",
                on_click=TrainState.use_suggestion,
            ),
            class_name="note mt2",
        ),
        rx.fragment(),
    )


def start_button(
    *, label: str = "Start training", css: str = "btn pri big full hide-p mt3", **props: Any
) -> rx.Component:
    """Return the button that starts the run; it says so while it does, and is off with a reason beside it."""
    return rx.el.button(
        icon("play"),
        rx.cond(TrainState.is_starting, "Starting", label),
        rx.cond(TrainState.is_starting, rx.fragment(), rx.el.kbd("Ctrl ↵")),
        type="button",
        class_name=css,
        disabled=(_PLAN.blocked != "") | ~_PLAN.is_ready,
        aria_busy=TrainState.is_starting,
        on_click=TrainState.start,
        custom_attrs={"data-key": "start"},
        **props,
    )


def blocked_reason() -> rx.Component:
    """Return why Start is off."""
    return rx.cond(
        _PLAN.blocked != "",
        rx.el.div(
            icon("alert"),
            rx.el.span(
                rx.el.span(_PLAN.blocked, class_name="t1"), " ", _PLAN.blocked_hint, class_name="grow"
            ),
            class_name="note warn mt2",
            role="alert",
        ),
        rx.fragment(),
    )


def runs_on() -> rx.Component:
    """Return the promise that the page may be closed."""
    return rx.el.span(icon("moon", "s"), "Runs on when this page closes", class_name="row g6")


def start_bar() -> rx.Component:
    """Return the bar that holds Start on a phone."""
    return rx.el.div(
        rx.el.div(
            rx.el.div(_PLAN.short_memory, class_name="m num"),
            rx.el.div(_PLAN.time, class_name="sm t2"),
            class_name="grow",
        ),
        start_button(label="Start", css="btn pri big"),
        class_name="startbar",
    )
