"""The index of all runs: what is scheduled and how to find it, in one SQLite file.

Rows are projections of the journals and can be rebuilt from the folders; the queue order and the
start keys are the only facts that live here alone. Safe for several processes at once.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core.errors import InputError
from backprop_core.platform import private_umask
from backprop_core.runs import outbox
from backprop_core.runs.migrations import migrate
from backprop_core.runs.projection import TRAINING_KINDS, RunState, Status
from backprop_core.runs.store import RunKind

_BUSY_MS: Final = 5000


@dataclass(frozen=True, slots=True)
class Row:
    """A run's state and how far its journal was read."""

    state: RunState
    offset: int


class Database:
    """The store at `path`, created when missing.

    Raises:
        StateError: STATE_STORE_INVALID when it was written by a newer version.
        sqlite3.DatabaseError: it is damaged; see `set_aside`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with private_umask():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the connection; the file stays."""
        with self._lock:
            self._connection.close()

    def insert(self, state: RunState, *, start_key: str | None = None) -> str:
        """Add a run and return its id, or the id of the run that already has this start key."""
        with self.transaction() as connection:
            if start_key is not None:
                found = connection.execute(
                    "SELECT run_id FROM runs WHERE start_key = ?", (start_key,)
                ).fetchone()
                if found:
                    return str(found[0])
            position = connection.execute("SELECT COALESCE(MAX(position), 0) + 1 FROM runs").fetchone()[0]
            connection.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    state.run_id,
                    state.folder,
                    state.status,
                    state.created_at,
                    state.seq,
                    0,
                    position if state.status == "queued" else None,
                    start_key,
                    _search_text(state),
                    state.model_dump_json(),
                ),
            )
        return state.run_id

    def run_for_key(self, start_key: str) -> str | None:
        """Return the id of the run that was started with this key."""
        with self._lock:
            found = self._connection.execute(
                "SELECT run_id FROM runs WHERE start_key = ?", (start_key,)
            ).fetchone()
        return str(found[0]) if found else None

    def advance(self, row: Row, *, was: Status, is_news: bool = True) -> bool:
        """Save a newer projection; return whether it was saved. An end goes into the outbox with it.

        Args:
            was: the status that it was worked out from. When somebody has changed it meanwhile, for
                example to `queued`, or has saved later events, the stored row stays.
            is_news: whether an end is to be told; False for a run found again on the disk.
        """
        state = row.state
        with self.transaction() as connection:
            changed = connection.execute(
                "UPDATE runs SET status = ?, seq = ?, offset = ?, state = ?, position = NULL "
                "WHERE run_id = ? AND seq <= ? AND status = ?",
                (state.status, state.seq, row.offset, state.model_dump_json(), state.run_id, state.seq, was),
            )
            if is_news and changed.rowcount == 1:
                outbox.record(connection, was, state)
        return changed.rowcount == 1

    def move(self, run_id: str, before: Sequence[Status], after: Status) -> bool:
        """Change the status if it is one of `before`; return whether it was. Two callers never both win."""
        with self.transaction() as connection:
            row = self._get(run_id)
            if row is None or row.state.status not in before:
                return False
            state = row.state.model_copy(
                update={"status": after, "error": None if after == "queued" else row.state.error}
            )
            position = None
            if after == "queued":
                position = connection.execute("SELECT COALESCE(MAX(position), 0) + 1 FROM runs").fetchone()[0]
            connection.execute(
                "UPDATE runs SET status = ?, state = ?, position = ? WHERE run_id = ?",
                (after, state.model_dump_json(), position, run_id),
            )
        return True

    def reorder(self, run_id: str, index: int) -> bool:
        """Put a run that waits at `index` of the queue, counted from 0; return whether it waits."""
        with self.transaction() as connection:
            found = connection.execute(
                "SELECT run_id FROM runs WHERE status = 'queued' ORDER BY position, created_at"
            ).fetchall()
            order = [str(row[0]) for row in found]
            if run_id not in order:
                return False
            order.remove(run_id)
            order.insert(index, run_id)
            connection.executemany(
                "UPDATE runs SET position = ? WHERE run_id = ?",
                [(place, waiting) for place, waiting in enumerate(order, 1)],
            )
        return True

    def get(self, run_id: str) -> Row | None:
        """Return one run by its whole id."""
        with self._lock:
            return self._get(run_id)

    def find(self, prefix: str) -> Row:
        """Return the run whose id begins with `prefix`.

        Raises:
            InputError: INPUT_RUN_NOT_FOUND when none or more than one does.
        """
        wanted = prefix.strip().lower()
        if not wanted or not set(wanted) <= set("0123456789abcdef-"):
            raise InputError("INPUT_RUN_NOT_FOUND", f"{prefix[:80]!r} is no run id.")
        with self._lock:
            rows = self._connection.execute(
                "SELECT state, offset FROM runs WHERE run_id LIKE ? LIMIT 3", (f"{wanted}%",)
            ).fetchall()
        if not rows:
            raise InputError("INPUT_RUN_NOT_FOUND", f"No run has an id that begins with {prefix}.")
        if len(rows) > 1:
            raise InputError("INPUT_RUN_NOT_FOUND", f"More than one run has an id that begins with {prefix}.")
        return _row(rows[0])

    def list(
        self,
        *,
        statuses: Sequence[Status] = (),
        search: str = "",
        kind: RunKind | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> list[Row]:
        """Return runs, newest first.

        Args:
            statuses: only these; all when empty.
            search: only runs with this text in name, model, data or id.
            kind: only training runs or only exports.
        """
        clauses, values = _filter(statuses, search, kind)
        with self._lock:
            rows = self._connection.execute(
                f"SELECT state, offset FROM runs {clauses} ORDER BY created_at DESC, run_id LIMIT ? OFFSET ?",  # noqa: S608
                (*values, limit, offset),
            ).fetchall()
        return [_row(row) for row in rows]

    def count(self, *, statuses: Sequence[Status] = (), search: str = "", kind: RunKind | None = None) -> int:
        """Return how many runs `list` would find without a limit."""
        clauses, values = _filter(statuses, search, kind)
        with self._lock:
            return int(self._connection.execute(f"SELECT COUNT(*) FROM runs {clauses}", values).fetchone()[0])  # noqa: S608

    def queued(self) -> Sequence[RunState]:
        """Return the runs that wait, in the order in which they will start."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT state, offset FROM runs WHERE status = 'queued' ORDER BY position, created_at"
            ).fetchall()
        return [_row(row).state for row in rows]

    def damage(self) -> Sequence[str]:
        """Return what SQLite finds wrong with the file; empty when it is sound.

        Raises:
            sqlite3.DatabaseError: it cannot even be read through.
        """
        with self._lock:
            found = [str(row[0]) for row in self._connection.execute("PRAGMA quick_check(20)")]
        return [] if found == ["ok"] else found

    def delete(self, run_id: str) -> None:
        """Forget a run; its folder is not touched."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))

    def _get(self, run_id: str) -> Row | None:
        row = self._connection.execute(
            "SELECT state, offset FROM runs WHERE run_id = ?", (run_id,)
        ).fetchone()
        return _row(row) if row else None

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with self.transaction() as connection:
            migrate(connection, self.path)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection for looking only; no other thread uses it meanwhile."""
        with self._lock:
            yield self._connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection in a transaction that is undone when the block raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                # A full disk makes SQLite undo the transaction by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def set_aside(path: Path, stamp: str) -> Path:
    """Rename a damaged store and its side files; return the new name."""
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(aside.with_name(aside.name + suffix))
    return aside


def _row(values: tuple[str, int]) -> Row:
    return Row(RunState.model_validate_json(values[0]), values[1])


def _search_text(state: RunState) -> str:
    return " ".join((state.run_id, state.name, state.model, state.dataset)).lower()


def _filter(statuses: Sequence[Status], search: str, kind: RunKind | None) -> tuple[str, list[str]]:
    clauses: list[str] = []
    values: list[str] = []
    if statuses:
        clauses.append(f"status IN ({', '.join('?' * len(statuses))})")
        values.extend(statuses)
    if search.strip():
        clauses.append("INSTR(search, ?) > 0")
        values.append(search.strip().lower())
    if kind == "train":
        # A campaign is a training run of many legs.
        clauses.append(f"json_extract(state, '$.kind') IN ({', '.join('?' * len(TRAINING_KINDS))})")
        values.extend(sorted(TRAINING_KINDS))
    elif kind is not None:
        clauses.append("json_extract(state, '$.kind') = ?")
        values.append(kind)
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), values
