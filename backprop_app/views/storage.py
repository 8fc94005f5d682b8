"""What the Storage page shows of a place, of a thing that may be deleted, and of a thing in the trash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from backprop_core import units
from backprop_core.services.storage import Area, StoredItem
from backprop_core.services.trash import TrashEntry

_KINDS: Final = {
    "run": "run",
    "export": "export",
    "data": "data file",
    "checkpoints": "checkpoints",
    "leftover": "leftover",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True)
class AreaItem:
    """A place with its size; `share` is the width of its bar."""

    name: str
    path: str
    size: str
    share: str
    note: str


@dataclass(frozen=True, slots=True)
class DeletableItem:
    """A thing that may go into the trash."""

    key: str
    kind: str
    name: str
    size: str
    note: str


@dataclass(frozen=True, slots=True)
class TrashItem:
    """A thing in the trash; `is_old` when it has been there longer than the settings want."""

    trash_id: str
    kind: str
    name: str
    size: str
    deleted: str
    can_restore: bool
    is_old: bool


def area_items(areas: tuple[Area, ...]) -> list[AreaItem]:
    """Return the places, each with its share of all of them."""
    total = max(1, sum(area.size_bytes for area in areas))
    return [
        AreaItem(
            area.name,
            str(area.path),
            units.file_size(area.size_bytes),
            f"{100 * area.size_bytes / total:.1f}%",
            area.note.replace("`", ""),
        )
        for area in areas
    ]


def deletable_items(items: tuple[StoredItem, ...]) -> list[DeletableItem]:
    """Return the things that may be deleted."""
    return [
        DeletableItem(item.key, _KINDS[item.kind], item.name, units.file_size(item.size_bytes), item.note)
        for item in items
    ]


def trash_items(entries: tuple[TrashEntry, ...], now: datetime, days: int) -> list[TrashItem]:
    """Return what lies in the trash."""
    return [_trash_item(entry, now, days) for entry in entries]


def _trash_item(entry: TrashEntry, now: datetime, days: int) -> TrashItem:
    try:
        moved = datetime.fromisoformat(entry.moved_at).astimezone(now.tzinfo)
    except ValueError:
        moved = None
    return TrashItem(
        entry.trash_id,
        _KINDS.get(entry.kind, "unknown"),
        entry.name,
        units.file_size(entry.size_bytes),
        f"{moved:%Y-%m-%d %H:%M}" if moved else "–",
        can_restore=bool(entry.origin),
        is_old=moved is None or now - moved >= timedelta(days=days),
    )
