"""The Playground: the same question to the base and the tuned model, side by side."""

from __future__ import annotations

import reflex as rx

from backprop_app.components.basics import empty, page_head, segmented
from backprop_app.components.icons import icon
from backprop_app.components.local import link
from backprop_app.components.playground_lanes import lane
from backprop_app.components.playground_sampling import sampling_panel
from backprop_app.layout import Twin, shell
from backprop_app.states.playground import PlaygroundState
from backprop_app.views.playground import MODES

_MODEL = PlaygroundState.model
_IS_BOTH = (PlaygroundState.mode == "both") & _MODEL.has_base


def playground_page() -> rx.Component:
    """Return the page at `/playground`."""
    has_model = _MODEL.key != ""
    actions = rx.cond(
        has_model,
        rx.fragment(
            rx.el.button(
                icon("again", "s"),
                "New conversation",
                type="button",
                class_name="btn",
                disabled=PlaygroundState.is_writing | (PlaygroundState.question == ""),
                on_click=PlaygroundState.begin_anew,
            ),
            rx.cond(
                _MODEL.has_base,
                segmented("Sides", PlaygroundState.mode, MODES, PlaygroundState.choose_mode),
                rx.fragment(),
            ),
        ),
        rx.fragment(),
    )
    lead = rx.cond(
        _MODEL.has_base | ~has_model,
        "The same prompt, the base and the tuned model, side by side.",
        "Its base model is not known or not on this machine, so it answers alone.",
    )
    return shell(
        page_head("Playground", lead, actions),
        rx.cond(
            has_model,
            _desk(),
            rx.cond(
                PlaygroundState.missing != "",
                _missing(),
                rx.cond(PlaygroundState.is_loaded, _nothing(), rx.fragment()),
            ),
        ),
        active="Playground",
        twin=Twin("backprop chat", PlaygroundState.command, PlaygroundState.python),
    )


def _desk() -> rx.Component:
    base = lane("Base", rx.el.span(_MODEL.base, class_name="sm t3 ell"), PlaygroundState.base, "base")
    tuned = lane("Tuned", _picker(), PlaygroundState.tuned, "tuned")
    lanes = rx.el.div(
        rx.cond(_IS_BOTH, base, rx.fragment()),
        tuned,
        class_name=rx.cond(_IS_BOTH, "grid pair stack talks", "grid talks"),
    )
    return rx.el.div(
        rx.el.div(lanes, _question(), class_name="col g4 talkside"), sampling_panel(), class_name="grid desk"
    )


def _picker() -> rx.Component:
    trigger = rx.el.button(
        rx.el.span(_MODEL.name, ", ", _MODEL.kind, class_name="ell"),
        icon("down", "s"),
        type="button",
        class_name="btn sm ghost pickname",
        disabled=PlaygroundState.is_writing,
        aria_label=rx.Var.create("Model: ") + _MODEL.name,
    )
    options = rx.foreach(
        PlaygroundState.models,
        lambda item: rx.el.button(
            rx.el.span(item.name, class_name="m ell"),
            rx.el.span(item.kind, class_name="sm t3"),
            rx.el.span(item.short_key, class_name="sm mono t3"),
            type="button",
            class_name="opt",
            on_click=PlaygroundState.choose(item.key),
        ),
    )
    return rx.popover.root(
        rx.popover.trigger(trigger),
        rx.popover.content(
            rx.el.div(options, class_name="opts"), class_name="pop", side="bottom", align="end"
        ),
        open=PlaygroundState.open_picker,
        on_open_change=PlaygroundState.show_picker,
    )


def _question() -> rx.Component:
    words = rx.cond(_IS_BOTH, "Ask both models", "Ask the model")
    field = rx.el.textarea(
        name="question",
        placeholder=words,
        aria_label=words,
        rows="2",
        max_length=50_000,
        class_name="ask",
    )
    system = rx.el.button(
        rx.cond(
            PlaygroundState.system != "",
            rx.el.span("system: ", PlaygroundState.system, class_name="ell"),
            "system: none",
        ),
        type="button",
        class_name="chip pick",
        aria_expanded=rx.cond(PlaygroundState.shows_system, "true", "false"),
        on_click=PlaygroundState.toggle_system,
    )
    prompt = rx.el.textarea(
        default_value=PlaygroundState.system,
        placeholder="You answer for…",
        aria_label="System prompt",
        rows="3",
        max_length=8000,
        class_name="area",
        on_change=PlaygroundState.set_system.debounce(200),
    )
    send = rx.el.button(
        icon("prompt"),
        "Ask",
        type="submit",
        class_name="btn pri steady",
        custom_attrs={"data-key": "start"},
    )
    stop = rx.el.button(
        icon("stop", "s"),
        rx.cond(PlaygroundState.is_stopping, "Stopping", "Stop writing"),
        type="button",
        class_name="btn steady",
        aria_busy=PlaygroundState.is_stopping,
        on_click=PlaygroundState.stop_writing,
    )
    return rx.el.form(
        field,
        rx.cond(PlaygroundState.shows_system, prompt, rx.fragment()),
        rx.el.div(
            rx.el.div(
                system,
                rx.el.span("template: from the model", class_name="chip hide-s"),
                class_name="row wrap grow",
            ),
            rx.el.span("Ctrl ↵", class_name="sm t3 hide-s"),
            rx.cond(PlaygroundState.is_writing, stop, send),
            class_name="row sp",
        ),
        on_submit=PlaygroundState.send,
        reset_on_submit=True,
        class_name="panel askbox",
        aria_label="Question",
    )


def _nothing() -> rx.Component:
    return rx.el.div(
        empty(
            "chat",
            "Nothing to talk to yet",
            "A run that has finished, or a GGUF file that was exported, appears here.",
            link("Train a model", to="/", class_name="btn"),
        ),
        class_name="panel",
    )


def _missing() -> rx.Component:
    return rx.el.div(
        empty(
            "search",
            "This model is not here",
            PlaygroundState.missing,
            rx.el.a("All models", href="/playground", class_name="btn"),
        ),
        class_name="panel",
    )
