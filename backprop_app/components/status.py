"""The status of a run as a pill with icon and word, and as a plain word for tables."""

from __future__ import annotations

from typing import Any, Final

import reflex as rx

from backprop_app.components.icons import icon

_DOT: Final = "dot"
_LOOKS: Final[dict[str, tuple[str, str, str]]] = {
    "queued": ("", "clock", "Queued"),
    "starting": ("live", _DOT, "Starting"),
    "running": ("live", _DOT, "Running"),
    "paused": ("warn", "pause", "Paused"),
    "completed": ("ok", "check", "Completed"),
    "stopped": ("", "stop", "Stopped"),
    "failed": ("danger", "cross", "Failed"),
    "interrupted": ("warn", "alert", "Interrupted"),
}
_IDLE: Final = ("", "check", "Idle")


def _mark(name: str) -> rx.Component:
    return rx.el.span(class_name="dot") if name == _DOT else icon(name)


def _shape(base: str, look: tuple[str, str, str]) -> rx.Component:
    tone, mark, word = look
    return rx.el.span(_mark(mark), word, class_name=f"{base} {tone}".strip())


def pill(status: Any) -> rx.Component:
    """Return the pill of `status`, a var; no status is idle."""
    cases = [(word, _shape("pill", look)) for word, look in _LOOKS.items()]
    return rx.match(status, *cases, _shape("pill", _IDLE))


def word(status: Any) -> rx.Component:
    """Return the status for a table: no tint, but for a run that works."""
    live = {"starting", "running"}
    cases = [(name, _shape("pill" if name in live else "st", look)) for name, look in _LOOKS.items()]
    return rx.match(status, *cases, _shape("st", _IDLE))


def badge(tone: Any, text: Any, mark: rx.Component) -> rx.Component:
    """Return a pill with any words; `tone` is a var: ok, warn, danger or empty."""
    return rx.el.span(mark, text, class_name=rx.Var.create("pill ") + tone)
