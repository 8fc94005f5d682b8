"""How a tensor's rows, columns and values change on their way into a GGUF file.

A transform is plain data that works on any chunk of rows, so tensors never have to be whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backprop_core.errors import InputError
from backprop_core.gguf.source import FloatArray

Order = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Transform:
    """A change of order and values.

    Attributes:
        rows: output row i is stored row `rows[i]`; None keeps the order.
        columns: output column j is stored column `columns[j]`; None keeps the order.
        value: applied to the rows after reordering.
        drops_middle_axis: whether a `(rows, 1, columns)` tensor becomes `(rows, columns)`.
    """

    rows: Order | None = None
    columns: Order | None = None
    value: Callable[[FloatArray], FloatArray] | None = None
    drops_middle_axis: bool = False

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape after the transform."""
        return (stored[0], stored[-1]) if self.drops_middle_axis else stored

    def stored_rows(self, start: int, stop: int) -> slice | Order:
        """Return which stored rows make up output rows `start` to `stop`."""
        return slice(start, stop) if self.rows is None else self.rows[start:stop]

    def apply(self, rows: FloatArray) -> FloatArray:
        """Return stored rows, already in output order, as they go into the file."""
        if self.drops_middle_axis:
            rows = rows.reshape(rows.shape[0], rows.shape[-1])
        if self.columns is not None:
            rows = rows[:, self.columns]
        return rows if self.value is None else self.value(rows)


AS_STORED: Final = Transform()
_ROWS_MAX: Final = 1 << 22


def row_numbers(count: int) -> Order:
    """Return 0, 1, ... for a number of rows that a matrix can have."""
    if count > _ROWS_MAX:
        raise InputError("INPUT_VALIDATION_FAILED", f"The heads in config.json add up to {count} rows.")
    return np.arange(count)


def interleave_halves(heads: int, head_size: int) -> Order:
    """Return the row order that turns half-split rotary pairs into neighbours, head by head.

    Checkpoints pair row i of a head with row i + head_size/2; ggml's rotary kernel for the Llama
    family pairs rows 2i and 2i + 1.
    """
    order: Order = row_numbers(heads * head_size).reshape(heads, 2, head_size // 2).swapaxes(1, 2).reshape(-1)
    return order


def tile_groups(groups: int, per_group: int, size: int) -> Order:
    """Return the order that turns `groups` runs of `per_group` heads into `per_group` runs of all groups.

    Args:
        groups: number of key heads.
        per_group: value heads that share one key head.
        size: rows of one value head.
    """
    grid = row_numbers(groups * per_group * size).reshape(groups, per_group, size)
    order: Order = grid.swapaxes(0, 1).reshape(-1)
    return order
