"""A run in the memory of the app: bounded, exact where it is short, quick to open where it is long."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from backprop_core.events import types as ev
from backprop_core.events.journal import JournalWriter
from backprop_core.jobs import follower
from backprop_core.jobs.follower import Follower, LiveRun
from backprop_core.runs.database import Row
from backprop_core.runs.store import RunFolder
from backprop_core.workspace import Workspace
from tests.support.fake_worker import metrics
from tests.support.stores import FakeWorkerLauncher, make_run


@pytest.fixture
def ws():
    launcher = FakeWorkerLauncher()
    launcher.runs_scheduler = False
    ws = Workspace.open(launcher)
    yield ws
    ws.close()


def journal_of(ws, steps: int) -> Row:
    """Write a finished run and return its row, read to the end of the journal."""
    state = make_run(ws, steps=steps)
    path = RunFolder(Path(state.folder)).journal_path
    with JournalWriter(path) as journal:
        journal.append(ev.RunStarted(attempt=1, pid=1))
        for step in range(1, steps + 1):
            journal.append(metrics(step, steps))
        journal.append(ev.RunCompleted(step=steps, artifact="", seconds=1.0))
    ended = state.model_copy(update={"status": "completed", "seq": steps + 2, "step": steps})
    ws.database.insert(ended)
    ws.database.advance(Row(ended, path.stat().st_size), was="completed")
    return ws.database.get(state.run_id)


def test_a_short_run_is_shown_step_by_step(ws):
    live = LiveRun(journal_of(ws, 50))
    live.load()
    update = live.update_since(0)
    assert [point.step for point in update.points] == list(range(1, 51))
    assert [event.body.type for event in update.events] == ["run.started", "run.completed"]


def test_a_long_run_is_held_in_bounded_memory_and_sent_thinned(ws, monkeypatch):
    monkeypatch.setattr(follower, "_KEPT_POINTS", 1000)
    live = LiveRun(journal_of(ws, 5000))
    live.load()
    points = live.update_since(0).points
    assert len(live._points) <= 1000
    assert (len(points) <= 1000, points[0].step, points[-1].step) == (True, 1, 5000)


def test_a_very_long_run_opens_with_a_sample_and_becomes_exact(ws, monkeypatch):
    row = journal_of(ws, 3000)
    monkeypatch.setattr(follower, "SAMPLED_BYTES", 100_000)

    async def look() -> tuple[int, int, bool]:
        following = Follower(ws)
        live = await following.get(row.state.run_id)
        first = len(live.update_since(0).points)
        known = live.state
        while live.is_sample:
            await asyncio.sleep(0.01)
        # Whoever has the sample is told to look again and gets everything.
        update = live.update_since(row.state.seq)
        return (
            first,
            len({point.step for _, point in live._points}),
            live.state is not known and update.is_snapshot,
        )

    first, exact, is_told = asyncio.run(look())
    assert (0 < first < 3000, exact, is_told) == (True, 3000, True)


def test_a_store_on_a_full_disk_does_not_end_the_following(ws, monkeypatch):
    calls = []

    def refuse(*_: object) -> None:
        calls.append(1)
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(follower, "_INDEX_EVERY_S", 0.01)
    monkeypatch.setattr(follower.queue, "refresh_active", refuse)

    async def follow() -> None:
        task = asyncio.create_task(Follower(ws).run())
        while len(calls) < 3:
            await asyncio.sleep(0.01)
            assert not task.done()
        task.cancel()

    asyncio.run(follow())
