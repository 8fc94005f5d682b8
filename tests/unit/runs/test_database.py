"""The index under several hands: nobody overwrites what another has just decided."""

from __future__ import annotations

import sqlite3

import pytest

from backprop_core.runs.database import Database, Row
from backprop_core.runs.projection import RunState


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "store.db")
    yield database
    database.close()


def run_state(**changes) -> RunState:
    values = {
        "run_id": "11111111-1111-4111-8111-111111111111",
        "folder": "/runs/1",
        "name": "night",
        "source": "cli",
        "model": "m",
        "dataset": "d",
        "created_at": "2026-01-01T00:00:00+00:00",
        "status": "running",
        "seq": 5,
    }
    return RunState(**values | changes)


def stored(database) -> RunState:
    row = database.get(run_state().run_id)
    assert row is not None
    return row.state


def test_a_newer_projection_is_saved(database):
    database.insert(run_state())
    assert database.advance(Row(run_state(status="completed", seq=6), 99), was="running")
    assert (stored(database).status, stored(database).seq) == ("completed", 6)


def test_a_run_that_was_queued_again_meanwhile_stays_queued(database):
    database.insert(run_state())
    assert database.move(run_state().run_id, ("running",), "queued")
    assert not database.advance(Row(run_state(status="interrupted"), 99), was="running")
    assert stored(database).status == "queued"
    assert [state.run_id for state in database.queued()] == [run_state().run_id]


def test_an_older_projection_does_not_replace_a_newer_one(database):
    database.insert(run_state(seq=7))
    assert not database.advance(Row(run_state(seq=6), 50), was="running")
    assert stored(database).seq == 7


def test_a_store_that_cannot_grow_refuses_and_stays_whole(database):
    database.insert(run_state())
    with database.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    long = run_state(seq=6, name="n" * 200_000)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        database.advance(Row(long, 9), was="running")
    assert (stored(database).seq, database.damage()) == (5, [])
    with database.reading() as connection:
        connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    assert database.advance(Row(long, 9), was="running")
