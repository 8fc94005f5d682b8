"""What the Python API gives back. Frozen records, no logic that trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backprop_core.config.proofs import Proof
from backprop_core.events.types import StopRule
from backprop_core.runs.campaigns import ForgetMatrix, ForgetSummary, Leg
from backprop_core.runs.projection import RunState, Status


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a training run ended.

    Attributes:
        status: `completed`, or `stopped` when somebody or a rule of the run stopped it.
        stop_rule: the rule that did; None when none did.
        steps: optimizer steps that were really taken.
        final_loss: of the newest step; None when no step was taken or it was not finite.
        adapter_path: the adapter inside the run's folder; None when there was nothing to save.
        seconds: worked time.
        folder: everything about the run: spec, journal, log, checkpoints, adapter.
    """

    run_id: str
    status: Status
    steps: int
    total_steps: int
    first_loss: float | None
    final_loss: float | None
    tokens: int
    seconds: float
    adapter_path: Path | None
    folder: Path
    stop_rule: StopRule | None = None

    @classmethod
    def from_state(cls, state: RunState) -> RunResult:
        """Return the result that a run's state tells."""
        folder = Path(state.folder)
        return cls(
            run_id=state.run_id,
            status=state.status,
            steps=state.step,
            total_steps=state.total_steps,
            first_loss=state.first_loss,
            final_loss=state.loss,
            tokens=state.tokens,
            seconds=state.seconds,
            adapter_path=folder / state.artifact if state.artifact else None,
            folder=folder,
            stop_rule=state.stop_rule,
        )


@dataclass(frozen=True, slots=True)
class MultiRunResult:
    """How a campaign ended.

    Attributes:
        legs: each leg with its rows, steps and merge.
        product_leg: the leg whose merged adapter lies at `adapter_path`; 0 is the one it began with.
        matrix: what every adapter scores on the held-out rows of every leg.
        loss, exact: average, backward transfer and learned accuracy, by loss with its sign turned and by exact
            answers; None where they were not measured.
    """

    run_id: str
    status: Status
    steps: int
    legs: tuple[Leg, ...]
    product_leg: int | None
    matrix: ForgetMatrix
    loss: ForgetSummary | None
    exact: ForgetSummary | None
    adapter_path: Path | None
    seconds: float
    folder: Path


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A finished export.

    Attributes:
        path: the file, or the folder of the formats that are one.
        size_bytes: of everything in it.
        seconds: how long it took.
        proof: the ship proof; None when none was made.
        warnings: what the user should know, as sentences.
    """

    path: Path
    size_bytes: int
    seconds: float
    proof: Proof | None = None
    warnings: tuple[str, ...] = ()
