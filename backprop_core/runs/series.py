"""Metric series of a run, read from its journal and thinned for a chart. Pure but for the reading."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from backprop_core.events.types import Event, Metrics

MAX_POINTS: Final = 2000


class Point(NamedTuple):
    """One optimizer step as charts use it; unknown numbers are NaN."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_s: float


def point_of(body: Metrics) -> Point:
    """Return the chart point of one step."""
    loss = math.nan if body.loss is None else body.loss
    grad_norm = math.nan if body.grad_norm is None else body.grad_norm
    return Point(body.step, loss, body.learning_rate, grad_norm, body.tokens_per_s)


def points_of(events: Iterable[Event]) -> list[Point]:
    """Return one point per step in order; a step taken again by a later attempt replaces the first."""
    by_step = {event.body.step: point_of(event.body) for event in events if isinstance(event.body, Metrics)}
    return [by_step[step] for step in sorted(by_step)]


def thin(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """Return at most `limit` points that keep first, last, and the lowest and highest loss of each stretch."""
    if len(points) <= limit:
        return list(points)
    inner = points[1:-1]
    buckets = max(1, (limit - 2) // 2)
    kept = [points[0]]
    for index in range(buckets):
        bucket = inner[index * len(inner) // buckets : (index + 1) * len(inner) // buckets]
        finite = [point for point in bucket if math.isfinite(point.loss)] or bucket[:1]
        lowest = min(finite, key=lambda point: point.loss)
        highest = max(finite, key=lambda point: point.loss)
        kept.extend(sorted({lowest, highest}))
    kept.append(points[-1])
    return kept
