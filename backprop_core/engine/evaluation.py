"""Loss on rows that are held out of training, and which step had the lowest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from backprop_core.engine.collating import Row

if TYPE_CHECKING:
    from backprop_core.engine.trainer import RunTrainer

_OWN_STREAM = 0x5EED


def hold_out(rows: Sequence[Row], share: float, seed: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Split `rows` into those that train and those that are held out.

    Both sides get a row as long as there are two; a share of 0 holds out nothing.
    """
    if share == 0 or len(rows) < 2:
        return tuple(rows), ()
    count = min(len(rows) - 1, max(1, round(share * len(rows))))
    held = set(np.random.default_rng([seed, _OWN_STREAM]).permutation(len(rows))[:count].tolist())
    return (
        tuple(row for index, row in enumerate(rows) if index not in held),
        tuple(row for index, row in enumerate(rows) if index in held),
    )


# An answer of more tokens is rarely repeated word for word.
SHORT_ANSWER_TOKENS = 16


def held_out_exact(trainer: RunTrainer, rows: Sequence[Row]) -> float | None:
    """Return the share of rows whose whole answer is the most likely one; None where answers are long."""
    if any(row.supervised > SHORT_ANSWER_TOKENS for row in rows):
        return None
    trainer.model.eval()
    try:
        with torch.no_grad():
            right = [hit for part in trainer.cutter.cut.apply(rows) for hit in trainer.rows_right(part)]
    finally:
        trainer.model.train()
    return sum(right) / len(rows)


def held_out_loss(trainer: RunTrainer, rows: Sequence[Row]) -> float:
    """Return the mean loss by supervised token of `rows`, without dropout."""
    trainer.model.eval()
    try:
        with torch.no_grad():
            parts = [float(trainer.rows_loss(part)) for part in trainer.cutter.cut.apply(rows)]
    finally:
        trainer.model.train()
    return sum(parts) / sum(row.supervised for row in rows)


def is_better(loss: float, best: float | None) -> bool:
    """Return whether `loss` is a number below the best so far."""
    return math.isfinite(loss) and (best is None or loss < best)
