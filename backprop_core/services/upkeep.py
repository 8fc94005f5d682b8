"""Care of the store: the index made again from the folders, damage mended, leftovers of kills put away.

Says of each thing what it did. Nothing that the product did not write is touched.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backprop_core import platform
from backprop_core.errors import StateError
from backprop_core.jobs import queue
from backprop_core.ports import Clock
from backprop_core.runs import index
from backprop_core.runs.database import Database, set_aside
from backprop_core.runs.leftovers import find_leftovers
from backprop_core.runs.store import list_folders
from backprop_core.services import trash
from backprop_core.workspace import STORE_FILE, Workspace


@dataclass(frozen=True, slots=True)
class RootReport:
    """What was found in one folder of runs.

    Attributes:
        is_there: False when the folder is gone, or its disk is not mounted.
        added, corrected: rows that the index lacked, and rows that did not say what the journal says.
        damaged: folders that name no run that could be read.
    """

    root: str
    is_there: bool
    found: int = 0
    added: int = 0
    corrected: int = 0
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a repair looked at: `ok`, `mended`, or `left` as it is, with what was done or why not."""

    subject: str
    status: Literal["ok", "mended", "left"]
    what: str


def reindex(ws: Workspace, more: Iterable[Path] = ()) -> list[RootReport]:
    """Make the index equal to the folders of runs again.

    Args:
        more: folders that may hold runs and are not known yet.
    """
    known = _roots(ws)
    fresh = [root for root in more if root not in known and list_folders(root)]
    for root in fresh:
        index.remember_root(ws.roots_file, root)
    return [_read_root(ws, root) for root in (*known, *fresh)]


def check_store(home: Path, clock: Clock) -> Finding:
    """Read the store through; set a damaged one aside, so that it is made anew when it is opened next.

    Raises:
        StateError: STATE_STORE_INVALID when it cannot be opened, STATE_RUN_LOCKED when it is damaged while
            runs are being launched from it.
    """
    path = home / STORE_FILE
    if not path.exists():
        return Finding(str(path), "ok", "there is no store yet")
    try:
        damage = _damage(path)
    except sqlite3.OperationalError as error:
        raise StateError("STATE_STORE_INVALID", f"{path} cannot be opened: {error}.") from error
    if damage is None:
        return Finding(str(path), "ok", "read through, no damage")
    if not platform.lock_is_free(home / "scheduler.lock"):
        raise StateError(
            "STATE_RUN_LOCKED",
            f"{path} is damaged ({damage}), and runs are being launched from it.",
            hint="Repeat `backprop doctor --repair` when they have ended.",
        )
    aside = set_aside(path, clock.now().strftime("%Y%m%d-%H%M%S"))
    return Finding(
        str(path),
        "mended",
        f"damaged ({damage}); kept as {aside.name} and made anew from the folders of runs",
    )


def repair(ws: Workspace) -> list[Finding]:
    """Settle runs whose worker is gone, forget rows whose folder is gone, put leftovers of kills away."""
    return [*_settle(ws), *_forget(ws), *_put_away(ws)]


def _roots(ws: Workspace) -> list[Path]:
    """Return every folder of runs, those that every installation has included."""
    standard = [ws.settings.sandbox_root / "runs", ws.home / "jobs"]
    return list(dict.fromkeys([*index.known_roots(ws.roots_file), *standard]))


def _read_root(ws: Workspace, root: Path) -> RootReport:
    if not root.is_dir():
        return RootReport(str(root), is_there=False)
    folders, damaged, corrected = list_folders(root), [], 0
    added = index.rebuild(ws.database, [root], ws.now())
    for folder in folders:
        try:
            corrected += index.reread(ws.database, folder, ws.now())
        except StateError:
            damaged.append(folder.path.name)
    return RootReport(str(root), True, len(folders), added, corrected, tuple(damaged))


def _damage(path: Path) -> str | None:
    """Return the first thing that is wrong with a store; None when it is sound."""
    try:
        database = Database(path)
        try:
            return next(iter(database.damage()), None)
        finally:
            database.close()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)


def _settle(ws: Workspace) -> Iterator[Finding]:
    for state in queue.refresh_active(ws):
        subject = f"run {state.short_id}"
        if state.status == "interrupted":
            yield Finding(
                subject, "mended", f"its process is gone; `backprop resume {state.short_id}` goes on"
            )
        else:
            yield Finding(subject, "ok", f"{state.status}")


def _forget(ws: Workspace) -> Iterator[Finding]:
    for row in ws.database.list(limit=1_000_000):
        folder = Path(row.state.folder)
        if folder.is_dir():
            continue
        subject = f"run {row.state.short_id}"
        if folder.parent.is_dir():
            ws.database.delete(row.state.run_id)
            yield Finding(subject, "mended", f"its folder {folder} is gone; the index forgot it")
        else:
            yield Finding(subject, "left", f"{folder.parent} is not there; is its disk mounted?")


def _put_away(ws: Workspace) -> Iterator[Finding]:
    for root in _roots(ws):
        for leftover in find_leftovers(root, ws.clock.now().timestamp()):
            if leftover.reason:
                yield Finding(str(leftover.path), "left", leftover.reason)
                continue
            try:
                where = _remove(ws, leftover.path)
            except OSError as error:
                yield Finding(str(leftover.path), "left", f"it cannot be removed: {error.strerror}")
            else:
                yield Finding(str(leftover.path), "mended", f"unfinished work of a killed process, {where}")


def _remove(ws: Workspace, path: Path) -> str:
    """Take a leftover away: into the trash of the web app's folder, from the disk elsewhere."""
    if path.is_relative_to(ws.sandbox.root):
        trash.put(ws, path, "leftover")
        return "moved into the trash"
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return "removed"
