"""Memory that runs out in the middle of a step: the step is taken again in smaller parts.

Nothing is lost: the gradient of the broken step is dropped, and the same rows give the same gradient
under a finer cut. Which cut was found is kept for the rest of the run.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from backprop_core.engine.collating import Row
from backprop_core.engine.context import RunContext
from backprop_core.engine.cutting import Cut
from backprop_core.engine.failures import is_out_of_memory
from backprop_core.errors import RunError
from backprop_core.events.types import BatchSplit

if TYPE_CHECKING:
    from backprop_core.engine.trainer import RunTrainer


class Cutter:
    """Runs the micro-batches of each step under the finest cut that was needed so far.

    Args:
        cut: to begin with.
        batch_size: rows of a micro-batch where rows must be padded.
        may_split: whether memory that runs out is met with a finer cut, or ends the run.
    """

    def __init__(self, context: RunContext, cut: Cut, *, batch_size: int, may_split: bool) -> None:
        self._context = context
        self._batch_size = batch_size
        self._may_split = may_split
        self.cut = cut
        self._trainer: RunTrainer

    def begin(self, trainer: RunTrainer, *, keeps_documents_apart: bool) -> None:
        """Take the trainer that does the work; rows that must be padded are cut by their number."""
        self._trainer = trainer
        if not keeps_documents_apart and self.cut.tokens is not None:
            rows = self.cut.rows or self._batch_size
            self.cut = Cut(rows, None, self.cut.halvings, self.cut.recomputes)
        if self.cut.recomputes:
            trainer.recompute_activations()

    def run(self, rows: Sequence[Row], add_gradient: Callable[[Sequence[Row]], torch.Tensor]) -> torch.Tensor:
        """Add the gradient of `rows`, the rows of one step, and return the sum of their losses.

        Raises:
            RunError: RUNTIME_GPU_OOM or RUNTIME_OOM_RECOVERY_EXHAUSTED.
        """
        while True:
            part: Sequence[Row] = ()
            try:
                losses = []
                for part in self.cut.apply(rows):
                    losses.append(add_gradient(part))
                return torch.stack(losses).sum()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).partition("\n")[0]
            # Outside of the handler, where the traceback no longer holds the tensors of the step.
            self._cut_finer(part, reason)

    def _cut_finer(self, failed: Sequence[Row], reason: str) -> None:
        step = self._context.position.step + 1
        if not self._may_split:
            raise RunError(
                "RUNTIME_GPU_OOM", f"Memory ran out in step {step} at {len(failed)} rows at once: {reason}"
            )
        finer = self.cut.finer(failed)
        if finer is None:
            raise RunError(
                "RUNTIME_OOM_RECOVERY_EXHAUSTED",
                f"Memory ran out in step {step} at {len(failed)} rows of "
                f"{sum(row.length for row in failed):,} tokens, although activations are recomputed: {reason}",
            )
        self._trainer.model.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if finer.recomputes and not self.cut.recomputes:
            self._trainer.recompute_activations()
            self._context.notice(
                f"Memory ran out in step {step}; activations are recomputed from here on.", is_warning=True
            )
        else:
            self._context.journal.append(BatchSplit(step=step, before=len(failed), after=finer.rows or 1))
        self.cut = finer
