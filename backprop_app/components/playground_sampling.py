"""How the replies of the Playground are chosen: sliders, the seed, thinking, and where programs ask."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import panel
from backprop_app.states.playground import PlaygroundState
from backprop_app.views.playground import SLIDERS, Slider


def sampling_panel() -> rx.Component:
    """Return the panel."""
    seed = rx.el.div(
        rx.el.label("Seed, both", html_for="seed", class_name="t2"),
        rx.el.div(
            rx.el.input(
                id="seed",
                default_value=PlaygroundState.seed,
                input_mode="numeric",
                placeholder="any",
                max_length=10,
                auto_complete="off",
                on_change=PlaygroundState.set_seed.debounce(200),
            ),
            class_name="inp short",
        ),
        class_name="row sp sm",
    )
    thinking = rx.el.label(
        rx.el.input(
            type="checkbox",
            role="switch",
            class_name="rb",
            checked=PlaygroundState.thinking,
            on_change=PlaygroundState.toggle_thinking,
        ),
        "Let it think first",
        title="For models that can be told to think; others do not read it.",
        class_name="row sm t2",
    )
    also = rx.el.div(
        rx.el.div("Also at ", rx.el.span("/v1/chat/completions", class_name="mono t1")),
        rx.el.div("Freed 5 minutes after the last reply.", class_name="t3 mt2"),
        class_name="foot sm t2",
    )
    return panel(
        "Sampling",
        rx.el.div(*[_slider(slider) for slider in SLIDERS], seed, thinking, class_name="sampling"),
        also,
        class_name="panel",
        aria_label="Sampling",
    )


def _slider(slider: Slider) -> rx.Component:
    view: Any = PlaygroundState.sliders[slider.name]
    return rx.el.label(
        rx.el.span(
            rx.el.span(slider.label, class_name="t2"),
            rx.el.span(view.text, class_name="m num"),
            class_name="row sp sm",
        ),
        rx.el.input(
            type="range",
            min=str(slider.low),
            max=str(slider.high),
            step=str(slider.step),
            default_value=view.value.to(str),
            class_name="range wide",
            style={"--at": view.at},
            on_change=lambda value: PlaygroundState.set_slider(slider.name, value).throttle(80),
        ),
    )
