"""What a run does, in one line of plain text. Shared by the command line and the Python API. Pure."""

from __future__ import annotations

from typing import Final

from backprop_core import units
from backprop_core.events import types as ev
from backprop_core.runs.projection import RunState

_PHASES: Final[dict[str, str]] = {
    "waiting": "waiting for the device",
    "downloading": "downloading",
    "loading": "loading",
    "tokenizing": "reading the data",
    "training": "training",
    "saving": "saving",
    "merging": "merging",
    "measuring": "measuring what is kept",
    "exporting": "writing",
    "proving": "proving the file",
    "registering": "handing to Ollama",
    "evaluating": "asking both models",
    "pushing": "sending to the hub",
}
_IN_BYTES: Final = frozenset({"downloading", "exporting", "registering", "pushing"})


def step_line(state: RunState) -> str:
    """Return the newest step: "step 12/100  loss 1.234  812 tokens/s  1 m 3 s left  1.2 GiB"."""
    parts = [
        f"step {units.count(state.step)}/{units.count(state.total_steps)}",
        f"loss {units.loss(state.loss)}",
    ]
    if state.tokens_per_s:
        parts.append(f"{units.count(state.tokens_per_s)} tokens/s")
    if state.remaining_s is not None:
        parts.append(f"{units.duration(state.remaining_s)} left")
    if state.memory_bytes:
        parts.append(units.gib(state.memory_bytes))
    return "  ".join(parts)


def phase_line(phase: str, detail: str = "", done: float | None = None, total: float | None = None) -> str:
    """Return what is done now: "downloading model.safetensors, 93 MB of 270 MB"."""
    text = _PHASES.get(phase, phase)
    if detail:
        text += f": {detail}"
    if done is not None and phase in _IN_BYTES:
        text += f", {units.file_size(done)}" + (f" of {units.file_size(total)}" if total else "")
    elif done is not None and total:
        text += f", {done / total:.0%}"
    return text


def event_line(body: ev.Body) -> str | None:
    """Return an event that is worth a line of its own; None for steps, telemetry and progress."""
    if isinstance(body, ev.Notice):
        return body.message if body.level == "info" else f"warning: {body.message}"
    if isinstance(body, ev.TrainingPlanned):
        return (
            f"{units.count(body.rows)} rows, rank {body.lora_r}, "
            f"{units.compact(body.trainable_parameters)} trainable parameters, "
            f"{body.micro_batch} x {body.accumulation} rows per step"
        )
    if isinstance(body, ev.BatchSplit):
        return f"out of memory at step {body.step}: {body.before} rows became {body.after}, no step was lost"
    if isinstance(body, ev.CheckpointSaved):
        return f"checkpoint at step {units.count(body.step)}, {units.file_size(body.size_bytes)}"
    if isinstance(body, ev.Evaluated):
        return f"held-out loss {units.loss(body.loss)} at step {units.count(body.step)}"
    return _of_a_leg(body) or _turning_point(body)


def _of_a_leg(body: ev.Body) -> str | None:
    if isinstance(body, ev.LegStarted):
        replay = f" and {units.count(body.replay_rows)} of earlier legs" if body.replay_rows else ""
        return (
            f"leg {body.leg} of {body.legs}, {body.name}: {units.count(body.rows)} rows{replay}, "
            f"{units.count(body.steps)} steps, learning rate {units.rate(body.learning_rate)}"
        )
    if isinstance(body, ev.LegMerged):
        if not body.is_accepted:
            return f"leg {body.leg}: merge rejected, {body.reason}"
        return f"leg {body.leg} merged with weight {body.weight:.3g} in {units.duration(body.seconds)}"
    if isinstance(body, ev.ForgetRow) and any(loss is not None for loss in body.loss):
        losses = "  ".join(units.loss(loss) for loss in body.loss)
        name = "base model" if body.adapter == "base" else f"leg {body.leg} {body.adapter}"
        return f"held-out loss by leg, {name}: {losses}"
    return None


def _turning_point(body: ev.Body) -> str | None:
    if isinstance(body, ev.RunPaused):
        return f"paused at step {units.count(body.step)}: {body.reason}"
    if isinstance(body, ev.RunContinued):
        return f"goes on after step {units.count(body.step)}"
    if isinstance(body, ev.RunResumed):
        return f"resumed from step {units.count(body.step)}" + (f": {body.note}" if body.note else "")
    return None


def end_line(state: RunState) -> str:
    """Return how the run ended: "completed: 100 steps, loss 2.104 to 0.873, 3 m 5 s"."""
    text = f"{state.status}: "
    text += state.name if not state.is_training else f"{units.count(state.step)} steps"
    if state.loss is not None and state.first_loss is not None:
        text += f", loss {units.loss(state.first_loss)} to {units.loss(state.loss)}"
    text += f", {units.duration(state.seconds)}" if state.seconds else ""
    return f"{text}; rule {state.stop_rule}: {state.stop_reason}" if state.stop_reason else text
