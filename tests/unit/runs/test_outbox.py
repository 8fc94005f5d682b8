"""An end is told once: written with the final state, redacted, never for what was found again on the disk."""

from __future__ import annotations

import pytest

from backprop_core.errors import ErrorRecord
from backprop_core.runs import outbox
from backprop_core.runs.database import Database, Row
from tests.unit.runs.test_database import run_state

LOST = ErrorRecord(
    code="RUNTIME_TRAINING_ABORTED", message="gone, token=hunter2hunter2", hint="", retryable=True, details={}
)


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "store.db")
    database.insert(run_state())
    yield database
    database.close()


def waiting(database):
    with database.reading() as connection:
        return list(outbox.waiting(connection))


def end(database, status="completed", was="running", **changes):
    return database.advance(Row(run_state(status=status, **changes), 9), was=was)


def test_an_end_is_in_the_outbox_with_the_final_state(database):
    end(database, loss=1.25, step=10, total_steps=10, seq=6)
    [post] = waiting(database)
    assert (post.notice.title, post.notice.text) == ("night is done", "step 10 of 10, loss 1.250")


def test_two_processes_that_see_the_same_end_tell_it_once(database):
    assert end(database, seq=6)
    assert not end(database, seq=6)
    assert len(waiting(database)) == 1


def test_a_final_state_that_cannot_be_saved_is_not_told(database, monkeypatch):
    def refuse(*_):
        raise OSError("disk")

    monkeypatch.setattr(outbox, "record", refuse)
    with pytest.raises(OSError, match="disk"):
        end(database, seq=6)
    monkeypatch.undo()
    assert database.get(run_state().run_id).state.status == "running"
    assert waiting(database) == []


def test_a_better_explanation_replaces_the_one_that_waits(database):
    end(database, status="interrupted", seq=6)
    end(database, status="interrupted", was="interrupted", seq=6, error=LOST)
    [post] = waiting(database)
    assert post.notice.code == "RUNTIME_TRAINING_ABORTED"


def test_a_told_end_is_not_told_again_when_it_is_explained_better(database):
    end(database, status="interrupted", seq=6)
    with database.transaction() as connection:
        outbox.settle(connection, 1, "delivered")
    end(database, status="interrupted", was="interrupted", seq=6, error=LOST)
    assert waiting(database) == []


def test_each_attempt_has_an_end_of_its_own(database):
    end(database, status="failed", seq=6)
    database.move(run_state().run_id, ("failed",), "queued")
    database.move(run_state().run_id, ("queued",), "starting")
    end(database, was="starting", seq=9)
    assert [post.notice.status for post in waiting(database)] == ["failed", "completed"]


def test_a_secret_in_an_error_does_not_reach_the_outbox(database):
    end(database, status="failed", seq=6, error=LOST)
    assert "hunter2" not in waiting(database)[0].model_dump_json()


def test_a_run_found_again_on_the_disk_is_not_told(database):
    database.advance(Row(run_state(status="completed", seq=6), 9), was="running", is_news=False)
    assert waiting(database) == []
