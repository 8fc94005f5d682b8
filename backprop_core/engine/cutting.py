"""How the rows of one optimizer step are cut into micro-batches, and how the cut gets finer.

Pure. The gradient of a step does not depend on the cut, so memory alone decides over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

MAX_HALVINGS: Final = 3


class Measured(Protocol):
    """Something with a number of tokens."""

    @property
    def length(self) -> int:
        """Number of tokens."""
        ...


R = TypeVar("R", bound=Measured)


@dataclass(frozen=True, slots=True)
class Cut:
    """The largest micro-batch.

    Attributes:
        rows: rows of a micro-batch at most; None when only tokens count.
        tokens: tokens of a micro-batch at most, one longer row excepted; None when only rows count.
        halvings: how often memory ran out and the cut was made finer.
        recomputes: whether activations are recomputed instead of kept.
    """

    rows: int | None
    tokens: int | None
    halvings: int = 0
    recomputes: bool = False

    def apply(self, rows: Sequence[R]) -> list[list[R]]:
        """Return `rows` as micro-batches."""
        if self.tokens is not None:
            return packed(rows, self.tokens, self.rows)
        size = self.rows or len(rows)
        return [list(rows[first : first + size]) for first in range(0, len(rows), size)]

    def finer(self, failed: Sequence[R]) -> Cut | None:
        """Return a cut under which `failed`, a micro-batch that did not fit, needs less memory.

        It is halved up to three times; a single row, or one more failure, gets its activations
        recomputed. None when nothing is left to try.
        """
        if len(failed) > 1 and self.halvings < MAX_HALVINGS:
            rows = (len(failed) + 1) // 2
            tokens = None if self.tokens is None else sum(row.length for row in failed) // 2
            return Cut(rows, tokens, self.halvings + 1, self.recomputes)
        if not self.recomputes:
            return Cut(self.rows, self.tokens, self.halvings, recomputes=True)
        return None


def packed(rows: Sequence[R], tokens: int, most_rows: int | None = None) -> list[list[R]]:
    """Lay rows into as few bins of `tokens` as first-fit by falling length finds.

    A row that is longer than a bin gets one of its own.
    """
    bins: list[list[R]] = []
    free: list[int] = []
    for row in sorted(rows, key=lambda row: row.length, reverse=True):
        for index, space in enumerate(free):
            if row.length <= space and (most_rows is None or len(bins[index]) < most_rows):
                bins[index].append(row)
                free[index] -= row.length
                break
        else:
            bins.append([row])
            free.append(tokens - row.length)
    return bins
