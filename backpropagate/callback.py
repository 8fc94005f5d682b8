"""Hooks into a run of the Python API. A hook that raises is logged and never ends the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from backprop_core.errors import BackpropagateError

if TYPE_CHECKING:
    from backpropagate.results import RunResult


class TrainingCallback:
    """Override what you need; each hook runs in the training process between two steps."""

    def on_step(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Receive one optimizer step.

        Args:
            step: counts from 1.
            metrics: `loss`, `learning_rate`, `grad_norm`, `epoch`, `tokens`, `supervised_tokens`,
                `tokens_per_s`, `step_s`, `memory_bytes` and `total_steps`. None where a number was
                not finite.
        """

    def on_epoch(self, epoch: int) -> None:
        """Learn that a pass over the data is complete; `epoch` counts from 1."""

    def on_checkpoint(self, step: int, path: str) -> None:
        """Learn that a checkpoint is on the disk and verified."""

    def on_complete(self, result: RunResult) -> None:
        """Receive the result of a run that completed or was stopped."""

    def on_error(self, error: BackpropagateError) -> None:
        """Receive why the run failed; the error is raised afterwards."""

    def should_stop(self) -> bool:
        """Return True to end the run at this step, with what it learned saved. Asked after each step."""
        return False
