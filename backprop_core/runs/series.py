"""Metric series of a run, read from its journal and thinned for a chart. Pure but for the reading."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from backprop_core.events.journal import parse_line
from backprop_core.events.types import Event, Metrics

MAX_POINTS: Final = 2000

# About ten thousand steps, read in a tenth of a second; of a longer journal a sample is shown at first.
SAMPLED_BYTES: Final = 8 << 20

_EDGE_BYTES: Final = 64 << 10
# Quotes inside text are escaped in JSON, so that these stand only where a type is named.
_METRICS: Final = b'"type":"metrics"'
_TELEMETRY: Final = b'"type":"telemetry"'


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


def read_history(
    path: Path, end: int, *, with_telemetry: bool = False
) -> Iterator[tuple[int, Point] | Event]:
    """Yield numbered points and all other events, from the first `end` bytes of a journal.

    A step is read without its model, about ten times as fast: a run may have a million of them.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        position = 0
        for line in stream:
            position += len(line)
            if position > end:
                return
            found = _read_line(line, with_telemetry=with_telemetry)
            if found is not None:
                yield found


def sample_history(path: Path, end: int, count: int = MAX_POINTS) -> Iterator[tuple[int, Point] | Event]:
    """Yield what `read_history` would, but only beginning, end and about `count` lines evenly between."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        edge = stream.read(_EDGE_BYTES).rpartition(b"\n")[0].splitlines()
        for number in range(1, count):
            stream.seek(_EDGE_BYTES + number * (end - 2 * _EDGE_BYTES) // count)
            stream.readline()
            edge.append(stream.readline())
        stream.seek(end - _EDGE_BYTES)
        edge.extend(stream.read(_EDGE_BYTES).splitlines()[1:])
    for line in edge:
        found = _read_line(line)
        if found is not None:
            yield found


def _read_line(line: bytes, *, with_telemetry: bool = False) -> tuple[int, Point] | Event | None:
    if _TELEMETRY in line and not with_telemetry:
        return None
    if _METRICS not in line:
        return parse_line(line)
    try:
        value = orjson.loads(line)
        loss, grad_norm = value["loss"], value["grad_norm"]
        return value["seq"], Point(
            value["step"],
            math.nan if loss is None else loss,
            value["learning_rate"],
            math.nan if grad_norm is None else grad_norm,
            value["tokens_per_s"],
        )
    except (ValueError, KeyError, TypeError):
        return None


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
