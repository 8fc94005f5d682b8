"""Two runs beside each other: the settings that differ, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from backprop_app.views.detail import value_text
from backprop_core import units
from backprop_core.config.schema import train_fields
from backprop_core.runs.projection import RunState
from backprop_core.services.runs import RunDetail

# They say where a run lies and what it is called, not what it does.
_NOT_COMPARED: Final = frozenset({"output_dir", "name"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of the comparison; the values are in the order of the runs."""

    label: str
    first: str
    second: str


def setting_differences(first: RunDetail, second: RunDetail) -> list[Difference]:
    """Return each setting that the runs do not share.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND, one of them is an export.
    """
    one, other = first.training, second.training
    return [
        Difference(field.label, value_text(getattr(one, field.name)), value_text(getattr(other, field.name)))
        for field in train_fields()
        if field.name not in _NOT_COMPARED and getattr(one, field.name) != getattr(other, field.name)
    ]


def results(first: RunState, second: RunState) -> list[Difference]:
    """Return what the runs came to; evaluation only when one of them had any."""
    lines = [
        Difference("Steps taken", units.count(first.step), units.count(second.step)),
        Difference("Loss", _so_far(first, first.loss), _so_far(second, second.loss)),
    ]
    if first.eval_loss is not None or second.eval_loss is not None:
        evaluated = _so_far(first, first.eval_loss), _so_far(second, second.eval_loss)
        lines.append(Difference("Eval loss", *evaluated))
    return lines


def differ_text(differing: int) -> str:
    """Return the sentence above the settings: "2 of 41 settings differ"."""
    total = len(train_fields()) - len(_NOT_COMPARED)
    return f"{differing or 'None'} of {total} settings differ{'s' if differing == 1 else ''}"


def _so_far(state: RunState, loss: float | None) -> str:
    text = units.loss(loss)
    return text if state.is_terminal or loss is None else f"{text} so far"
