"""What a page shows of a run: one record for the rail, the head of its page and its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Final

from backprop_core import units
from backprop_core.config.presets import find_preset
from backprop_core.runs.projection import ACTIVE, RunState
from backprop_core.runs.series import Point

SMOOTHING: Final = 0.9
Rows = list[list[float | None]]

_CURVE_WIDTH: Final = 92
_CURVE_HEIGHT: Final = 24

_PHASES: Final = {
    "waiting": "Waiting for the card",
    "downloading": "Fetching the model",
    "loading": "Loading the model",
    "tokenizing": "Reading the data",
    "training": "Training",
    "saving": "Saving the adapter",
    "exporting": "Writing the export",
    "proving": "Proving the file",
    "registering": "Handing it to Ollama",
    "evaluating": "Asking both models",
    "pushing": "Sending to the hub",
}
# Their progress is a number of checks or rows, not of bytes.
_COUNTED_PHASES: Final = frozenset({"proving", "evaluating"})
# Jobs that are no runs are shown on the page that started them.
_PAGES_OF_JOBS: Final = {
    "export": "/export",
    "proof": "/export",
    "push": "/export",
    "download": "/models",
    "eval": "/runs",
}
_SOURCES: Final = {"page": "page", "cli": "command", "command": "command", "python": "Python"}


@dataclass(frozen=True, slots=True)
class RunView:
    """A run in words. `status` is empty when there is none; every other field is ready to be shown."""

    run_id: str = ""
    short_id: str = ""
    name: str = ""
    status: str = ""
    model: str = ""
    about: str = ""
    phase: str = ""
    is_active: bool = False
    is_waiting: bool = False
    is_ended: bool = False
    is_bad: bool = False
    is_paused: bool = False
    can_resume: bool = False
    has_adapter: bool = False
    step: str = "0"
    total: str = "0"
    total_steps: int = 0
    percent: float = 0.0
    percent_text: str = "–"
    loss: str = "–"
    loss_note: str = ""
    eval_loss: str = ""
    left: str = "–"
    done_at: str = ""
    speed: str = "–"
    step_time: str = ""
    epoch: str = ""
    memory: str = "–"
    memory_note: str = ""
    tokens: str = "–"
    tokens_note: str = ""
    learning_rate: str = "–"
    grad_norm: str = "–"
    tokens_per_s: str = "–"
    took: str = "–"
    ended: str = ""
    summary: str = ""
    pause_reason: str = ""
    stop_text: str = ""
    has_steps: bool = False
    href: str = ""


@dataclass(frozen=True, slots=True)
class RunItem:
    """A row of the list of runs."""

    run_id: str
    short_id: str
    name: str
    status: str
    model: str
    loss: str
    took: str
    started: str
    source: str
    curve: str
    curve_end_x: str
    curve_end_y: str
    curve_class: str
    href: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """New points of one run for the charts; the run travels with them, so that two runs never mix."""

    stream: str = ""
    rows: Rows = field(default_factory=list)


class Smoother:
    """Exponential mean of the loss that does not lag at the start; `chart.jsx` draws the same mean.

    The share of the past grows with the values seen, n / (n + 10), up to `beta`, and the mean is divided by
    its weights (bias correction).
    """

    def __init__(self, beta: float = SMOOTHING) -> None:
        self._beta = beta
        self._seen = 0
        self._sum = 0.0
        self._weight = 0.0

    def add(self, value: float) -> None:
        """Take in one loss; values that are not finite are left out."""
        if math.isfinite(value):
            beta = min(self._beta, self._seen / (self._seen + 10))
            self._seen += 1
            self._sum = beta * self._sum + (1 - beta) * value
            self._weight = beta * self._weight + (1 - beta)

    @property
    def value(self) -> float | None:
        """The mean so far; None before the first value."""
        return self._sum / self._weight if self._weight else None


def short_model(model: str) -> str:
    """Return the last part of a hub id or path, of a preset that of its hub id: "smollm2-135m" too."""
    preset = find_preset(model)
    if preset is not None:
        model = preset.hub_id
    return model.replace("\\", "/").rstrip("/").rpartition("/")[2] or model


def file_name(path: str) -> str:
    """Return the name of a data file without its folders."""
    return PurePath(path.replace("\\", "/")).name or path


def clock(moment: datetime, now: datetime) -> str:
    """Return when something was: "today 18:42", "yesterday 22:40", "19 Nov 23:30"; local time."""
    local = moment.astimezone(now.tzinfo)
    days = (now.date() - local.date()).days
    if days == 0:
        return f"today {local:%H:%M}"
    if days == 1:
        return f"yesterday {local:%H:%M}"
    year = "" if local.year == now.year else f" {local.year}"
    return f"{local.day} {local:%b}{year} {local:%H:%M}"


def run_view(state: RunState, smooth_loss: float | None, now: datetime) -> RunView:
    """Return everything the page says about a run.

    Args:
        state: of the run.
        smooth_loss: mean of the newest losses; the newest loss when None.
        now: local wall time with zone.
    """
    total = max(state.total_steps, state.step)
    percent = 100 * state.step / total if total else 0.0
    if state.kind in _PAGES_OF_JOBS and state.phase_done and state.phase_total:
        percent = 100 * state.phase_done / state.phase_total
    remaining = state.remaining_s
    took = _took(state, now)
    return RunView(
        run_id=state.run_id,
        short_id=state.short_id,
        name=f"{state.name}, leg {state.leg}" if state.leg and state.status in ACTIVE else state.name,
        status=state.status,
        model=short_model(state.model),
        about=_about(state),
        phase=_phase(state),
        is_active=state.status in ACTIVE,
        is_waiting=state.status == "queued",
        is_ended=state.is_terminal,
        is_bad=state.status in {"failed", "interrupted"},
        is_paused=state.status == "paused",
        can_resume=state.is_training and state.status in {"stopped", "failed", "interrupted"},
        has_adapter=state.artifact == "adapter",
        step=units.count(state.step),
        total=units.count(total),
        total_steps=total,
        percent=round(percent, 2),
        percent_text=f"{percent:.0f}{units.NBSP}%" if total else "–",
        loss=units.loss(state.loss if smooth_loss is None else smooth_loss),
        loss_note=_loss_note(state),
        eval_loss="" if state.eval_loss is None else units.loss(state.eval_loss),
        left="–" if remaining is None else units.duration(remaining),
        done_at=_done_at(state, now),
        speed="–" if state.tokens_per_s is None else units.count(state.tokens_per_s),
        step_time="" if state.step_s is None else f"{units.duration(state.step_s)} per step",
        epoch=f"epoch {state.epoch:.2f}" if state.step else "",
        memory="–" if state.memory_bytes is None else f"{state.memory_bytes / units.GIB:.1f}",
        memory_note="peak so far" if state.device.startswith("cuda") else "resident",
        tokens=units.compact(state.tokens) if state.tokens else "–",
        tokens_note=f"{units.compact(state.supervised_tokens)} with loss" if state.tokens else "",
        learning_rate="–" if state.learning_rate is None else units.rate(state.learning_rate),
        grad_norm="–" if state.grad_norm is None else f"{state.grad_norm:.2f}",
        tokens_per_s="–" if state.tokens_per_s is None else units.count(state.tokens_per_s),
        took="–" if took is None else units.duration(took),
        ended="" if state.ended_at is None else clock(datetime.fromisoformat(state.ended_at), now),
        summary=_summary(state, took),
        pause_reason=state.pause_reason,
        stop_text=_stop_text(state),
        has_steps=state.step > 0,
        href=page_of(state),
    )


def page_of(state: RunState) -> str:
    """Return the page that shows a run or a job."""
    if state.kind == "multi-run":
        return f"/multi-run?run={state.run_id}"
    return _PAGES_OF_JOBS.get(state.kind) or f"/runs/{state.run_id}"


def still_asked(wish: str, state: RunState) -> str:
    """Return `wish` while the run has yet to follow it, else nothing.

    Args:
        wish: one of pause, continue, stop, resume, or empty.
    """
    is_done = {
        "pause": state.status == "paused" or state.is_terminal,
        "continue": state.status != "paused",
        "stop": state.is_terminal,
        "resume": not state.is_terminal,
    }
    return "" if is_done.get(wish, True) else wish


def run_item(state: RunState, points: Sequence[Point], now: datetime) -> RunItem:
    """Return the row of a run; `points` draw its small curve."""
    took = _took(state, now)
    curve, end_x, end_y = curve_path([point.loss for point in points])
    tone = "on" if state.status in ACTIVE else "bad" if state.status == "failed" else ""
    return RunItem(
        run_id=state.run_id,
        short_id=state.short_id,
        name=state.name,
        status=state.status,
        model=short_model(state.model),
        loss=units.loss(state.loss),
        took="–" if took is None else units.duration(took),
        started=clock(datetime.fromisoformat(state.started_at or state.created_at), now),
        source=_SOURCES.get(state.source, state.source),
        curve=curve,
        curve_end_x=end_x,
        curve_end_y=end_y,
        curve_class=f"curve {tone}".strip(),
        href=page_of(state),
    )


def curve_path(losses: Sequence[float]) -> tuple[str, str, str]:
    """Return a smoothed loss as an SVG path in a 92 by 24 box, with the place of its last point."""
    smoother = Smoother(0.8)
    values = []
    for loss in losses:
        smoother.add(loss)
        if smoother.value is not None:
            values.append(smoother.value)
    if len(values) < 2:
        return "", "0", "0"
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = (_CURVE_WIDTH - 5) / (len(values) - 1)
    spots = [
        (2 + step * number, 2 + (_CURVE_HEIGHT - 5) * (high - value) / span)
        for number, value in enumerate(values)
    ]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
    return path, f"{spots[-1][0]:.1f}", f"{spots[-1][1]:.1f}"


def rows_of(points: Sequence[Point], seq: int) -> Rows:
    """Return points as the chart takes them: seq, step, loss, learning rate, gradient norm, tokens per second."""
    return [
        [
            seq,
            point.step,
            _finite(point.loss, 5),
            _finite(point.learning_rate, 9),
            _finite(point.grad_norm, 4),
            _finite(point.tokens_per_s, 1),
        ]
        for point in points
    ]


def _finite(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def _done_at(state: RunState, now: datetime) -> str:
    if state.remaining_s is None:
        return ""
    if state.status == "paused":
        return "once it goes on"
    return f"done about {now + timedelta(seconds=state.remaining_s):%H:%M}"


def _took(state: RunState, now: datetime) -> float | None:
    if state.started_at is None:
        return None
    end = datetime.fromisoformat(state.ended_at) if state.ended_at else now
    return max(0.0, (end - datetime.fromisoformat(state.started_at)).total_seconds())


def _about(state: RunState) -> str:
    parts = [short_model(state.model), file_name(state.dataset)]
    if state.lora_r is not None:
        parts.append(f"rank {state.lora_r}")
    if state.device:
        parts.append("processor" if state.device == "cpu" else state.device)
    return ", ".join(parts)


def _phase(state: RunState) -> str:
    words = _PHASES.get(state.phase, "")
    if state.phase_done is not None and state.phase_total:
        share = 100 * state.phase_done / state.phase_total
        return f"{words}, {share:.0f}{units.NBSP}%"
    return f"{words}: {state.phase_detail}" if words and state.phase_detail else words


def _stop_text(state: RunState) -> str:
    """Return which rule of the run ended it: "Rule plateau: no new lowest loss"; empty when none did."""
    if state.stop_rule is None:
        return ""
    rule = state.stop_rule.replace("_", " ")
    return f"Rule {rule}: {state.stop_reason}" if state.stop_reason else f"Rule {rule}"


def _loss_note(state: RunState) -> str:
    if state.loss is None or state.first_loss is None or state.step <= 1:
        return ""
    return f"{units.loss(state.first_loss)} at step 1"


def _summary(state: RunState, took: float | None) -> str:
    if state.step == 0:
        return "no step taken"
    steps = f"{units.count(state.step)} step{'' if state.step == 1 else 's'}"
    return steps if took is None else f"{steps}, {units.duration(took)}"


def progress_text(state: RunState) -> str:
    """Return how much of a file job is done: "1.2 GB of 8.1 GB"; empty while it is not known."""
    if state.phase_done is None:
        return ""
    if state.phase in _COUNTED_PHASES:
        return f"{state.phase_done:.0f} of {state.phase_total:.0f}" if state.phase_total else ""
    done = units.file_size(state.phase_done)
    return f"{done} of {units.file_size(state.phase_total)}" if state.phase_total else done
