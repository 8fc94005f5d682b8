"""The state of a run as a pure function of its journal.

`apply` is idempotent by sequence number, so that anybody may apply the same event again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from backprop_core.errors import CATALOGUE, ErrorRecord
from backprop_core.events import types as ev

Status = Literal["queued", "starting", "running", "paused", "completed", "stopped", "failed", "interrupted"]

ACTIVE: Final[frozenset[Status]] = frozenset({"starting", "running", "paused"})
# What learns on the card.
TRAINING_KINDS: Final = frozenset({"train", "multi-run"})
# Rules of a run that end it as a failure, told by its code.
RULE_BY_CODE: Final[dict[str, ev.StopRule]] = {
    "RUNTIME_LOSS_NOT_FINITE": "non_finite_loss",
    "RUNTIME_GPU_TEMPERATURE_CRITICAL": "temperature",
}
TERMINAL: Final[frozenset[Status]] = frozenset({"completed", "stopped", "failed", "interrupted"})


class RunState(BaseModel):
    """What a run's journal tells, and the facts it was created with.

    Attributes:
        seq: the newest event that is in this state.
        loss: of the newest step; `first_loss` of the first one.
        seconds: worked time of finished attempts.
        stop_rule: the rule of the run that ended its newest attempt; None when none did.
        leg, legs: of a campaign, the leg that it is in and their number; 0 for other runs.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    folder: str
    name: str
    source: str
    model: str
    dataset: str
    created_at: str
    status: Status = "queued"
    kind: str = "train"
    seq: int = 0
    attempt: int = 0
    phase: str = ""
    phase_detail: str = ""
    phase_done: float | None = None
    phase_total: float | None = None
    started_at: str | None = None
    ended_at: str | None = None
    updated_at: str | None = None
    seconds: float = 0.0
    device: str = ""
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    loss: float | None = None
    first_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens: int = 0
    supervised_tokens: int = 0
    tokens_per_s: float | None = None
    step_s: float | None = None
    memory_bytes: int | None = None
    eval_loss: float | None = None
    lora_r: int | None = None
    trainable_parameters: int | None = None
    micro_batch: int | None = None
    accumulation: int | None = None
    checkpoint: str | None = None
    checkpoint_step: int = 0
    leg: int = 0
    legs: int = 0
    artifact: str | None = None
    pause_reason: str = ""
    stop_rule: ev.StopRule | None = None
    stop_reason: str = ""
    error: ErrorRecord | None = None
    pid: int | None = None
    process_token: str | None = None

    @property
    def short_id(self) -> str:
        """The first eight characters of the id, as lists show it."""
        return self.run_id[:8]

    @property
    def is_training(self) -> bool:
        """Whether it learns: a training run or a campaign."""
        return self.kind in TRAINING_KINDS

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended."""
        return self.status in TERMINAL

    @property
    def remaining_s(self) -> float | None:
        """Forecast of the seconds left from the newest step time; None before the first step."""
        if not self.step_s or self.status not in ACTIVE:
            return None
        return max(0, self.total_steps - self.step) * self.step_s


def apply(state: RunState, event: ev.Event) -> RunState:
    """Return the state after `event`; events that are already in it change nothing."""
    if event.seq <= state.seq:
        return state
    stamp = event.ts.isoformat(timespec="milliseconds")
    changes: dict[str, Any] = {"seq": event.seq, "updated_at": stamp}
    body = event.body
    if isinstance(body, ev.Metrics):
        changes |= _after_step(state, body)
    elif isinstance(body, ev.RunStarted):
        changes |= _after_start(state, body, stamp)
    elif isinstance(body, ev.PhaseChanged):
        changes |= {
            "phase": body.phase,
            "phase_detail": body.detail,
            "phase_done": body.done,
            "phase_total": body.total,
        }
    elif isinstance(body, ev.TrainingPlanned):
        names = ("total_steps", "lora_r", "trainable_parameters", "micro_batch", "accumulation")
        changes |= {name: getattr(body, name) for name in names}
    elif isinstance(body, ev.LegStarted):
        changes |= {"leg": body.leg, "legs": body.legs}
    elif isinstance(body, ev.BatchSplit):
        changes["micro_batch"] = body.after
    elif isinstance(body, ev.Evaluated):
        changes["eval_loss"] = body.loss
    elif isinstance(body, ev.CheckpointSaved):
        changes |= {"checkpoint": body.path, "checkpoint_step": body.step}
    elif isinstance(body, ev.RunPaused):
        changes |= {"status": "paused", "pause_reason": body.reason}
    elif isinstance(body, ev.RunContinued):
        changes |= {"status": "running", "pause_reason": ""}
    elif body.type in ev.TERMINAL_TYPES:
        changes |= _after_end(state, body, stamp)
    return state.model_copy(update=changes)


def apply_all(state: RunState, events: Iterable[ev.Event]) -> RunState:
    """Return the state after all `events`."""
    for event in events:
        state = apply(state, event)
    return state


def settle(state: RunState, ended_at: str) -> RunState:
    """Return the state of a run whose worker is gone without a last word: `interrupted`."""
    if state.is_terminal or state.status == "queued":
        return state
    code = "RUNTIME_TRAINING_ABORTED"
    kind = CATALOGUE[code]
    error = ErrorRecord(code=code, message=kind.cause, hint=kind.hint, retryable=kind.retryable, details={})
    return state.model_copy(
        update={"status": "interrupted", "ended_at": state.updated_at or ended_at, "error": error}
    )


def _after_start(state: RunState, body: ev.RunStarted, stamp: str) -> dict[str, Any]:
    return {
        "status": "running",
        "attempt": body.attempt,
        "device": body.device,
        "pid": body.pid,
        "process_token": body.process_token,
        "started_at": state.started_at or stamp,
        "ended_at": None,
        "error": None,
        "pause_reason": "",
        "stop_rule": None,
        "stop_reason": "",
    }


def _after_step(state: RunState, body: ev.Metrics) -> dict[str, Any]:
    changes: dict[str, Any] = {
        name: getattr(body, name)
        for name in (
            "step",
            "total_steps",
            "epoch",
            "loss",
            "learning_rate",
            "grad_norm",
            "tokens",
            "supervised_tokens",
            "tokens_per_s",
            "step_s",
            "memory_bytes",
        )
    }
    if body.step == 1:
        changes["first_loss"] = body.loss
    return changes


def _after_end(state: RunState, body: ev.Body, stamp: str) -> dict[str, Any]:
    changes: dict[str, Any] = {"ended_at": stamp, "status": body.type.removeprefix("run."), "phase": ""}
    if isinstance(body, ev.RunCompleted | ev.RunStopped):
        changes |= {"artifact": body.artifact, "seconds": state.seconds + body.seconds, "step": body.step}
    elif isinstance(body, ev.RunFailed):
        changes |= {"error": body.error, "stop_rule": RULE_BY_CODE.get(body.error["code"])}
    if isinstance(body, ev.RunStopped):
        changes |= {"stop_rule": body.rule, "stop_reason": body.reason}
    return changes
