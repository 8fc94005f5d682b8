"""Events as lines of the log: a clock, a bold noun, a fact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from backprop_core import units
from backprop_core.events import types as ev


@dataclass(frozen=True, slots=True)
class EventItem:
    """One line of the log; `stamp` is the full time for machines."""

    stamp: str
    clock: str
    noun: str
    fact: str


def event_item(event: ev.Event, name: str, zone: tzinfo | None) -> EventItem | None:
    """Return the line of `event`; None for what belongs to charts and figures.

    Args:
        event: from a journal.
        name: of the run it belongs to.
        zone: of the reader.
    """
    words = _words(event.body, name)
    if words is None:
        return None
    local = event.ts.astimezone(zone)
    return EventItem(event.ts.isoformat(timespec="seconds"), f"{local:%H:%M}", *words)


def note(moment: datetime, noun: str, fact: str) -> EventItem:
    """Return a line that the app itself writes."""
    return EventItem(moment.isoformat(timespec="seconds"), f"{moment:%H:%M}", noun, fact)


def newest_first(
    events: Iterable[ev.Event], name: str, notes: Sequence[EventItem], zone: tzinfo | None, limit: int
) -> list[EventItem]:
    """Return the newest lines of a run's events and the app's own notes together."""
    lines = _folded(events, name, zone)
    lines.reverse()
    merged = sorted(
        [*lines, *reversed(notes)], key=lambda line: datetime.fromisoformat(line.stamp), reverse=True
    )
    return merged[:limit]


def _folded(events: Iterable[ev.Event], name: str, zone: tzinfo | None) -> list[EventItem]:
    """Return the lines in order; of checkpoints that follow each other only the newest, with their number."""
    lines: list[EventItem] = []
    saved: set[int] = set()
    follows = False
    for event in events:
        line = event_item(event, name, zone)
        if line is None:
            continue
        if not isinstance(event.body, ev.CheckpointSaved):
            lines.append(line)
            follows = False
            continue
        saved.add(event.body.step)
        if follows:
            fact = f" step {units.count(event.body.step)} saved, {units.count(len(saved))} so far"
            lines[-1] = replace(line, fact=fact)
        else:
            lines.append(line)
        follows = True
    return lines


def _words(body: ev.Body, name: str) -> tuple[str, str] | None:
    match body:
        case ev.RunStarted(attempt=1, device=device):
            return "Started", f" {name} on {'the processor' if device in {'', 'cpu'} else device}"
        case ev.RunStarted(attempt=attempt):
            return f"Attempt {attempt}", f" of {name} started"
        case ev.TrainingPlanned(total_steps=steps, rows=rows):
            return "Planned", f" {units.count(steps)} steps over {units.count(rows)} rows"
        case ev.Evaluated(loss=loss, step=step):
            return "Evaluation", f" {units.loss(loss)} at step {units.count(step)}"
        case ev.CheckpointSaved(step=step, size_bytes=size):
            return "Checkpoint", f" step {units.count(step)} saved, {units.file_size(size)}"
        case ev.RunResumed(step=step):
            return "Resumed", f" {name} at step {units.count(step)}"
        case ev.BatchSplit(before=before, after=after):
            return "Batch halved", f", {before} to {after} rows, no step lost"
        case ev.RunPaused(reason=reason):
            return "Paused", f": {reason}" if reason else f" {name}"
        case ev.RunContinued(step=step):
            return "Going on", f" at step {units.count(step)}"
        case ev.Notice(message=message, level=level):
            return ("Warning" if level == "warning" else "Note"), f": {message}"
        case _:
            return _of_a_leg(body) or _last_words(body, name)


def _of_a_leg(body: ev.Body) -> tuple[str, str] | None:
    match body:
        case ev.LegStarted(leg=leg, name=name):
            return f"Leg {leg}", f" {name} started"
        case ev.LegMerged(leg=leg, is_accepted=False, reason=reason):
            return "Not merged", f": leg {leg}, {reason}"
        case ev.LegMerged(leg=leg, weight=weight):
            return "Merged", f" leg {leg}, weight {weight:.3f}"
        case _:
            return None


def _last_words(body: ev.Body, name: str) -> tuple[str, str] | None:
    match body:
        case ev.RunCompleted(step=step, seconds=seconds):
            return "Completed", f" {name}, {units.count(step)} steps in {units.duration(seconds)}"
        case ev.RunStopped(step=step, rule=str(rule), reason=reason):
            return "Stopped", f" {name} at step {units.count(step)} by its rule {rule}: {reason}"
        case ev.RunStopped(step=step):
            return "Stopped", f" {name} at step {units.count(step)}, adapter saved"
        case ev.RunInterrupted(step=step):
            return "Interrupted", f" {name} at step {units.count(step)}"
        case ev.RunFailed(error=error):
            return "Failed", f" {error['message']}"
        case _:
            return None
