"""What the Playground shows: models, turns, how a reply ended, the twins. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backprop_core import units
from backprop_core.config.chats import ChatMessage, Finished, Sampling, Side
from backprop_core.errors import BackpropagateError
from backprop_core.services.chat_sources import ChatSource

SIDES: Final[tuple[Side, Side]] = ("base", "tuned")
MODES: Final = (("both", "Side by side"), ("tuned", "Tuned only"))

_ENDINGS: Final = {
    "stop": "ended by itself",
    "length": "longest reply reached",
    "cancelled": "stopped",
}


@dataclass(frozen=True, slots=True)
class Slider:
    """One number of the sampling.

    Attributes:
        step: of the control.
        decimals: shown.
    """

    name: str
    label: str
    low: float
    high: float
    step: float
    decimals: int


# The control's range may be narrower than that of the schema; the command takes all of it.
SLIDERS: Final = (
    Slider("temperature", "Temperature", 0, 2, 0.05, 2),
    Slider("top_p", "Top p", 0.05, 1, 0.05, 2),
    Slider("top_k", "Top k", 0, 200, 1, 0),
    Slider("repetition_penalty", "Repeat penalty", 1, 2, 0.05, 2),
    Slider("max_tokens", "Longest reply", 16, 2048, 16, 0),
)


@dataclass(frozen=True, slots=True)
class SliderView:
    """A slider as it stands; `at` is its place as a CSS width."""

    value: float
    text: str
    at: str


@dataclass(frozen=True, slots=True)
class ModelItem:
    """A model that can be chosen; `key` is empty when there is none.

    Attributes:
        is_gguf: whether it is a file rather than a run.
    """

    key: str = ""
    short_key: str = ""
    name: str = ""
    kind: str = ""
    base: str = ""
    has_base: bool = False


@dataclass(frozen=True, slots=True)
class LaneView:
    """The newest reply of one side.

    Attributes:
        state: empty, loading, reading, writing, ended or failed.
        note: tokens and speed.
        ending: how it ended, in words.
        is_whole: whether it ended by itself.
    """

    state: str = ""
    text: str = ""
    note: str = ""
    ending: str = ""
    is_whole: bool = False
    message: str = ""
    hint: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class TurnView:
    """A question that was answered, and both replies; a side that was not asked, or failed, is empty."""

    asked: str
    base: str
    tuned: str


def model_item(source: ChatSource) -> ModelItem:
    """Return a model for the list."""
    base = ", ".join(part for part in (source.base_name, source.base_kind) if part)
    is_id = "/" not in source.key and "\\" not in source.key
    return ModelItem(
        key=source.key,
        short_key=source.key[:8] if is_id else source.key,
        name=source.name,
        kind=source.kind,
        base=base,
        has_base=source.base is not None,
    )


def slider_view(slider: Slider, value: float) -> SliderView:
    """Return a slider at `value`."""
    share = (value - slider.low) / (slider.high - slider.low)
    return SliderView(value, f"{value:.{slider.decimals}f}", f"{100 * min(1, max(0, share)):.1f}%")


def default_sliders() -> dict[str, SliderView]:
    """Return every slider at the default of the schema."""
    defaults = Sampling()
    return {slider.name: slider_view(slider, getattr(defaults, slider.name)) for slider in SLIDERS}


def clamped(name: str, value: float) -> float | None:
    """Return a value within the slider called `name`, None when there is no such slider."""
    for slider in SLIDERS:
        if slider.name == name:
            within = min(slider.high, max(slider.low, value))
            return round(within) if slider.decimals == 0 else round(within, 4)
    return None


def ended_lane(text: str, end: Finished) -> LaneView:
    """Return the lane of a reply that has ended."""
    speed = f", {end.tokens_per_s:.0f} tok/s" if end.tokens_per_s else ""
    return LaneView(
        state="ended",
        text=text,
        note=f"{_tokens(end.tokens)}{speed}",
        ending=_ENDINGS[end.reason],
        is_whole=end.reason == "stop",
    )


def failed_lane(text: str, error: BackpropagateError) -> LaneView:
    """Return the lane of a reply that broke off."""
    return LaneView(state="failed", text=text, message=error.message, hint=error.hint, code=error.code)


def conversation(turns: Sequence[TurnView], side: Side, system: str, question: str) -> list[ChatMessage]:
    """Return what a side is asked: its own earlier replies and the new question."""
    messages = [ChatMessage(role="system", content=system)] if system else []
    for turn in turns:
        answered = turn.tuned if side == "tuned" else turn.base
        if answered:
            messages.append(ChatMessage(role="user", content=turn.asked))
            messages.append(ChatMessage(role="assistant", content=answered))
    return [*messages, ChatMessage(role="user", content=question)]


def command_twin(key: str, system: str, sampling: Mapping[str, Any], *, thinking: bool) -> str:
    """Return the arguments of the command that does the same; defaults are left out."""
    words = [shlex.quote(key) if key else "RUN_ID"]
    if system:
        words += ["--system", shlex.quote(system)]
    if thinking:
        words.append("--thinking")
    for name, value in changed(sampling).items():
        words += [f"--{name.replace('_', '-')}", f"{value:g}"]
    return " ".join(words)


def python_twin(key: str, system: str, sampling: Mapping[str, Any], *, thinking: bool) -> str:
    """Return the line of Python that does the same."""
    words = [f'"{key or "RUN_ID"}"', '"…"']
    if system:
        words.append(f"system={system!r}")
    if thinking:
        words.append("enable_thinking=True")
    words += [f"{name}={value:g}" for name, value in changed(sampling).items()]
    return f"generate({', '.join(words)})"


def changed(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ from the defaults of the schema."""
    defaults = Sampling()
    return {
        name: value
        for name, value in sampling.items()
        if value is not None and value != getattr(defaults, name)
    }


def _tokens(count: int) -> str:
    return f"{units.count(count)} {'token' if count == 1 else 'tokens'}"
