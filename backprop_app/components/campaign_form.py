"""The form of a campaign: model and data, how the legs are tied together, and each leg before Start."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import field_error, page_head, panel
from backprop_app.components.fields import schema_field
from backprop_app.components.icons import icon
from backprop_app.components.pickers import DATA_HINT, model_field, picker, upload
from backprop_app.states.campaign import CampaignState
from backprop_app.states.campaign_form import CampaignFormState

_CHOSEN: Any = CampaignFormState.chosen


def campaign_form() -> rx.Component:
    """Return the form with its head."""
    back = rx.cond(
        CampaignState.view.run_id != "",
        rx.el.button(
            icon("left", "s"),
            "Back to ",
            CampaignState.view.name,
            type="button",
            class_name="btn",
            on_click=CampaignState.back,
        ),
        rx.fragment(),
    )
    choices = rx.el.section(
        model_field(CampaignFormState, CampaignFormState.model, CampaignFormState.model_note),
        _sources(),
        class_name="panel p col g4",
        aria_label="Choices",
    )
    settings = panel(
        "How the legs follow one another",
        rx.el.div(
            rx.foreach(CampaignFormState.fields, lambda item: schema_field(CampaignFormState, item)),
            class_name="adv-form",
        ),
        class_name="panel inset",
    )
    return rx.fragment(
        page_head(
            "Multi-Run",
            "New data in legs, one after another, into one adapter. What each leg forgets is measured.",
            back,
        ),
        rx.el.div(
            rx.el.div(choices, settings, class_name="col g4"),
            rx.el.div(_preview(), _start(), class_name="col g4"),
            class_name="grid two",
        ),
    )


def _sources() -> rx.Component:
    error = CampaignFormState.errors.get("sources", CampaignFormState.errors.get("dataset", ""))
    add = picker(
        CampaignFormState,
        mark="plus",
        label="Add data",
        shown=rx.cond(_CHOSEN, "Add the file of the next leg", "Choose a data file"),
        field="dataset",
        options=CampaignFormState.data,
        placeholder=DATA_HINT,
        extra=upload(CampaignFormState),
    )
    number = _CHOSEN.length()
    note = rx.cond(
        number == 0,
        "One file is cut into equal legs; several are one leg each, in this order.",
        rx.cond(
            number == 1, "Cut into as many legs as are set below.", "One leg for each file, in this order."
        ),
    )
    return rx.el.div(
        rx.el.span("Data", class_name="label"),
        rx.el.ol(rx.foreach(_CHOSEN, _source), class_name="sources", aria_label="Data files"),
        add,
        rx.cond((error != "") & (number > 0), field_error(error), rx.el.div(note, class_name="help")),
        class_name="field",
    )


def _source(option: Any, index: Any) -> rx.Component:
    return rx.el.li(
        rx.el.span(index + 1, class_name="t3 num"),
        rx.el.span(option.label, class_name="m ell grow", title=option.key),
        rx.el.span(option.note, class_name="sm t3 num"),
        rx.el.button(
            icon("cross", "s"),
            type="button",
            class_name="btn sm ic ghost",
            aria_label=rx.Var.create("Take out ") + option.label,
            on_click=CampaignFormState.drop_source(index),
        ),
        class_name="row",
    )


def _preview() -> rx.Component:
    head = rx.el.tr(
        rx.el.th("Leg"),
        rx.el.th("Rows, and replayed"),
        rx.el.th("Held out", class_name="r hide-s"),
        rx.el.th("Steps", class_name="r hide-s"),
        rx.el.th("Learning rate", class_name="r"),
    )
    table = rx.el.div(
        rx.el.table(
            rx.el.thead(head),
            rx.el.tbody(rx.foreach(CampaignFormState.legs, _leg)),
            aria_label="Legs before Start",
        ),
        class_name="scroll",
    )
    nothing = rx.el.div(
        icon("tokens"), rx.el.span("Each leg appears here once the data is chosen."), class_name="note"
    )
    return panel(
        "Legs",
        rx.cond(CampaignFormState.legs, table, rx.el.div(nothing, class_name="p")),
        aside=rx.cond(CampaignFormState.is_planning, "working it out", "before Start"),
    )


def _leg(leg: Any) -> rx.Component:
    bar = rx.el.div(
        rx.el.i(class_name="own", style={"width": leg.own_share}),
        rx.el.i(class_name="again", style={"width": leg.replay_share}),
        class_name="split-bar",
        aria_hidden="true",
    )
    rate = rx.el.div(rx.el.i(style={"width": leg.rate_width}), class_name="bar", aria_hidden="true")
    return rx.el.tr(
        rx.el.td(rx.el.span(leg.number, " ", class_name="t3 num"), rx.el.span(leg.name, class_name="m")),
        rx.el.td(
            rx.el.div(leg.rows, " ", rx.el.span(leg.replay, class_name="t2"), class_name="num"),
            bar,
        ),
        rx.el.td(leg.held_out, class_name="r hide-s"),
        rx.el.td(leg.steps, class_name="r hide-s"),
        rx.el.td(rx.el.div(leg.rate, class_name="num"), rate, class_name="r"),
    )


def _start() -> rx.Component:
    costs = rx.el.dl(
        rx.foreach(
            CampaignFormState.costs,
            lambda pair: rx.fragment(
                rx.el.dt(pair.label),
                rx.el.dd(pair.value, " ", rx.el.span(pair.aside, class_name="t3 n")),
            ),
        ),
        class_name="kv num",
    )
    button = rx.el.button(
        icon("play"),
        rx.cond(CampaignFormState.is_starting, "Starting", "Start the campaign"),
        type="button",
        class_name="btn pri big full",
        disabled=(CampaignFormState.blocked != "") | CampaignFormState.is_starting,
        aria_busy=CampaignFormState.is_starting,
        on_click=CampaignFormState.start,
        custom_attrs={"data-key": "start"},
    )
    return rx.el.section(
        rx.cond(CampaignFormState.costs, costs, rx.fragment()),
        rx.el.div(
            rx.cond(
                CampaignFormState.blocked != "",
                rx.el.div(icon("alert"), rx.el.span(CampaignFormState.blocked), class_name="note warn"),
                rx.fragment(),
            ),
            button,
            rx.el.div(icon("moon", "s"), "Runs on when this page closes", class_name="row g6 sm t3"),
            class_name="p col g3",
        ),
        class_name="panel",
        aria_label="Start",
    )
