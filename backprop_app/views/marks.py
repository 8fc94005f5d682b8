"""What stands on the loss chart beside the curve: evaluations, checkpoints, pauses, restarts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from backprop_core import units
from backprop_core.events import types as ev


@dataclass(frozen=True, slots=True)
class Marks:
    """Places on the chart, by step.

    Attributes:
        evaluations: step and loss of each, in order; a step taken again counts once.
        pauses: first and last step of each; the end of a pause that lasts is its begin.
        restarts: the steps that later attempts went on from.
        boundaries: the steps at which a leg of a campaign gave way to the next.
        eval_note: how the newest evaluation compares with the best.
        waits_by_itself: whether the run is held by something that the user cannot end, such as heat.
    """

    checkpoints: list[int] = field(default_factory=list)
    evaluations: list[list[float]] = field(default_factory=list)
    pauses: list[list[int]] = field(default_factory=list)
    restarts: list[int] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=list)
    eval_note: str = ""
    waits_by_itself: bool = False


def marks_of(events: Iterable[ev.Event]) -> Marks:
    """Return the marks of a run."""
    checkpoints: set[int] = set()
    evaluations: dict[int, float] = {}
    pauses: list[list[int]] = []
    restarts: set[int] = set()
    boundaries: set[int] = set()
    hold = ""
    for event in events:
        match event.body:
            case ev.CheckpointSaved(step=step):
                checkpoints.add(step)
            case ev.Evaluated(step=step, loss=float(loss)):
                evaluations[step] = loss
            case ev.RunPaused(step=step, code=code):
                pauses.append([step, step])
                hold = code
            case ev.RunStarted():
                hold = ""
            case ev.RunContinued(step=step):
                pauses[-1:] = [[first, step] for first, _ in pauses[-1:]]
                hold = ""
            case ev.RunResumed(step=step):
                restarts.add(step)
            case ev.LegStarted(first_step=step) if step > 0:
                boundaries.add(step)
    return Marks(
        checkpoints=sorted(checkpoints),
        evaluations=[[step, round(evaluations[step], 5)] for step in sorted(evaluations)],
        pauses=pauses,
        restarts=sorted(restarts),
        boundaries=sorted(boundaries),
        eval_note=_eval_note(evaluations),
        waits_by_itself=bool(hold),
    )


def _eval_note(evaluations: dict[int, float]) -> str:
    if not evaluations:
        return ""
    best = min(evaluations, key=lambda step: (evaluations[step], step))
    return "best so far" if best == max(evaluations) else f"best {units.loss(evaluations[best])}"
