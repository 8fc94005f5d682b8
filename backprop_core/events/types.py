"""Everything a worker may say, as one tagged union.

An event is one JSON line: `v, seq, ts, mono, type` and the fields of its body. Readers skip types
they do not know, so that an old page can follow a newer worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict

from backprop_core.errors import ErrorRecord

JOURNAL_VERSION: Final = 1

Phase = Literal[
    "waiting",
    "downloading",
    "loading",
    "tokenizing",
    "training",
    "saving",
    "merging",
    "measuring",
    "exporting",
    "proving",
    "registering",
    "evaluating",
    "pushing",
]

StopRule = Literal["plateau", "divergence", "budget", "non_finite_loss", "temperature"]


class Body(BaseModel):
    """What an event tells; `durable` ones are flushed to the disk before the work goes on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    durable: ClassVar[bool] = False
    type: str


class RunStarted(Body):
    """An attempt began; the first event of each attempt."""

    durable = True
    type: Literal["run.started"] = "run.started"
    attempt: int
    pid: int
    process_token: str | None = None
    device: str = ""
    versions: dict[str, str] = {}


class PhaseChanged(Body):
    """What the worker does now, with progress where it is countable."""

    type: Literal["phase"] = "phase"
    phase: Phase
    detail: str = ""
    done: float | None = None
    total: float | None = None


class TrainingPlanned(Body):
    """What the worker derived before the first step."""

    type: Literal["training.planned"] = "training.planned"
    total_steps: int
    epochs: float
    rows: int
    micro_batch: int
    accumulation: int
    trainable_parameters: int
    lora_r: int
    lora_alpha: float
    tokens: int
    supervised_tokens: int


class Metrics(Body):
    """One optimizer step. `loss` is None when it was not finite.

    Attributes:
        step: counts from 1; the same step of a resumed attempt replaces the earlier one.
        tokens, supervised_tokens: cumulative over the run, padding not counted.
        tokens_per_s: real tokens of this step by its duration `step_s`.
        memory_bytes: peak of the device on CUDA, resident memory of the process on a CPU.
    """

    type: Literal["metrics"] = "metrics"
    step: int
    total_steps: int
    epoch: float
    loss: float | None
    learning_rate: float
    grad_norm: float | None
    tokens: int
    supervised_tokens: int
    tokens_per_s: float
    step_s: float
    memory_bytes: int


class Evaluated(Body):
    """Loss on held-out rows."""

    type: Literal["evaluation"] = "evaluation"
    step: int
    loss: float | None
    rows: int


class SampleAnswered(Body):
    """What the model answered to the run's fixed question after `step`."""

    type: Literal["sample"] = "sample"
    step: int
    prompt: str
    text: str


class TelemetrySampled(Body):
    """Hardware figures of one second; None where the machine does not tell."""

    type: Literal["telemetry"] = "telemetry"
    gpu_util_pct: float | None = None
    gpu_memory_bytes: int | None = None
    gpu_temperature_c: float | None = None
    gpu_power_w: float | None = None
    cpu_pct: float | None = None
    ram_bytes: int | None = None


class Notice(Body):
    """Something the user may want to know that changes no state."""

    type: Literal["notice"] = "notice"
    level: Literal["info", "warning"] = "info"
    code: str = ""
    message: str


class BatchSplit(Body):
    """Memory ran out and the micro-batch was halved inside the step; no step was lost."""

    durable = True
    type: Literal["batch.split"] = "batch.split"
    step: int
    before: int
    after: int


class LegStarted(Body):
    """A leg of a campaign begins to learn; told again by an attempt that goes on inside it.

    Attributes:
        leg: counts from 1, of `legs`.
        first_step: steps of the run that earlier legs took.
        rows, replay_rows: own rows that train, and those of earlier legs beside them.
        held_out: rows of the leg that only measure.
    """

    durable = True
    type: Literal["leg.started"] = "leg.started"
    leg: int
    legs: int
    name: str
    first_step: int
    steps: int
    learning_rate: float
    rows: int
    replay_rows: int
    held_out: int


class LegEnded(Body):
    """A leg has learned; `path` holds its own adapter, relative to the run."""

    durable = True
    type: Literal["leg.ended"] = "leg.ended"
    leg: int
    step: int
    path: str
    seconds: float


class LegMerged(Body):
    """A leg's adapter was merged into that of the campaign, or the merge was rejected.

    Attributes:
        weight: of the leg in the merge.
        is_accepted: whether later legs build on it.
        reason: why it was rejected, or who decided.
        path: the merged adapter, relative to the run; kept when it was rejected too.
    """

    durable = True
    type: Literal["leg.merged"] = "leg.merged"
    leg: int
    mode: str
    weight: float
    is_accepted: bool
    reason: str = ""
    path: str
    seconds: float


class LegChosen(Body):
    """The campaign's adapter is now the merged one of this leg."""

    durable = True
    type: Literal["leg.chosen"] = "leg.chosen"
    leg: int
    reason: str = ""


class ForgetRow(Body):
    """What an adapter scores on the held-out rows of every leg, in the order of the legs.

    Attributes:
        leg: the leg after which it was measured; 0 for the base model.
        adapter: the base model, the leg's own adapter, or the merged one.
        loss: mean loss by supervised token.
        exact: share of rows whose whole answer is the most likely one; None where answers are long.
    """

    type: Literal["forget.row"] = "forget.row"
    leg: int
    adapter: Literal["base", "unmerged", "merged"]
    loss: tuple[float | None, ...]
    exact: tuple[float | None, ...]


class CheckpointSaved(Body):
    """A checkpoint is on the disk and verified; `path` is relative to the run."""

    durable = True
    type: Literal["checkpoint.saved"] = "checkpoint.saved"
    step: int
    path: str
    size_bytes: int
    seconds: float


class RunResumed(Body):
    """An attempt goes on from a checkpoint; steps after it are taken again."""

    durable = True
    type: Literal["run.resumed"] = "run.resumed"
    step: int
    path: str
    note: str = ""


class RunPaused(Body):
    """The worker waits at a step boundary."""

    durable = True
    type: Literal["run.paused"] = "run.paused"
    step: int
    reason: str
    code: str = ""


class RunContinued(Body):
    """The worker goes on after a pause."""

    durable = True
    type: Literal["run.continued"] = "run.continued"
    step: int


class RunCompleted(Body):
    """The run took all its steps. `artifact` is relative to the run."""

    durable = True
    type: Literal["run.completed"] = "run.completed"
    step: int
    artifact: str
    seconds: float


class RunStopped(Body):
    """The user or a rule of the run stopped it; what it learned so far is saved.

    Attributes:
        rule: the rule that stopped it, None when the user did; rules that end in a failure are told by
            the code of `run.failed`.
        reason: the figures of the rule, as a sentence.
    """

    durable = True
    type: Literal["run.stopped"] = "run.stopped"
    step: int
    artifact: str
    seconds: float
    rule: StopRule | None = None
    reason: str = ""


class RunInterrupted(Body):
    """The worker was told to end by the system and ended in order."""

    durable = True
    type: Literal["run.interrupted"] = "run.interrupted"
    step: int
    reason: str


class RunFailed(Body):
    """The run ended with an error."""

    durable = True
    type: Literal["run.failed"] = "run.failed"
    step: int
    error: ErrorRecord


EventBody = (
    RunStarted
    | PhaseChanged
    | TrainingPlanned
    | Metrics
    | Evaluated
    | SampleAnswered
    | TelemetrySampled
    | Notice
    | BatchSplit
    | LegStarted
    | LegEnded
    | LegMerged
    | LegChosen
    | ForgetRow
    | CheckpointSaved
    | RunResumed
    | RunPaused
    | RunContinued
    | RunCompleted
    | RunStopped
    | RunInterrupted
    | RunFailed
)

BODY_BY_TYPE: Final[dict[str, type[Body]]] = {
    body.model_fields["type"].default: body for body in EventBody.__args__
}

TERMINAL_TYPES: Final = frozenset({"run.completed", "run.stopped", "run.interrupted", "run.failed"})


@dataclass(frozen=True, slots=True)
class Event:
    """A body with its envelope.

    Attributes:
        seq: counts from 1 without a gap within a journal, over all attempts.
        ts: wall time with zone, for people.
        mono: monotonic seconds of the machine, for durations within one attempt.
    """

    seq: int
    ts: datetime
    mono: float
    body: Body

    def as_json(self) -> dict[str, Any]:
        """Return the event as the flat JSON object of its line."""
        return {
            "v": JOURNAL_VERSION,
            "seq": self.seq,
            "ts": self.ts.isoformat(timespec="milliseconds"),
            "mono": round(self.mono, 4),
            **self.body.model_dump(),
        }
