"""Paired bootstrap: how far a difference between two models could be an accident of the rows. Pure.

Rows are drawn with replacement, both models always on the same rows, and the middle 95 % of the
differences are the interval: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13;
for comparing two systems on one test set Koehn, Statistical Significance Tests, EMNLP 2004.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from backprop_core.config.evaluations import Interval

RESAMPLES: Final = 10_000
SEED: Final = 0
METHOD: Final = (
    f"Paired bootstrap over rows, {RESAMPLES:,} resamples, seed {SEED}, 95 % percentile interval "
    "(Efron and Tibshirani 1993; Koehn 2004)."
)

Values = NDArray[np.float64]


def ratio_interval(gains: Values, weights: Values) -> Interval:
    """Return the sum of gains by the sum of weights with its interval.

    Args:
        gains: how much better the second model was, `(rows,)`.
        weights: tokens, or ones, `(rows,)`.
    """
    drawn = _draws(len(gains))
    return _interval(float(gains.sum() / weights.sum()), (drawn @ gains) / (drawn @ weights))


def difference_interval(own: Values, own_weights: Values, other: Values, other_weights: Values) -> Interval:
    """Return the ratio of the own answers less that of the other rows' answers, with its interval."""
    drawn = _draws(len(own))
    value = float(own.sum() / own_weights.sum() - other.sum() / other_weights.sum())
    return _interval(value, (drawn @ own) / (drawn @ own_weights) - (drawn @ other) / (drawn @ other_weights))


def _draws(rows: int) -> NDArray[np.float64]:
    """Return how often each row is drawn, `(resamples, rows)`."""
    generator = np.random.default_rng(SEED)
    return generator.multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES).astype(np.float64)


def _interval(value: float, found: Values) -> Interval:
    low, high = np.percentile(found, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high))
