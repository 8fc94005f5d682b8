"""What the card "Did it help?" says. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from backprop_core import units
from backprop_core.config.evaluations import Evaluation, Interval

_VERDICTS: Final = {
    "gain": ("ok", "It helped", "check"),
    "none": ("warn", "No evidence of gain", "alert"),
    "worse": ("danger", "It got worse", "cross"),
}
_MEASURES: Final = {"exact": "Exact match", "contains": "Contains the answer", "regex": "Pattern"}
_FLIPS_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class MeasureItem:
    """One row of figures."""

    name: str
    before: str
    after: str
    gain: str


@dataclass(frozen=True, slots=True)
class FlipItem:
    """A row that changed between right and wrong."""

    row: str
    is_fixed: bool
    question: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class EvalView:
    """The card; `tone` is empty while there is no result."""

    tone: str = ""
    word: str = ""
    cause: str = ""
    about: str = ""
    before: str = ""
    after: str = ""
    measures: list[MeasureItem] = field(default_factory=list)
    flips: list[FlipItem] = field(default_factory=list)
    moved: str = ""
    method: str = ""


def eval_view(found: Evaluation) -> EvalView:
    """Return what a result says."""
    tone, word, _ = _VERDICTS[found.verdict]
    rows = [
        MeasureItem(
            "Loss",
            units.loss(found.before_loss),
            units.loss(found.after_loss),
            _interval(found.loss_gain),
        ),
        MeasureItem("Perplexity", _figure(found.before_perplexity), _figure(found.after_perplexity), ""),
    ]
    if found.own_gain is not None:
        rows.append(MeasureItem("More than for other answers", "", "", _interval(found.own_gain)))
    rows += [
        MeasureItem(
            _MEASURES[part.name],
            f"{part.before:.0%}",
            f"{part.after:.0%}",
            _interval(part.gain, percent=True),
        )
        for part in found.measures
    ]
    return EvalView(
        tone=tone,
        word=word,
        cause=found.cause,
        about=f"{found.rows} rows of {found.data}, {units.duration(found.seconds)}",
        before=found.before,
        after="tuned" if found.before == "base" else found.after,
        measures=rows,
        flips=[
            FlipItem(f"Row {flip.row}", flip.is_fixed, flip.question, flip.before, flip.after)
            for flip in found.flips[:_FLIPS_SHOWN]
        ],
        moved=f"{found.better} rows better, {found.worse} worse",
        method=found.method,
    )


def _interval(gain: Interval, *, percent: bool = False) -> str:
    factor, digits, unit = (100, 0, f"{units.NBSP}%") if percent else (1, 3, "")
    low, high = (f"{factor * value:.{digits}f}".replace("-", units.MINUS) for value in (gain.low, gain.high))
    sign = units.MINUS if gain.value < 0 else "+"
    return f"{sign}{abs(factor * gain.value):.{digits}f}{unit} ({low} to {high})"


def _figure(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else units.compact(value)
