"""What is to be told about runs that have ended, kept in the store beside the run rows.

A notice is written in the transaction that makes a run terminal, so that none is lost and none is
written twice. Knows nothing of how it is told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from backprop_core import units
from backprop_core.redact import redact_value
from backprop_core.runs.projection import TERMINAL, RunState, Status

Outcome = Literal["delivered", "given-up", "unwanted"]

_KEPT: Final = 1000
_WORDS: Final = {
    "completed": "is done",
    "stopped": "was stopped",
    "failed": "failed",
    "interrupted": "was interrupted",
}


class Notice(BaseModel):
    """The end of one attempt at a run, with every secret removed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    name: str
    kind: str
    status: Status
    step: int
    total_steps: int
    loss: float | None
    code: str = ""
    message: str = ""
    hint: str = ""

    @property
    def title(self) -> str:
        """What happened, in a few words."""
        return f"{self.name} {_WORDS.get(self.status, self.status)}"

    @property
    def text(self) -> str:
        """How far the run came, or why it ended."""
        if self.code:
            return f"{self.code}: {self.message}"
        if self.kind == "export":
            return ""
        steps = f"step {units.count(self.step)} of {units.count(self.total_steps)}"
        return f"{steps}, loss {units.loss(self.loss)}" if self.total_steps else ""


class Post(BaseModel):
    """A notice in the outbox.

    Attributes:
        id: grows by one with each notice and never comes back.
        tries: how often it could not be delivered.
    """

    model_config = ConfigDict(frozen=True)

    id: int
    created_at: str
    notice: Notice
    tries: int


def record(connection: sqlite3.Connection, before: Status, state: RunState) -> None:
    """Add a notice when `state` is an end that `before` was not; explain a waiting one better if it was.

    Belongs into the transaction that saves `state`. Who takes a run out of the queue knows that it ended.
    """
    if state.status not in TERMINAL or before == "queued":
        return
    body = _notice_of(state).model_dump_json()
    if before == state.status:
        connection.execute(
            "UPDATE outbox SET body = ? WHERE outcome = 'waiting' AND "
            "id = (SELECT MAX(id) FROM outbox WHERE run_id = ?)",
            (body, state.run_id),
        )
        return
    at = state.ended_at or state.updated_at or state.created_at
    connection.execute(
        "INSERT INTO outbox (run_id, created_at, body) VALUES (?, ?, ?)", (state.run_id, at, body)
    )
    connection.execute(
        "DELETE FROM outbox WHERE outcome != 'waiting' AND id <= (SELECT MAX(id) FROM outbox) - ?", (_KEPT,)
    )


def waiting(connection: sqlite3.Connection) -> Sequence[Post]:
    """Return what nobody has delivered yet, oldest first."""
    return _posts(
        connection.execute(
            "SELECT id, created_at, body, tries FROM outbox WHERE outcome = 'waiting' ORDER BY id"
        )
    )


def newest(connection: sqlite3.Connection, limit: int) -> Sequence[Post]:
    """Return the newest notices, oldest first, delivered or not."""
    found = connection.execute(
        "SELECT id, created_at, body, tries FROM outbox ORDER BY id DESC LIMIT ?", (limit,)
    )
    return _posts(found)[::-1]


def settle(connection: sqlite3.Connection, post_id: int, outcome: Outcome) -> None:
    """Note what became of a notice; it is not tried again."""
    connection.execute("UPDATE outbox SET outcome = ? WHERE id = ?", (outcome, post_id))


def note_failure(connection: sqlite3.Connection, post_id: int) -> None:
    """Count a delivery that failed."""
    connection.execute("UPDATE outbox SET tries = tries + 1 WHERE id = ?", (post_id,))


def _posts(cursor: sqlite3.Cursor) -> Sequence[Post]:
    return [
        Post(id=number, created_at=at, notice=Notice.model_validate_json(body), tries=tries)
        for number, at, body, tries in cursor
    ]


def _notice_of(state: RunState) -> Notice:
    error = state.error
    values = {
        "run_id": state.run_id,
        "name": state.name,
        "kind": state.kind,
        "status": state.status,
        "step": state.step,
        "total_steps": state.total_steps,
        "loss": state.loss,
        "code": error["code"] if error else "",
        "message": error["message"] if error else "",
        "hint": error["hint"] if error else "",
    }
    return Notice.model_validate(redact_value(values))
