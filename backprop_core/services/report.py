"""What happened while nobody looked: the runs that ended since a moment, each with its outcome and next steps.

Reads journals and the index; page, command and file show what this returns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from backprop_core import units
from backprop_core.errors import ErrorRecord, InputError
from backprop_core.events import types as ev
from backprop_core.jobs import queue
from backprop_core.runs.projection import TERMINAL, RunState
from backprop_core.runs.series import Point, read_history, thin
from backprop_core.runs.store import RunFolder
from backprop_core.services.failure import failure_of
from backprop_core.workspace import Workspace

CURVE_POINTS: Final = 60
_LAST: Final = timedelta(hours=12)
_MOST_RUNS: Final = 200
_MOST_POINTS: Final = 40_000
_LONGEST: Final = timedelta(days=366)
# Power is sampled once a second; a longer hole in the samples was not measured.
_LONGEST_SAMPLE_S: Final = 5.0
_SPAN: Final = re.compile(r"([0-9]{1,5})\s*([mhd])\Z")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class NextStep:
    """What may be done now, as words and as the command that does it."""

    label: str
    command: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run as the report tells it.

    Attributes:
        seconds: worked time of its finished attempts, or from start to end when it did not finish one.
        curve: the loss of at most 60 steps, NaN where it was not finite.
        best_loss: the lowest on held-out rows if there are any, else of a step; at `best_step`.
        stops: what held it up or ended it, each with the rule or the reason.
        energy_wh: integral of the sampled power of the card; None where nothing measured it.
    """

    run_id: str
    short_id: str
    name: str
    kind: str
    model: str
    status: str
    ended_at: str
    seconds: float
    step: int
    total_steps: int
    loss: float | None
    best_loss: float | None
    best_step: int
    curve: tuple[float, ...]
    stops: tuple[str, ...]
    energy_wh: float | None
    error: ErrorRecord | None
    next_steps: tuple[NextStep, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Every run that ended after `since`, oldest first."""

    since: str
    runs: tuple[RunReport, ...]

    @property
    def energy_wh(self) -> float | None:
        """Measured energy of all runs, None where nothing measured any."""
        measured = [run.energy_wh for run in self.runs if run.energy_wh is not None]
        return sum(measured) if measured else None

    @property
    def headline(self) -> str:
        """How it went, in one line: "3 of 4 runs done, 1 failed"."""
        if not self.runs:
            return "No run ended"
        count = {status: sum(run.status == status for run in self.runs) for status in TERMINAL}
        total = f"{len(self.runs)} run{'' if len(self.runs) == 1 else 's'}"
        others = [f"{count[word]} {word}" for word in ("stopped", "failed", "interrupted") if count.get(word)]
        return ", ".join([f"{count['completed']} of {total} done", *others])

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values; a loss that was not finite is null."""
        runs = [
            asdict(run) | {"curve": [value if math.isfinite(value) else None for value in run.curve]}
            for run in self.runs
        ]
        return {"since": self.since, "headline": self.headline, "energy_wh": self.energy_wh, "runs": runs}


def energy_text(energy_wh: float | None) -> str:
    """Format energy: 1340 -> "1.34 kWh"; None -> "not measured"."""
    if energy_wh is None:
        return "not measured"
    big = energy_wh >= 1000
    return f"{energy_wh / 1000 if big else energy_wh:.3g}{units.NBSP}{'kWh' if big else 'Wh'}"


def morning_report(ws: Workspace, since: str = "last") -> Report:
    """Return what ended since a moment.

    Args:
        since: a span such as "12h", "90m" or "3d" before now; "last" for the twelve hours up to the newest
            end, so that a report asked for at noon still tells of the night.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, `since` is neither.
    """
    span = _span(since)
    queue.wake_scheduler(ws, queue.refresh_active(ws))
    ended = [row.state for row in ws.database.list(statuses=sorted(TERMINAL), limit=_MOST_RUNS)]
    newest = max((_ended_at(state) for state in ended), default=ws.clock.now())
    start = newest - _LAST if span is None else ws.clock.now() - span
    chosen = sorted((state for state in ended if _ended_at(state) >= start), key=_ended_at)
    return Report(start.isoformat(timespec="seconds"), tuple(_report_of(ws, state) for state in chosen))


def _span(since: str) -> timedelta | None:
    if since == "last":
        return None
    match = _SPAN.match(since.strip())
    span = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    if span is None or not timedelta() < span <= _LONGEST:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{since[:40]!r} is no time span of at most a year.",
            hint="Say 12h, 90m or 3d, or `last` for the newest night.",
        )
    return span


def _ended_at(state: RunState) -> datetime:
    return datetime.fromisoformat(state.ended_at or state.updated_at or state.created_at)


def _report_of(ws: Workspace, state: RunState) -> RunReport:
    facts = _Facts()
    path = RunFolder(Path(state.folder)).journal_path
    size = path.stat().st_size if path.is_file() else 0
    facts.read(read_history(path, size, with_telemetry=True))
    began = datetime.fromisoformat(state.started_at or state.created_at)
    seconds = state.seconds or max(0.0, (_ended_at(state) - began).total_seconds())
    best_step, best_loss = facts.best()
    return RunReport(
        run_id=state.run_id,
        short_id=state.short_id,
        name=state.name,
        kind=state.kind,
        model=state.model.rpartition("/")[2],
        status=state.status,
        ended_at=_ended_at(state).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        step=state.step,
        total_steps=state.total_steps,
        loss=state.loss,
        best_loss=best_loss,
        best_step=best_step,
        curve=tuple(point.loss for point in facts.curve()),
        stops=tuple(facts.stops),
        energy_wh=facts.energy_wh,
        error=state.error,
        next_steps=tuple(_next_steps(ws, state)),
    )


class _Facts:
    """What one journal tells, read once from its beginning."""

    def __init__(self) -> None:
        self.stops: list[str] = []
        self.energy_wh: float | None = None
        self._points: dict[int, Point] = {}
        self._held_out: dict[int, float] = {}
        self._power: tuple[float, float] | None = None

    def read(self, history: Iterable[tuple[int, Point] | ev.Event]) -> None:
        """Take in every point and event."""
        for found in history:
            if not isinstance(found, ev.Event):
                self._add_point(found[1])
                continue
            body = found.body
            if isinstance(body, ev.TelemetrySampled):
                self._add_power(found.mono, body.gpu_power_w)
            elif isinstance(body, ev.Evaluated):
                if body.loss is not None:
                    self._held_out[body.step] = body.loss
            elif isinstance(body, ev.RunStarted):
                self._power = None
            elif line := _stop_line(body):
                self.stops.append(line)

    def curve(self) -> Sequence[Point]:
        """Return the points of the small curve."""
        return thin([self._points[step] for step in sorted(self._points)], CURVE_POINTS)

    def best(self) -> tuple[int, float | None]:
        """Return the step with the lowest loss, on held-out rows if there are any."""
        losses = self._held_out or {step: point.loss for step, point in self._points.items()}
        finite = {step: loss for step, loss in losses.items() if math.isfinite(loss)}
        if not finite:
            return 0, None
        step = min(finite, key=lambda number: finite[number])
        return step, finite[step]

    def _add_point(self, point: Point) -> None:
        self._points[point.step] = point
        if len(self._points) > _MOST_POINTS:
            # Thinning keeps the lowest loss of each stretch.
            kept = thin([self._points[step] for step in sorted(self._points)], _MOST_POINTS // 2)
            self._points = {point.step: point for point in kept}

    def _add_power(self, mono: float, power_w: float | None) -> None:
        if power_w is None:
            self._power = None
            return
        if self._power is not None and 0 < mono - self._power[0] <= _LONGEST_SAMPLE_S:
            # Trapezoid between two samples: mean power by time.
            joule = (mono - self._power[0]) * (power_w + self._power[1]) / 2
            self.energy_wh = (self.energy_wh or 0.0) + joule / 3600
        self._power = (mono, power_w)


def _stop_line(body: ev.Body) -> str:
    """Return what an event says about a halt, empty when it is none."""
    if isinstance(body, ev.RunPaused):
        return f"paused after step {units.count(body.step)}: {body.reason}"
    if isinstance(body, ev.RunStopped):
        return f"stopped after step {units.count(body.step)}" + _by_rule(body)
    if isinstance(body, ev.RunInterrupted):
        return f"interrupted after step {units.count(body.step)}: {body.reason}"
    if isinstance(body, ev.RunFailed):
        return f"failed after step {units.count(body.step)}: {body.error['code']}"
    if isinstance(body, ev.BatchSplit):
        return f"batch {body.before} to {body.after} in step {units.count(body.step)}: memory ran out"
    return body.message if isinstance(body, ev.Notice) and body.level == "warning" else ""


def _by_rule(body: ev.RunStopped) -> str:
    return f" by the rule {body.rule}: {body.reason}" if body.rule else ""


def _next_steps(ws: Workspace, state: RunState) -> list[NextStep]:
    short = state.short_id
    if state.kind != "train":
        return [] if state.status == "completed" else [NextStep("Go on with it", f"backprop resume {short}")]
    if state.status == "completed":
        return [
            NextStep("Export it", f"backprop export {short} --format gguf"),
            NextStep("Try it", f"backprop chat {short}"),
        ]
    card = failure_of(ws, state.run_id)
    steps = [NextStep(fix.title, fix.command) for fix in card.fixes] if card is not None else []
    steps = steps or [NextStep("Go on with it", f"backprop resume {short}")]
    if state.artifact:
        steps.append(NextStep("Export what it has", f"backprop export {short} --format gguf"))
    return [*steps, NextStep("Start it anew with other settings", f"backprop replay {short} --override K=V")]
