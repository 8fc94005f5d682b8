"""A feed gives everything once, then only what is new, and keeps two runs apart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backprop_app.feed import RunFeed
from backprop_core.events import types as ev
from backprop_core.events.journal import JournalWriter
from backprop_core.jobs.follower import Follower
from backprop_core.runs.store import RunFolder
from backprop_core.workspace import Workspace
from tests.support.fake_worker import metrics
from tests.support.stores import FakeWorkerLauncher, make_run


@pytest.fixture
def ws():
    opened = Workspace.open(FakeWorkerLauncher())
    yield opened
    opened.close()


def new_run(ws: Workspace, steps: int) -> tuple[str, JournalWriter]:
    state = make_run(ws, steps=steps)
    ws.database.insert(state)
    return state.run_id, JournalWriter(RunFolder(Path(state.folder)).journal_path)


async def frames(
    follower: Follower, feed: RunFeed, journal: JournalWriter, steps: list[int]
) -> list[list[int]]:
    """Write one step after the other and return the steps that each frame carried."""
    seen = []
    for step in steps:
        journal.append(metrics(step, 100))
        live = await follower.get(feed.run_id)
        assert live is not None
        live.read_new()
        frame = await feed.next()
        assert frame is not None
        seen.append([int(row[1] or 0) for row in frame.chunk.rows])
    return seen


def test_each_step_comes_and_a_few_come_twice(ws) -> None:
    run_id, journal = new_run(ws, 10)
    follower = Follower(ws)
    carried = asyncio.run(frames(follower, RunFeed(follower, run_id), journal, [1, 2, 3, 4, 5, 6]))
    assert carried[0] == [1]
    assert carried[-1][-1] == 6
    assert len(carried[-1]) <= 4
    assert {step for chunk in carried for step in chunk} == {1, 2, 3, 4, 5, 6}


def test_nothing_new_is_no_frame(ws) -> None:
    run_id, journal = new_run(ws, 10)
    follower = Follower(ws)

    async def twice() -> tuple[object, object]:
        journal.append(metrics(1, 10))
        feed = RunFeed(follower, run_id)
        return await feed.next(), await feed.next()

    first, second = asyncio.run(twice())
    assert first is not None
    assert second is None


def test_a_run_that_does_not_exist_is_no_frame(ws) -> None:
    assert asyncio.run(RunFeed(Follower(ws), "no-such-run").next()) is None


def test_the_points_name_their_run(ws) -> None:
    run_id, journal = new_run(ws, 10)
    journal.append(metrics(1, 10))
    frame = asyncio.run(RunFeed(Follower(ws), run_id).next())
    assert frame is not None
    assert frame.chunk.stream == run_id


def test_the_log_leaves_metrics_out(ws) -> None:
    run_id, journal = new_run(ws, 10)
    journal.append(ev.CheckpointSaved(step=1, path="checkpoints/step-000001", size_bytes=10, seconds=0.1))
    journal.append(metrics(1, 10))
    frame = asyncio.run(RunFeed(Follower(ws), run_id).next())
    assert frame is not None
    assert [event.body.type for event in frame.events] == ["checkpoint.saved"]
