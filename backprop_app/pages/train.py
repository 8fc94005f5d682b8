"""The Train page: two choices, everything else worked out and shown; simpler before the first run."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import field_error, page_head, panel, segmented
from backprop_app.components.fields import schema_field
from backprop_app.components.icons import icon
from backprop_app.components.machine_card import machine_card
from backprop_app.components.pickers import data_field, model_field
from backprop_app.components.plan_card import blocked_reason, plan_card, runs_on, start_bar, start_button
from backprop_app.layout import Twin, shell
from backprop_app.states.train import TrainState

_PLAN = TrainState.plan
_CHOICE = TrainState.choice
_STEPS = (
    ("Train", "The loss appears here while it falls. Stop at any time, nothing is lost."),
    ("Find it on disk", "The adapter is a PEFT folder with tokenizer, ready for any tool that reads LoRA."),
    ("Use your own data", "One conversation per row, in a JSONL file. The plan adapts to it."),
)


def train_page() -> rx.Component:
    """Return the page at `/`."""
    return shell(
        rx.cond(TrainState.is_first, _first_run(), _form()),
        start_bar(),
        active="Train",
        twin=Twin(TrainState.command_head, TrainState.command_rest, TrainState.python),
        has_bar=True,
    )


def _form() -> rx.Component:
    choices = rx.el.section(
        _model(),
        _data(),
        _preset(),
        _length(),
        class_name="panel p col g4",
        aria_label="Choices",
    )
    left = rx.el.div(choices, _derived(), class_name="col g4")
    return rx.fragment(
        page_head("Train", "Two choices. Everything else is worked out and shown."),
        rx.el.div(left, plan_card(), class_name="grid two"),
    )


def _model() -> rx.Component:
    return model_field(TrainState, _CHOICE.model, _CHOICE.model_note)


def _data() -> rx.Component:
    return data_field(TrainState, _CHOICE.data, _CHOICE.data_note, _CHOICE.data_href)


def _preset() -> rx.Component:
    choices = (("quality", "Quality"), ("fast", "Fast"), ("auto", "Auto"))
    return rx.el.div(
        rx.el.span("Preset", class_name="label"),
        segmented(
            "Preset", _CHOICE.preset, choices, lambda key: TrainState.set_field("lora_preset", key), full=True
        ),
        rx.el.div(_CHOICE.preset_note, class_name="help"),
        class_name="field",
    )


def _length() -> rx.Component:
    error = TrainState.errors.get("steps", TrainState.errors.get("epochs", ""))
    return rx.el.div(
        rx.el.div(
            rx.el.span("Train for", class_name="m nw", id="label-length"),
            rx.el.span(class_name="grow"),
            rx.el.div(
                rx.el.input(
                    default_value=_CHOICE.amount,
                    key=_CHOICE.amount_key,
                    input_mode="decimal",
                    aria_labelledby="label-length",
                    on_change=lambda value: TrainState.set_field(_CHOICE.amount_kind, value).debounce(300),
                    max_length=12,
                ),
                class_name=rx.cond(error != "", "inp short bad", "inp short"),
            ),
            segmented(
                "Counted in",
                _CHOICE.amount_kind,
                (("steps", "Steps"), ("epochs", "Passes")),
                TrainState.choose_length,
            ),
            class_name="row",
        ),
        field_error(error),
        class_name="field",
    )


def _derived() -> rx.Component:
    return panel(
        "Worked out for this run",
        rx.el.div(
            rx.foreach(TrainState.derived, _derived_row),
            rx.el.button(
                rx.el.span(
                    rx.cond(TrainState.shows_advanced, icon("down"), icon("right")),
                    "Advanced",
                    class_name="row m",
                ),
                rx.el.span(TrainState.advanced_text, class_name="sm t3"),
                type="button",
                class_name="adv row sp",
                aria_expanded=rx.cond(TrainState.shows_advanced, "true", "false"),
                on_click=TrainState.toggle_advanced,
            ),
            rx.cond(
                TrainState.shows_advanced,
                rx.el.div(
                    rx.foreach(TrainState.advanced, lambda item: schema_field(TrainState, item)),
                    class_name="adv-form",
                ),
                rx.fragment(),
            ),
            class_name="ders",
        ),
        aside="select a value to see why",
    )


def _derived_row(item: Any) -> rx.Component:
    is_open = TrainState.open_why == item.field
    return rx.el.div(
        rx.el.button(
            rx.el.span(item.label, class_name="t2"),
            rx.el.span(item.value, " ", rx.el.span(item.aside, class_name="t3 n"), class_name="m num"),
            rx.el.span(item.reason, class_name="w"),
            type="button",
            class_name="der",
            aria_expanded=rx.cond(is_open, "true", "false"),
            on_click=TrainState.toggle_why(item.field),
        ),
        rx.cond(is_open, rx.el.div(item.detail, class_name="why"), rx.fragment()),
    )


def _first_run() -> rx.Component:
    figures = rx.el.div(
        rx.el.div(
            rx.el.div(_PLAN.time_label, class_name="lab"),
            rx.el.div(_PLAN.time_hero, rx.el.small(_PLAN.steps_note), class_name="hero"),
        ),
        rx.el.div(
            rx.el.div("Peak memory", class_name="lab"),
            rx.el.div(_PLAN.peak, rx.el.small(_PLAN.free), class_name="fig"),
            class_name="r",
        ),
        class_name="row sp end split",
    )
    checks = rx.el.div(
        rx.cond(_PLAN.pill_tone == "ok", _check("fits"), rx.fragment()),
        rx.cond(_PLAN.data_checked != "", _check(_PLAN.data_checked), rx.fragment()),
        rx.cond(_PLAN.disk != "", _check(_PLAN.disk), rx.fragment()),
        class_name="row g4 wrap sm t2 mt3",
    )
    choices = rx.el.section(
        rx.el.div(_model(), _data(), class_name="grid pair stack"),
        figures,
        checks,
        start_button(css="btn pri big full hide-p mt4"),
        blocked_reason(),
        rx.el.div(
            runs_on(),
            rx.el.span(
                rx.el.button(
                    "Use my own data",
                    type="button",
                    class_name="link",
                    on_click=TrainState.show_picker("dataset", True),
                ),
                rx.el.button(
                    "All settings", type="button", class_name="link", on_click=TrainState.leave_first
                ),
                class_name="row g4",
            ),
            class_name="row sp sm t2 mt3",
        ),
        class_name="panel p",
        aria_label="First run",
    )
    steps = [
        rx.el.div(
            rx.el.span(number, class_name="sm m no"),
            rx.el.div(rx.el.div(title, class_name="m"), rx.el.div(text, class_name="sm t2")),
            class_name="row g3 top",
        )
        for number, (title, text) in enumerate(_STEPS, start=1)
    ]
    what = panel("What will happen", rx.el.div(*steps, class_name="steps"), head_css="ptop flush")
    return rx.fragment(
        page_head(
            "Train your first model",
            "A small model and five example chats are ready. No GPU is needed for this one.",
        ),
        rx.el.div(rx.el.div(choices, what, class_name="col g4"), machine_card(), class_name="grid two first"),
    )


def _check(text: Any) -> rx.Component:
    return rx.el.span(rx.el.span(icon("check", "s"), class_name="ok"), text, class_name="row g6")
