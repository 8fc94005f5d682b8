"""Which rows an optimizer step takes: a pure function of seed, number of rows and step.

Each pass over the data is a fresh permutation; the passes follow one another without a gap, so that
every step takes the same number of rows and the step number is the whole state to resume from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class RowOrder:
    """The order in which rows are drawn.

    Args:
        rows: number of rows.
        per_step: rows of one optimizer step; may be more than there are rows.
        seed: decides the permutations.
        first_step: the step of the run that begins with the first row.
    """

    def __init__(self, rows: int, per_step: int, seed: int, first_step: int = 0) -> None:
        self.rows = rows
        self.per_step = per_step
        self._seed = seed
        self._first_step = first_step
        self._pass = -1
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def of_step(self, step: int) -> list[int]:
        """Return the indexes of the rows of a step; steps count from 0."""
        first = (step - self._first_step) * self.per_step
        return [self._at(position) for position in range(first, first + self.per_step)]

    def epochs_after(self, steps: int) -> float:
        """Return how many passes over the data are made after `steps` steps of the run."""
        return (steps - self._first_step) * self.per_step / self.rows

    def _at(self, position: int) -> int:
        passed, place = divmod(position, self.rows)
        if passed != self._pass:
            self._pass = passed
            self._order = np.random.default_rng([self._seed, passed]).permutation(self.rows)
        return int(self._order[place])
