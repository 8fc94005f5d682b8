"""An older store becomes a newer one whole or not at all; a newer one is refused."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from backprop_core.errors import StateError
from backprop_core.runs import migrations
from backprop_core.runs.database import Database
from tests.unit.runs.test_database import run_state

ROOT = Path(__file__).parents[3]

# Ends the process at the statement whose number is given, as SIGKILL would.
KILLED = """
import os, sqlite3, sys
from pathlib import Path
from backprop_core.runs import database
seen = 0
def count(statement):
    global seen
    seen += 1
    if seen == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
connect = sqlite3.connect
def traced(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.set_trace_callback(count)
    return connection
sqlite3.connect = traced
database.Database(Path(sys.argv[1])).close()
print("whole", seen)
"""


def old_store(path: Path) -> None:
    """Write a store as the first version left it, with one run."""
    with sqlite3.connect(path) as connection:
        connection.executescript(migrations.STEPS[0])
        connection.execute("PRAGMA user_version = 1")
        state = run_state(status="queued")
        connection.execute(
            "INSERT INTO runs VALUES (?, ?, 'queued', ?, 5, 0, 1, NULL, 'night', ?)",
            (state.run_id, state.folder, state.created_at, state.model_dump_json()),
        )
    connection.close()


def version_and_tables(path: Path) -> tuple[int, bool]:
    connection = sqlite3.connect(path)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    has_outbox = connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'outbox'").fetchone()[0]
    connection.close()
    return version, bool(has_outbox)


def test_an_older_store_is_brought_up_and_a_copy_of_it_is_kept(tmp_path):
    path = tmp_path / "store.db"
    old_store(path)
    database = Database(path)
    assert [state.run_id for state in database.queued()] == [run_state().run_id]
    database.close()
    assert version_and_tables(path) == (2, True)
    assert version_and_tables(tmp_path / "store.db.before-2") == (1, False)


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "store.db"
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateError) as caught:
        Database(path)
    assert caught.value.code == "STATE_STORE_INVALID"
    assert version_and_tables(path)[0] == 99


def test_a_migration_killed_at_any_statement_leaves_the_old_store_or_the_new_one(tmp_path):
    ends = []
    for number in range(1, 21):
        path = tmp_path / str(number) / "store.db"
        path.parent.mkdir()
        old_store(path)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(path), str(number)],
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        ends.append(done.returncode)
        assert version_and_tables(path) in {(1, False), (2, True)}, done.stderr
        database = Database(path)
        assert [state.run_id for state in database.queued()] == [run_state().run_id]
        assert database.damage() == []
        database.close()
    assert ends.count(-9) >= 8
