"""What was deleted on a page or with a command, kept until its owner removes it for good or takes it back.

Everything is moved, never copied, into `trash/<id>/` of the web app's folder, beside a record of where it
came from. Nothing is removed by age on its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from backprop_core import files
from backprop_core.errors import InputError, StateError
from backprop_core.runs import index
from backprop_core.workspace import Workspace

Kind = Literal["run", "export", "data", "checkpoints", "leftover", "unknown"]

_FOLDER: Final = "trash"
_RECORD: Final = "record.json"
_CONTENT: Final = "content"
_ID: Final = re.compile(r"[0-9a-f]{8}\Z")


@dataclass(frozen=True, slots=True)
class TrashEntry:
    """One thing in the trash.

    Attributes:
        origin: where it lay; empty when nobody wrote that down, then it cannot go back.
        moved_at: wall time with its zone.
    """

    trash_id: str
    name: str
    kind: Kind
    origin: str
    moved_at: str
    size_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the entry as plain values."""
        return asdict(self)


def put(ws: Workspace, path: Path, kind: Kind, name: str = "") -> TrashEntry:
    """Move a file or folder into the trash.

    Args:
        path: what to move: below the web app's folder, or on the same disk as it.
        name: what people call it; the name of the file when empty.

    Raises:
        InputError: INPUT_PATH_TRAVERSAL, it is missing or a link is on the way to it.
        StateError: SANDBOX_PATH_OUTSIDE, it lies on another disk than the trash.
    """
    box = ws.sandbox
    box.prepare()
    trash_id = secrets.token_hex(4)
    entry = TrashEntry(trash_id, name or path.name, kind, str(path), ws.now())
    box.make_folders(_FOLDER, trash_id)
    try:
        with box.create(_FOLDER, trash_id, _RECORD) as stream:
            stream.write(orjson.dumps({"schema_version": 1, **asdict(entry)}))
        if path.is_relative_to(box.root):
            box.move(path.relative_to(box.root).parts, (_FOLDER, trash_id, _CONTENT))
        else:
            _move_in(ws, path, trash_id)
    except BaseException:
        box.remove(_FOLDER, trash_id)
        raise
    return entry


def _move_in(ws: Workspace, path: Path, trash_id: str) -> None:
    with ws.sandbox.held(_FOLDER, trash_id) as folder:
        try:
            path.rename(folder / _CONTENT)
        except OSError as error:
            raise StateError(
                "SANDBOX_PATH_OUTSIDE",
                f"{path} cannot be moved into the trash: {error.strerror}.",
                hint="Delete it with the command line, which removes it for good.",
            ) from error


def list_entries(ws: Workspace) -> list[TrashEntry]:
    """Return what lies in the trash, newest first, with the bytes that it holds."""
    folder = ws.sandbox.path(_FOLDER)
    if folder.is_symlink() or not folder.is_dir():
        return []
    entries = [_entry(ws, path) for path in folder.iterdir() if _ID.match(path.name)]
    return sorted(entries, key=lambda entry: (entry.moved_at, entry.trash_id), reverse=True)


def _entry(ws: Workspace, path: Path) -> TrashEntry:
    size = files.size_of_tree(path)
    try:
        with ws.sandbox.open(_FOLDER, path.name, _RECORD) as stream:
            value = orjson.loads(stream.read(1 << 16))
        del value["schema_version"]
        return TrashEntry(**{**value, "trash_id": path.name, "size_bytes": size})
    except (InputError, ValueError, KeyError, TypeError):
        return TrashEntry(path.name, path.name, "unknown", "", "", size)


def find(ws: Workspace, prefix: str) -> TrashEntry:
    """Return the entry whose id begins with `prefix`.

    Raises:
        InputError: INPUT_VALIDATION_FAILED when none does, or more than one.
    """
    found = [entry for entry in list_entries(ws) if prefix and entry.trash_id.startswith(prefix)]
    if len(found) != 1:
        many = "fits more than one thing" if found else "names nothing"
        raise InputError("INPUT_VALIDATION_FAILED", f"{prefix[:40]!r} {many} in the trash.")
    return found[0]


def restore(ws: Workspace, prefix: str) -> TrashEntry:
    """Move a thing back to where it came from; a run is listed again.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, or INPUT_PATH_TRAVERSAL when something stands there by now.
        StateError: SANDBOX_PATH_OUTSIDE, its place is no folder that belongs to runs or to the web app.
    """
    entry = find(ws, prefix)
    origin = Path(entry.origin)
    box = ws.sandbox
    source = (_FOLDER, entry.trash_id, _CONTENT)
    if entry.origin and origin.is_relative_to(box.root):
        target = origin.relative_to(box.root).parts
        box.make_folders(*target[:-1])
        box.move(source, target)
    else:
        _move_out(ws, entry, origin)
    box.remove(_FOLDER, entry.trash_id)
    if entry.kind == "run":
        index.rebuild(ws.database, [origin.parent], ws.now())
    return entry


def _move_out(ws: Workspace, entry: TrashEntry, origin: Path) -> None:
    if not entry.origin or origin.parent not in index.known_roots(ws.roots_file):
        raise StateError("SANDBOX_PATH_OUTSIDE", f"Nothing tells where {entry.name} belongs.")
    if os.path.lexists(origin):
        raise InputError("INPUT_PATH_TRAVERSAL", f"{origin} exists already.")
    with ws.sandbox.held(_FOLDER, entry.trash_id) as folder:
        try:
            (folder / _CONTENT).rename(origin)
        except OSError as error:
            raise StateError(
                "SANDBOX_PATH_OUTSIDE", f"{origin} cannot be written: {error.strerror}."
            ) from error


def purge(ws: Workspace, trash_ids: Iterable[str]) -> int:
    """Remove things from the trash for good; return the bytes that are free again.

    Raises:
        InputError: INPUT_VALIDATION_FAILED.
        StateError: SANDBOX_NOT_WRITABLE, the system refuses, or a disk is mounted inside.
    """
    freed = 0
    for entry in [find(ws, trash_id) for trash_id in trash_ids]:
        try:
            ws.sandbox.remove(_FOLDER, entry.trash_id)
        except OSError as error:
            raise StateError(
                "SANDBOX_NOT_WRITABLE", f"{entry.name} cannot be removed whole: {error.strerror}."
            ) from error
        freed += entry.size_bytes
    return freed


def older_than(ws: Workspace, days: int) -> list[TrashEntry]:
    """Return what has been in the trash for at least `days`; what has no date counts as old."""
    limit = ws.clock.now().astimezone() - timedelta(days=days)
    return [entry for entry in list_entries(ws) if _moved_at(entry, limit) <= limit]


def _moved_at(entry: TrashEntry, otherwise: datetime) -> datetime:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(entry.moved_at).astimezone()
    return otherwise
