"""The rows of the queue: what waits, why, and when it is likely to start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backprop_app.views.runs import short_model
from backprop_core.services.queueing import QueueItem


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One job that waits."""

    run_id: str
    position: str
    name: str
    about: str
    starts: str
    is_first: bool
    is_last: bool


def queue_rows(items: list[QueueItem], now: datetime) -> list[QueueRow]:
    """Return the rows of the queue.

    Args:
        now: local wall time with zone.
    """
    return [_row(item, now, is_last=item.position == len(items)) for item in items]


def _row(item: QueueItem, now: datetime, *, is_last: bool) -> QueueRow:
    starts = ""
    if item.starts_at is not None and item.reason != "starts now":
        starts = f"about {datetime.fromisoformat(item.starts_at).astimezone(now.tzinfo):%H:%M}"
    what = short_model(item.state.model) if item.state.kind == "train" else item.state.kind
    return QueueRow(
        run_id=item.state.run_id,
        position=str(item.position),
        name=item.state.name,
        about=f"{what}, {item.reason}",
        starts=starts,
        is_first=item.position == 1,
        is_last=is_last,
    )
