"""The legs of a campaign as lanes on one clock: what is done, what works, what is to come. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from backprop_core import units

_TICKS: Final = 4
# Length of a lane of which nothing is known.
_UNKNOWN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class LegTimes:
    """When a leg works; a leg that waits has neither begin nor end.

    Attributes:
        seconds: how long it took, or will take as far as can be told; None when nothing is known.
        share: of its steps that are done, 0 to 1.
    """

    name: str
    status: str
    status_text: str
    begin: datetime | None = None
    end: datetime | None = None
    seconds: float | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class LegItem:
    """One lane; `left`, `width` and `done` are CSS percentages of the track."""

    number: str
    name: str
    status: str
    status_text: str
    left: str
    width: str
    done: str
    took: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A word on the axis below the lanes."""

    left: str
    text: str
    is_now: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every lane and the axis; `done_at` is the forecast of the end, empty when there is none."""

    legs: list[LegItem]
    ticks: list[Tick]
    done_at: str = ""


def timeline(legs: Sequence[LegTimes], now: datetime, *, is_ended: bool) -> Timeline:
    """Lay the legs out on one clock.

    A leg without a begin follows the one before it; its length is that of the legs that are done, where
    nothing better is known.

    Args:
        now: local wall time with zone.
        is_ended: whether the campaign has ended, so that nothing is to come.
    """
    spans = _spans(legs, now)
    first = min((begin for begin, _ in spans), default=now)
    last = max([end for _, end in spans] + ([] if is_ended else [now]), default=now)
    whole = max((last - first).total_seconds(), 1.0)

    def at(moment: datetime) -> float:
        return 100 * (moment - first).total_seconds() / whole

    items = []
    for number, (leg, (begin, end)) in enumerate(zip(legs, spans, strict=True), start=1):
        width = max(0.8, at(end) - at(begin))
        items.append(
            LegItem(
                number=str(number),
                name=leg.name,
                status=leg.status,
                status_text=leg.status_text,
                left=f"{min(99.2, at(begin)):.2f}%",
                width=f"{width:.2f}%",
                done=f"{width * leg.share:.2f}%",
                took=_took(leg, (end - begin).total_seconds(), now),
            )
        )
    is_forecast = not is_ended and any(leg.end is None for leg in legs) and last > now
    return Timeline(items, _ticks(first, last, now, is_ended=is_ended), clock_of(last) if is_forecast else "")


def clock_of(moment: datetime) -> str:
    """Return a time of day: "01:39"."""
    return f"{moment:%H:%M}"


def _spans(legs: Sequence[LegTimes], now: datetime) -> list[tuple[datetime, datetime]]:
    took = [(leg.end - leg.begin).total_seconds() for leg in legs if leg.begin and leg.end]
    took = took or [leg.seconds for leg in legs if leg.begin and leg.seconds]
    typical = sum(took) / len(took) if took else _UNKNOWN_S
    spans: list[tuple[datetime, datetime]] = []
    for leg in legs:
        begin = leg.begin or (max(spans[-1][1], now) if spans else now)
        expected = begin + timedelta(seconds=leg.seconds or typical)
        end = leg.end or (max(expected, now) if leg.begin else expected)
        spans.append((begin, end))
    return spans


def _took(leg: LegTimes, span_s: float, now: datetime) -> str:
    if leg.end is not None:
        return units.duration(span_s)
    if leg.begin is not None:
        done = units.duration((now - leg.begin).total_seconds())
        return f"{done} of {units.duration(span_s)}" if leg.seconds else done
    return f"about {units.duration(span_s)}" if span_s != _UNKNOWN_S else "to come"


def _ticks(first: datetime, last: datetime, now: datetime, *, is_ended: bool) -> list[Tick]:
    whole = (last - first).total_seconds()
    if whole < 1:
        return []
    text = f"{first:%H:%M:%S}" if whole < 600 else clock_of(first)
    ticks = [Tick("0%", text)]
    here = 100 * (now - first).total_seconds() / whole
    if not is_ended and 0 <= here <= 100:
        ticks.append(Tick(f"{min(here, 88):.1f}%", f"now {clock_of(now)}", is_now=True))
    for part in range(1, _TICKS):
        share = 100 * part / _TICKS
        if is_ended or abs(share - here) > 16:
            moment = first + timedelta(seconds=whole * part / _TICKS)
            ticks.append(Tick(f"{share:.1f}%", f"{moment:%H:%M:%S}" if whole < 600 else clock_of(moment)))
    return sorted(ticks, key=lambda tick: float(tick.left[:-1]))
