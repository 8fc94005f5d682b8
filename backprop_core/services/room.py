"""How much the web app may still write: its quota, and the reserve that stays free on the disk."""

from __future__ import annotations

import shutil
from typing import Final

from backprop_core import files
from backprop_core.errors import RunError
from backprop_core.planning.disk import reserve_bytes
from backprop_core.units import GIB, file_size
from backprop_core.workspace import Workspace

_HINT: Final = "Delete what is not needed on the Storage page and empty its trash, or raise the limit."


def room_bytes(ws: Workspace) -> int:
    """Return how many bytes the web app may still write: what quota and reserve leave, never below 0."""
    disk = shutil.disk_usage(ws.sandbox.root)
    room = disk.free - reserve_bytes(disk.total)
    if ws.settings.ui__quota_gib is not None:
        room = min(room, ws.settings.ui__quota_gib * GIB - files.size_of_tree(ws.sandbox.root))
    return max(0, room)


def require_room(ws: Workspace, needed_bytes: int, purpose: str) -> int:
    """Return how many bytes may be written when `needed_bytes` do fit.

    Args:
        purpose: names the work in the message, as the first word of a sentence.

    Raises:
        RunError: RUNTIME_DISK_FULL.
    """
    room = room_bytes(ws)
    if needed_bytes > room:
        raise no_room(needed_bytes, room, purpose)
    return room


def no_room(needed_bytes: int, room: int, purpose: str) -> RunError:
    """Return the error for work that needs more than there is room for."""
    return RunError(
        "RUNTIME_DISK_FULL",
        f"{purpose} needs {file_size(needed_bytes)}; quota and disk reserve leave {file_size(room)}.",
        hint=_HINT,
    )
