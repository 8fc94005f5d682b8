"""What takes space on this machine, and which of it may be deleted.

A thing is named by a key of its list, never by a path: what is not in the list cannot be deleted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from backprop_core import files
from backprop_core.errors import InputError, StateError
from backprop_core.runs.leftovers import find_leftovers
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder
from backprop_core.services import exports, runs, trash
from backprop_core.services.data_files import is_data_name
from backprop_core.services.room import room_bytes
from backprop_core.services.trash import Kind, TrashEntry
from backprop_core.workspace import Workspace

_LISTED: Final = 500
_DATA_FOLDERS: Final = ("datasets", "uploads")


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One thing that may be deleted.

    Attributes:
        key: names it: its kind and its id or file name.
        note: what is lost with it, or why it is of no more use.
    """

    key: str
    kind: Kind
    name: str
    path: Path
    size_bytes: int
    note: str

    def as_json(self) -> dict[str, Any]:
        """Return the item as plain values."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True, slots=True)
class Area:
    """A folder of the installation with all that it holds; `note` says who may delete there."""

    name: str
    path: Path
    size_bytes: int
    note: str


@dataclass(frozen=True, slots=True)
class StorageReport:
    """What takes space.

    Attributes:
        room_bytes: what the web app may still write, after quota and reserve.
        items: what may be deleted, largest first.
    """

    areas: tuple[Area, ...]
    items: tuple[StoredItem, ...]
    trash: tuple[TrashEntry, ...]
    room_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "room_bytes": self.room_bytes,
            "areas": [{**asdict(area), "path": str(area.path)} for area in self.areas],
            "items": [item.as_json() for item in self.items],
            "trash": [entry.as_json() for entry in self.trash],
        }


def report(ws: Workspace) -> StorageReport:
    """Look through the folders of this installation."""
    ws.sandbox.prepare()
    items = sorted(_items(ws), key=lambda item: item.size_bytes, reverse=True)
    return StorageReport(tuple(_areas(ws)), tuple(items), tuple(trash.list_entries(ws)), room_bytes(ws))


def delete(ws: Workspace, key: str) -> StoredItem:
    """Move a thing of the list into the trash.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, nothing in the list has this key.
        StateError: STATE_RUN_LOCKED, a run is being worked on.
    """
    item = next((item for item in _items(ws) if item.key == key), None)
    if item is None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{key[:80]!r} names nothing that may be deleted.",
            hint="`backprop storage` lists the keys.",
        )
    if item.kind == "run":
        runs.delete(ws, key.partition(":")[2])
        return item
    if item.kind == "checkpoints":
        _require_rest(RunFolder(item.path.parent))
    trash.put(ws, item.path, item.kind, item.name)
    return item


def _require_rest(folder: RunFolder) -> None:
    if folder.is_worked_on():
        raise StateError("STATE_RUN_LOCKED", f"The run in {folder.path} is being worked on.")


def _areas(ws: Workspace) -> Iterator[Area]:
    root, home = ws.sandbox.root, ws.home
    named = (
        ("Runs", root / "runs", "Runs of the page, with checkpoints and adapters."),
        ("Data files", root / "datasets", "Uploads, pasted rows and versions."),
        ("Exports", root / "exports", "Files that were made for Ollama and others."),
        ("Trash", root / "trash", "Stays until you remove it for good."),
        ("Base models", home / "cache" / "models", "`backprop models rm NAME` removes one; it can be fetched again."),
        ("Logs", home / "logs", "What happened; logs replace themselves when they are full."),
    )  # fmt: skip
    for name, path, note in named:
        yield Area(name, path, _size(path), note)
    caches = home / "cache"
    rest = _size(caches) - _size(caches / "models")
    yield Area("Other caches", caches, max(0, rest), "Made again when they are needed.")


def _items(ws: Workspace) -> Iterator[StoredItem]:
    ended = [state for state in runs.list_runs(ws, kind=None, limit=_LISTED) if state.is_terminal]
    for state in ended:
        yield from _of_run(state)
    for name in _DATA_FOLDERS:
        folder = ws.sandbox.path(name)
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.is_symlink() and is_data_name(path.name):
                note = "Runs that were trained on it keep their results."
                yield StoredItem(f"data:{name}/{path.name}", "data", path.name, path, _size(path), note)
    for export in exports.list_finished(ws, _LISTED):
        if export.path.is_relative_to(ws.sandbox.root):
            note = "It can be exported again from its run."
            yield StoredItem(
                f"export:{export.job_id}", "export", export.path.name, export.path, _size(export.path), note
            )
    for leftover in find_leftovers(ws.sandbox.path("runs"), ws.clock.now().timestamp()):
        if not leftover.reason:
            path = leftover.path
            key = f"leftover:{path.relative_to(ws.sandbox.root).as_posix()}"
            yield StoredItem(
                key, "leftover", path.name, path, _size(path), "Unfinished work of a killed process."
            )


def _of_run(state: RunState) -> Iterator[StoredItem]:
    folder = RunFolder(Path(state.folder))
    if not folder.path.is_dir() or folder.path.is_symlink():
        return
    what = "export job" if state.kind == "export" else "run"
    note = "With its curve, checkpoints and adapter." if what == "run" else "The file that it made stays."
    name = f"{state.name} {state.short_id}"
    yield StoredItem(
        f"run:{state.run_id}", "run", name, folder.path, _size(folder.path), f"{what.capitalize()}. {note}"
    )
    if state.status == "completed" and folder.checkpoints.is_dir() and not folder.checkpoints.is_symlink():
        note = "The run is complete; its adapter stays."
        size = _size(folder.checkpoints)
        yield StoredItem(f"checkpoints:{state.run_id}", "checkpoints", name, folder.checkpoints, size, note)


def _size(path: Path) -> int:
    if path.is_symlink():
        return 0
    return path.stat().st_size if path.is_file() else files.size_of_tree(path) if path.is_dir() else 0
