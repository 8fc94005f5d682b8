"""The forget-meter: held-out loss after each leg against the base model, as cells with sign, number and tone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from backprop_core.units import MINUS

# Differences below this are noise of the last digits that are shown.
_FLAT: Final = 0.005
_WEAKEST: Final = 13
_STRONGEST: Final = 44


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One measurement.

    Attributes:
        tone: better, worse, flat, base, or empty for one to come.
        weight: how strong the tone is, as a CSS percentage.
        is_taught: whether the leg of the row has just taught the set of the column.
        words: the same in words, for a reader that sees no colour.
    """

    text: str = ""
    tone: str = "empty"
    weight: str = "0%"
    is_taught: bool = False
    words: str = "to come"


@dataclass(frozen=True, slots=True)
class HeatRow:
    """The measurements after one leg."""

    label: str
    cells: list[HeatCell] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Heat:
    """The whole matrix; no rows when nothing is measured."""

    columns: list[str] = field(default_factory=list)
    rows: list[HeatRow] = field(default_factory=list)
    note: str = ""


def heat(
    names: Sequence[str],
    base: Sequence[float | None],
    after: Sequence[Sequence[float | None] | None],
    note: str = "",
) -> Heat:
    """Return the matrix of a campaign.

    Args:
        names: of the legs, whose held-out sets are the columns.
        base: held-out loss of the base model, (legs,); empty when it is not measured yet.
        after: held-out loss after each leg, (legs, legs); None for a leg that is not measured yet.
        note: how many rows were held out.
    """
    if not base:
        return Heat(list(names), [], note)
    changes = [
        abs(value - was)
        for row in after
        for value, was in zip(row or (), base, strict=False)
        if value is not None and was is not None
    ]
    most = max(changes, default=0.0)
    rows = [HeatRow("Base model", [_base(_at(base, column)) for column in range(len(names))])]
    for leg, name in enumerate(names):
        measured = after[leg] if leg < len(after) else None
        cells = [
            HeatCell()
            if measured is None
            else _change(_at(measured, column), _at(base, column), most, column == leg)
            for column in range(len(names))
        ]
        rows.append(HeatRow(f"After {leg + 1} {name}", cells))
    return Heat(list(names), rows, note)


def signed(value: float, decimals: int = 2) -> str:
    """Return a number with its sign: "+0.07", "−0.68"; what rounds to nothing has none."""
    text = f"{abs(value):.{decimals}f}"
    if not text.strip("0."):
        return text
    return f"{MINUS if value < 0 else '+'}{text}"


def _at(row: Sequence[float | None], column: int) -> float | None:
    """Return a measurement; the set of a leg that was added later has none in earlier rows."""
    return row[column] if column < len(row) else None


def _base(value: float | None) -> HeatCell:
    if value is None:
        return HeatCell("–", "base", words="not measured")
    return HeatCell(f"{value:.2f}", "base", words=f"loss {value:.4f}")


def _change(value: float | None, was: float | None, most: float, is_taught: bool) -> HeatCell:
    if value is None or was is None:
        return HeatCell("–", "base", is_taught=is_taught, words="not measured")
    change = value - was
    if abs(change) < _FLAT:
        return HeatCell(
            signed(change), "flat", is_taught=is_taught, words=f"as the base model, loss {value:.4f}"
        )
    weight = round(_WEAKEST + (_STRONGEST - _WEAKEST) * abs(change) / most)
    tone = "better" if change < 0 else "worse"
    words = f"{abs(change):.3f} {tone} than the base model, loss {value:.4f}"
    return HeatCell(signed(change), tone, f"{weight}%", is_taught, words)
