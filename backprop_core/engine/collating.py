"""Rows of one optimizer step laid into micro-batches, and micro-batches into tensors.

A micro-batch is one long row of documents, each with its own positions and attention; nothing is
padded. Only models whose attention cannot be told apart by document get padded rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded document.

    Attributes:
        ids: token ids, `(seq,)`.
        sources: positions whose next token carries loss, `(targets,)`.
    """

    ids: NDArray[np.int64]
    sources: NDArray[np.int64]

    @classmethod
    def from_mask(cls, input_ids: Sequence[int], labels_mask: Sequence[bool]) -> Row:
        """Build a row from ids and loss mask, both `(seq,)`; the first token has no predecessor."""
        mask = np.asarray(labels_mask, dtype=bool)
        return cls(np.asarray(input_ids, dtype=np.int64), np.flatnonzero(mask[1:]))

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.ids)

    @property
    def supervised(self) -> int:
        """Number of tokens that carry loss."""
        return len(self.sources)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tensors of one forward pass.

    Attributes:
        input_ids: `(1, tokens)`, or `(rows, longest)` when padded.
        position_ids: as `input_ids`, counting from 0 in each document.
        attention_mask: None, or `(rows, longest)` when padded.
        lengths: tokens of each document, in order.
        sources: `(targets,)` indexes into the flattened tokens whose next token carries loss.
        targets: `(targets,)` ids of those next tokens.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    lengths: tuple[int, ...]
    sources: torch.Tensor
    targets: torch.Tensor


def concatenated(rows: Sequence[Row], device: torch.device) -> MicroBatch:
    """Return `rows` one after another as a single row of documents."""
    starts = np.cumsum([0, *(row.length for row in rows)])
    ids = np.concatenate([row.ids for row in rows])
    positions = np.concatenate([np.arange(row.length) for row in rows])
    sources = np.concatenate([row.sources + start for row, start in zip(rows, starts, strict=False)])
    return MicroBatch(
        input_ids=torch.from_numpy(ids)[None].to(device),
        position_ids=torch.from_numpy(positions)[None].to(device),
        attention_mask=None,
        lengths=tuple(row.length for row in rows),
        sources=torch.from_numpy(sources).to(device),
        targets=torch.from_numpy(ids[sources + 1]).to(device),
    )


def padded(rows: Sequence[Row], pad_id: int, device: torch.device) -> MicroBatch:
    """Return `rows` one below another, filled up at the right."""
    longest = max(row.length for row in rows)
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : row.length] = row.ids
        mask[index, : row.length] = 1
    sources = np.concatenate([row.sources + index * longest for index, row in enumerate(rows)])
    positions = np.broadcast_to(np.arange(longest), ids.shape).copy()
    return MicroBatch(
        input_ids=torch.from_numpy(ids).to(device),
        position_ids=torch.from_numpy(positions).to(device),
        attention_mask=torch.from_numpy(mask).to(device),
        lengths=tuple(row.length for row in rows),
        sources=torch.from_numpy(sources).to(device),
        targets=torch.from_numpy(ids.reshape(-1)[sources + 1]).to(device),
    )
