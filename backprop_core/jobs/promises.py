"""What is to come after runs that have not ended, as one empty file per run in the home.

A promise survives every process and a reboot. Whoever keeps it takes it back; nobody here knows what it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from backprop_core.runs.projection import Status
from backprop_core.workspace import Workspace

_KEPT_AT: Final[frozenset[Status]] = frozenset({"completed", "stopped"})


def promise(ws: Workspace, run_id: str) -> None:
    """Remember that something is to come after this run."""
    _folder(ws).mkdir(exist_ok=True)
    (_folder(ws) / run_id).touch()


def take_back(ws: Workspace, run_id: str) -> None:
    """Forget what was to come after this run."""
    (_folder(ws) / run_id).unlink(missing_ok=True)


def due(ws: Workspace) -> list[str]:
    """Return the runs whose promise can be kept now: they completed or were stopped.

    Promises of deleted runs are taken back; those of failed ones stand, since a resume may complete them.
    """
    try:
        names = sorted(path.name for path in _folder(ws).iterdir())
    except FileNotFoundError:
        return []
    found = []
    for run_id in names:
        row = ws.database.get(run_id)
        if row is None:
            take_back(ws, run_id)
        elif row.state.status in _KEPT_AT:
            found.append(run_id)
    return found


def _folder(ws: Workspace) -> Path:
    return ws.home / "after"
