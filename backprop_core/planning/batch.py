"""How the rows of one optimizer step are split into micro-batches, and how long a run is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from backprop_core.config.specs import TrainSpec
from backprop_core.planning.records import DeviceKind

EFFECTIVE_BATCH: Final = 8
DEFAULT_STEPS: Final = 100
CHECKPOINTS_PER_RUN: Final = 10
CPU_MICRO_BATCH_TOKENS: Final = 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows per micro-batch and micro-batches per optimizer step."""

    micro: int
    accumulation: int

    @property
    def effective(self) -> int:
        """Rows per optimizer step."""
        return self.micro * self.accumulation


@dataclass(frozen=True, slots=True)
class Length:
    """Optimizer steps and the passes over the data that they make."""

    steps: int
    epochs: float | None


def candidate_batches(spec: TrainSpec, rows: int | None) -> list[Batch]:
    """Return the ways to cut 8 rows into micro-batches, the largest micro-batch first.

    Args:
        spec: its `batch_size` and `gradient_accumulation`, where not "auto", are kept.
        rows: usable rows, which an optimizer step never exceeds by choice; None when unknown.
    """
    wanted = min(EFFECTIVE_BATCH, rows or EFFECTIVE_BATCH)
    micro, accumulation = spec.batch_size, spec.gradient_accumulation
    if micro != "auto":
        return [Batch(micro, max(1, round(wanted / micro)) if accumulation == "auto" else accumulation)]
    if accumulation != "auto":
        return [Batch(size, accumulation) for size in _sizes(max(1, wanted // accumulation))]
    return [Batch(size, math.ceil(wanted / size)) for size in _sizes(wanted)]


def choose_batch(spec: TrainSpec, rows: int | None, fits: Callable[[Batch], bool]) -> Batch:
    """Return the first candidate that fits; the smallest when none does."""
    candidates = candidate_batches(spec, rows)
    return next((batch for batch in candidates if fits(batch)), candidates[-1])


def micro_batch_tokens(device: DeviceKind, micro: int, longest_row: int) -> int:
    """Return how many tokens a packed micro-batch may hold: `micro` of the longest rows.

    A processor is fastest with about a thousand; more only takes memory.
    """
    tokens = micro * longest_row
    return min(tokens, max(longest_row, CPU_MICRO_BATCH_TOKENS)) if device == "cpu" else tokens


def run_length(spec: TrainSpec, rows: int | None, batch: Batch) -> Length:
    """Return the steps of the run; with steps and epochs given, whichever ends first.

    Passes over the data follow one another without a gap, so that each step takes as many rows.
    """
    if not rows:
        return Length(spec.steps or DEFAULT_STEPS, spec.epochs)
    if spec.epochs is None:
        steps = spec.steps or DEFAULT_STEPS
    else:
        # Rounded first: 0.1 x 30 rows are 3 rows, not 3.0000000000000004.
        steps = math.ceil(round(spec.epochs * rows, 6) / batch.effective)
        if spec.steps is not None:
            steps = min(steps, spec.steps)
    return Length(steps, steps * batch.effective / rows)


def choose_checkpoint_every(spec: TrainSpec, steps: int) -> int:
    """Return the steps between checkpoints: about ten in a run."""
    if spec.checkpoint_every != "auto":
        return spec.checkpoint_every
    return max(1, math.ceil(steps / CHECKPOINTS_PER_RUN))


def _sizes(wanted: int) -> list[int]:
    """Return micro-batch sizes to try, largest first: `wanted`, then the powers of two below it."""
    powers = [1 << exponent for exponent in range(wanted.bit_length()) if 1 << exponent < wanted]
    return [wanted, *reversed(powers)]
