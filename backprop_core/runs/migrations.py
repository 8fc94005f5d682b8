"""The tables of the store, one step per version, and how an older store becomes a newer one.

A migration is one transaction over a store of which a copy was made before: it happens whole or not at all.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from backprop_core import platform
from backprop_core.errors import StateError

_RUNS: Final = """
CREATE TABLE runs (
    run_id     TEXT PRIMARY KEY,
    folder     TEXT NOT NULL UNIQUE,
    status     TEXT NOT NULL,
    created_at TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    offset     INTEGER NOT NULL,
    position   INTEGER,
    start_key  TEXT UNIQUE,
    search     TEXT NOT NULL,
    state      TEXT NOT NULL
) STRICT;
CREATE INDEX runs_by_creation ON runs (created_at DESC);
CREATE INDEX runs_by_status ON runs (status);
"""

# Numbers of the outbox never come back, so that a browser may remember the last one it has shown.
_OUTBOX: Final = """
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id     TEXT NOT NULL,
    created_at TEXT NOT NULL,
    body       TEXT NOT NULL,
    outcome    TEXT NOT NULL DEFAULT 'waiting',
    tries      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_waiting ON outbox (id) WHERE outcome = 'waiting';
"""

STEPS: Final = (_RUNS, _OUTBOX)
SCHEMA_VERSION: Final = len(STEPS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the store behind `connection`, which is in a transaction, to the newest version.

    Raises:
        StateError: STATE_STORE_INVALID when it was written by a newer version.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise StateError(
            "STATE_STORE_INVALID",
            f"{path} was written by a newer version (schema {version}, this one reads {SCHEMA_VERSION}).",
        )
    if version == SCHEMA_VERSION:
        return
    if version > 0:
        _keep_copy(path, version)
    for step in STEPS[version:]:
        for statement in filter(None, map(str.strip, step.split(";\n"))):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _keep_copy(path: Path, version: int) -> None:
    """Keep the store as it was beside itself, through a second connection that sees what is committed."""
    target = path.with_name(f"{path.name}.before-{version + 1}")
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    source = sqlite3.connect(path)
    copy = sqlite3.connect(partial)
    try:
        source.backup(copy)
    finally:
        copy.close()
        source.close()
    platform.replace(partial, target)
    platform.sync_directory(path.parent)
