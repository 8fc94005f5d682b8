"""What waits: order, reasons, memory, hand-over and what follows, with real worker processes."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from backprop_core import files
from backprop_core.errors import InputError, StateError
from backprop_core.jobs import promises
from backprop_core.jobs.room import MachineMemory
from backprop_core.jobs.scheduler import run_scheduler
from backprop_core.runs.store import RunFolder
from backprop_core.services import chaining, queueing, runs
from backprop_core.telemetry.gpu import GpuReader
from backprop_core.units import GIB
from backprop_core.workspace import Workspace
from tests.support.fake_nvml import FakeNvml
from tests.support.stores import make_run, submit_run, wait_for


@pytest.fixture
def launcher(ws):
    ws.launcher.runs_scheduler = False
    return ws.launcher


class Memory:
    """Free memory that a test sets."""

    def __init__(self, free: int | None) -> None:
        self.free = free

    def on_card(self) -> int | None:
        return self.free

    def on_host(self) -> int | None:
        return self.free


def names(items):
    return [item.state.name for item in items]


def planned(ws, peak, *, device="cpu", name="plain", seconds=None):
    """Return a run of which the plan knows the peak."""
    state = make_run(ws, name=name)
    path = RunFolder(Path(state.folder)).spec_path
    content = files.read_json(path)
    content["plan"] = {"peak_bytes": peak, "error_bytes": peak // 10, "time_s": seconds}
    content["spec"]["device"] = device
    files.write_json(path, content)
    return state


def promised(ws, name="plain"):
    """Return a run in the queue that an export is to follow."""
    state = make_run(ws, name=name)
    path = RunFolder(Path(state.folder)).spec_path
    content = files.read_json(path)
    content["spec"]["after"] = "export"
    files.write_json(path, content)
    ws.database.insert(state)
    promises.promise(ws, state.run_id)
    return state


@pytest.fixture
def waiting(ws, launcher):
    """Three runs in the queue of a store without a scheduler."""
    return [submit_run(ws, name=name) for name in ("one", "two", "three")]


def test_what_waits_is_listed_in_order_with_its_reason(ws, waiting):
    items = queueing.list_queue(ws)
    assert [(item.position, item.state.name, item.reason) for item in items] == [
        (1, "one", "starts now"),
        (2, "two", "after one"),
        (3, "three", "after two"),
    ]


@pytest.mark.parametrize(
    "to, order",
    [
        ("first", ["three", "one", "two"]),
        ("up", ["one", "three", "two"]),
        (2, ["one", "three", "two"]),
        (99, ["one", "two", "three"]),
        ("down", ["one", "two", "three"]),
    ],
)
def test_a_job_moves_in_the_queue(ws, waiting, to, order):
    assert names(queueing.move(ws, waiting[2], to)) == order


def test_the_new_order_is_what_starts_and_it_survives_a_restart(ws, waiting, launcher):
    queueing.move(ws, waiting[2], "first")
    queueing.move(ws, waiting[0], "last")
    again = Workspace.open(launcher)
    try:
        assert names(queueing.list_queue(again)) == ["three", "two", "one"]
    finally:
        again.close()
    run_scheduler(ws)
    assert launcher.launches == [waiting[2], waiting[1], waiting[0]]


@pytest.mark.parametrize("to", [0, -1, "sideways", True, 1.5])
def test_a_place_that_is_none_is_refused(ws, waiting, to):
    with pytest.raises(InputError, match="no place"):
        queueing.move(ws, waiting[0], to)


def test_a_cancelled_job_never_starts(ws, waiting, launcher):
    assert queueing.cancel(ws, waiting[1]).status == "stopped"
    run_scheduler(ws)
    assert launcher.launches == [waiting[0], waiting[2]]


def test_what_does_not_wait_is_neither_moved_nor_cancelled(ws, waiting):
    run_scheduler(ws)
    for act in (lambda: queueing.cancel(ws, waiting[0]), lambda: queueing.move(ws, waiting[0], "up")):
        with pytest.raises(StateError, match="does not wait") as raised:
            act()
        assert raised.value.code == "STATE_RUN_NOT_ACTIVE"


def test_the_start_of_a_later_job_is_forecast_from_those_before(ws, launcher):
    for name in ("one", "two"):
        ws.database.insert(planned(ws, GIB, name=name, seconds=600))
    first, second = queueing.list_queue(ws, Memory(None))
    later = datetime.fromisoformat(second.starts_at) - datetime.fromisoformat(first.starts_at)
    assert 599 <= later.total_seconds() <= 601


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_waits_until_memory_is_really_free_and_then_starts_within_two_seconds(ws, launcher, device):
    run = planned(ws, 10 * GIB, device=device)
    ws.database.insert(run)
    memory = Memory(8 * GIB)
    where = "on the card" if device == "cuda" else "of memory"
    assert (
        queueing.list_queue(ws, memory)[0].reason.replace("\u00a0", " ")
        == f"8.0 GiB {where} free, 9.0 GiB needed"
    )
    thread = threading.Thread(target=run_scheduler, args=(ws, memory))
    thread.start()
    time.sleep(1.0)
    assert launcher.launches == []
    memory.free, freed_at = 9 * GIB, time.monotonic()
    wait_for(lambda: launcher.launches == [run.run_id], "the launch")
    assert time.monotonic() - freed_at <= 2.0
    thread.join(20)


def test_memory_that_nobody_knows_holds_nothing_back(ws, launcher):
    run = planned(ws, 10**15)
    ws.database.insert(run)
    run_scheduler(ws, Memory(None))
    assert launcher.launches == [run.run_id]


def test_a_job_that_waits_for_memory_lets_no_later_one_go_first(ws, launcher):
    large, small = planned(ws, 10 * GIB), planned(ws, GIB)
    for run in (large, small):
        ws.database.insert(run)
    memory = Memory(2 * GIB)
    thread = threading.Thread(target=run_scheduler, args=(ws, memory))
    thread.start()
    time.sleep(0.6)
    assert launcher.launches == []
    memory.free = 20 * GIB
    thread.join(20)
    assert launcher.launches == [large.run_id, small.run_id]


def test_an_export_is_promised_until_its_run_has_an_adapter(ws, launcher, monkeypatch):
    asked = []
    monkeypatch.setattr(
        chaining.exports, "start", lambda ws, request, **_: asked.append(request.source) or "job-1"
    )
    run = promised(ws)
    assert chaining.chained(run).text == "export follows when the run has an adapter"
    run_scheduler(ws, Memory(None), chaining.submit_due)
    run_scheduler(ws, Memory(None), chaining.submit_due)
    assert asked == [run.run_id]
    assert chaining.chained(runs.get_run(ws, run.run_id)).job_id == "job-1"


def test_a_failed_run_leaves_its_export_and_says_why(ws, launcher, monkeypatch):
    monkeypatch.setattr(chaining.exports, "start", lambda *_, **__: pytest.fail("a failed run was exported"))
    run = promised(ws, name="dies-at-once")
    run_scheduler(ws, Memory(None), chaining.submit_due)
    left = chaining.chained(runs.get_run(ws, run.run_id))
    assert left.text.startswith("not exported: the run ended with RUNTIME_TRAINING_FAILED")


def test_an_export_that_is_refused_says_why_and_is_not_tried_again(ws, launcher):
    run = promised(ws)
    run_scheduler(ws, Memory(None), chaining.submit_due)
    left = chaining.chained(runs.get_run(ws, run.run_id))
    assert left.is_refused and left.text.startswith("not exported: ")
    assert promises.due(ws) == []


def test_free_memory_of_the_card_comes_from_the_driver():
    assert MachineMemory(GpuReader(FakeNvml())).on_card() == 15 * GIB


def test_the_command_lists_moves_and_cancels(ws, waiting, backprop):
    moved = json.loads(backprop("queue", "move", waiting[2], "first", "--json")[1])
    assert [item["name"] for item in moved["queue"]] == ["three", "one", "two"]
    backprop("queue", "cancel", waiting[2])
    listed = json.loads(backprop("queue", "list", "--json")[1])
    assert [item["position"] for item in listed["queue"]] == [1, 2]
    assert backprop("queue", "move", waiting[0], "sideways")[0] == 1
