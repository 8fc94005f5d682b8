"""Queue, scheduler and adoption with real worker processes that hold real locks."""

from __future__ import annotations

import errno
import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from backprop_core.errors import InputError, StateError
from backprop_core.events.journal import JournalReader
from backprop_core.events.types import Metrics
from backprop_core.files import read_json
from backprop_core.jobs import queue, scheduler
from backprop_core.jobs.scheduler import run_scheduler
from backprop_core.platform import FileLock, lock_is_free
from backprop_core.runs.store import RunFolder
from backprop_core.services import runs
from backprop_core.workspace import Workspace
from tests.support.stores import FakeWorkerLauncher, make_run, submit_run, wait_for


@pytest.fixture
def launcher():
    launcher = FakeWorkerLauncher()
    yield launcher
    launcher.close()


@pytest.fixture
def ws(launcher):
    ws = Workspace.open(launcher)
    launcher.workspace = ws
    yield ws
    launcher.close()
    ws.close()


def status(ws: Workspace, run_id: str) -> str:
    return runs.get_run(ws, run_id).status


def test_a_submitted_run_is_worked_to_the_end(ws):
    run_id = submit_run(ws, steps=5)
    wait_for(lambda: status(ws, run_id) == "completed", "the run")
    state = runs.get_run(ws, run_id)
    assert (state.step, state.loss, state.tokens) == (5, 0.4, 500)


def test_jobs_run_one_after_another_in_the_order_of_submission(ws, launcher):
    ids = [submit_run(ws, steps=5) for _ in range(3)]
    wait_for(lambda: all(status(ws, run_id) == "completed" for run_id in ids), "three runs")
    assert launcher.launches == ids
    ends = [runs.get_run(ws, run_id).ended_at for run_id in ids]
    starts = [runs.get_run(ws, run_id).started_at for run_id in ids]
    assert ends[0] <= starts[1] and ends[1] <= starts[2]


def test_the_same_start_key_is_one_run(ws, launcher):
    first, second = make_run(ws), make_run(ws)
    assert queue.submit(ws, first, start_key="click-1") == first.run_id
    assert queue.submit(ws, second, start_key="click-1") == first.run_id
    wait_for(lambda: status(ws, first.run_id) == "completed", "the run")
    assert launcher.launches == [first.run_id]


def test_a_stop_ends_the_run_at_a_step_boundary(ws):
    run_id = submit_run(ws, name="slow", steps=1000)
    wait_for(lambda: runs.get_run(ws, run_id).step >= 2, "two steps")
    runs.stop(ws, run_id)
    wait_for(lambda: status(ws, run_id) == "stopped", "the stop")


def test_a_queued_run_that_is_stopped_never_starts(ws, launcher):
    first = submit_run(ws, name="slow", steps=1000)
    second = submit_run(ws)
    assert runs.stop(ws, second).status == "stopped"
    runs.stop(ws, first)
    wait_for(lambda: status(ws, first) == "stopped", "the first run")
    assert launcher.launches == [first]


def test_a_worker_that_ignores_a_stop_is_killed_at_the_deadline(ws, launcher, monkeypatch):
    monkeypatch.setattr(queue, "STOP_DEADLINE_S", 0.3)
    monkeypatch.setattr(queue, "KILL_DEADLINE_S", 0.3)
    run_id = submit_run(ws, name="ignores-stop", steps=1000)
    wait_for(lambda: runs.get_run(ws, run_id).step >= 1, "a step")
    runs.stop(ws, run_id)
    wait_for(lambda: status(ws, run_id) == "interrupted", "the kill")
    [process] = launcher.started.values()
    assert process.wait(5) == -signal.SIGKILL


def test_a_killed_worker_leaves_an_interrupted_run_with_a_code(ws):
    run_id = submit_run(ws, name="dies-in-the-middle", steps=10)
    wait_for(lambda: status(ws, run_id) == "interrupted", "the death")
    wait_for(lambda: "killed" in runs.get_run(ws, run_id).error["message"], "the explanation")
    state = runs.get_run(ws, run_id)
    assert (state.step, state.error["code"]) == (3, "RUNTIME_TRAINING_ABORTED")


def test_a_worker_that_dies_before_its_first_word_says_why(ws):
    run_id = submit_run(ws, name="dies-at-once")
    wait_for(lambda: status(ws, run_id) == "interrupted", "the death")
    wait_for(lambda: "a library is missing" in runs.get_run(ws, run_id).error["message"], "the explanation")


def test_the_queue_goes_on_after_a_worker_died(ws):
    submit_run(ws, name="dies-in-the-middle")
    second = submit_run(ws)
    wait_for(lambda: status(ws, second) == "completed", "the second run")


def test_a_new_scheduler_adopts_a_live_worker_and_works_on(ws, launcher):
    """As after the death of the scheduler: the worker lives on, and nothing runs twice."""
    launcher.runs_scheduler = False
    first = submit_run(ws, name="slow", steps=30)
    second = submit_run(ws)
    ws.database.move(first, ("queued",), "starting")
    folder = RunFolder(ws.settings.sandbox_root / "runs" / first)
    launcher.spawn_worker(folder.path, folder.info().launch_id, ws.home)
    wait_for(folder.is_worked_on, "the worker")
    run_scheduler(ws)
    assert (status(ws, first), status(ws, second)) == ("completed", "completed")
    assert launcher.launches == [first, second]


def test_two_schedulers_never_work_at_once(ws, launcher):
    launcher.runs_scheduler = False
    submit_run(ws)
    lock = FileLock(ws.scheduler_lock)
    assert lock.acquire()
    run_scheduler(ws)
    lock.release()
    assert launcher.launches == []


def test_nothing_is_launched_while_somebody_else_holds_the_card(ws, launcher):
    slot = FileLock(ws.slot_lock)
    assert slot.acquire()
    run_id = submit_run(ws)
    wait_for(lambda: not lock_is_free(ws.scheduler_lock), "the scheduler")
    assert status(ws, run_id) == "queued"
    slot.release()
    wait_for(lambda: status(ws, run_id) == "completed", "the run")


def test_a_wrong_launch_id_takes_no_run(ws, launcher):
    launcher.runs_scheduler = False
    state = make_run(ws)
    pid = launcher.spawn_worker(RunFolder(ws.sandbox.path("runs", state.run_id)).path, "another", ws.home)
    assert launcher.started[pid].wait(10) == 3


def test_a_pid_that_was_given_to_another_process_is_never_signalled(ws):
    state = make_run(ws).model_copy(update={"pid": os.getpid(), "process_token": "1@another-boot"})
    assert queue.signal_worker(state, force=True) is False


def test_a_run_inside_a_python_program_is_never_signalled(ws):
    state = make_run(ws, is_detached=False)
    ws.database.insert(state.model_copy(update={"status": "running", "pid": os.getpid()}))
    lock = FileLock(RunFolder(ws.sandbox.path("runs", state.run_id)).lock_path)
    lock.acquire()
    with pytest.raises(StateError) as caught:
        runs.kill(ws, state.run_id)
    assert caught.value.code == "STATE_RUN_NOT_ACTIVE"
    lock.release()


def test_stopping_an_ended_run_is_refused_with_a_code(ws):
    run_id = submit_run(ws)
    wait_for(lambda: status(ws, run_id) == "completed", "the run")
    with pytest.raises(StateError) as caught:
        runs.stop(ws, run_id)
    assert caught.value.code == "STATE_RUN_NOT_ACTIVE"


def test_a_lost_index_is_rebuilt_from_the_folders(ws, launcher):
    done = submit_run(ws, steps=4)
    wait_for(lambda: status(ws, done) == "completed", "the run")
    launcher.close()
    before = runs.get_run(ws, done)
    ws.close()
    for path in ws.home.glob("store.db*"):
        path.unlink()
    again = Workspace.open(FakeWorkerLauncher())
    assert runs.get_run(again, done) == before
    again.close()


def test_a_damaged_index_is_set_aside_and_rebuilt(ws, launcher):
    done = submit_run(ws, steps=4)
    wait_for(lambda: status(ws, done) == "completed", "the run")
    launcher.close()
    ws.close()
    (ws.home / "store.db").write_bytes(b"no database" * 1000)
    for name in ("store.db-wal", "store.db-shm"):
        (ws.home / name).unlink(missing_ok=True)
    again = Workspace.open(FakeWorkerLauncher())
    assert runs.get_run(again, done[:8]).status == "completed"
    assert list(ws.home.glob("store.db.damaged-*"))
    again.close()


def test_a_deleted_run_goes_to_the_trash_of_the_app(ws):
    run_id = submit_run(ws)
    wait_for(lambda: status(ws, run_id) == "completed", "the run")
    ws.sandbox.prepare()
    wait_for(lambda: not RunFolder(ws.sandbox.path("runs", run_id)).is_worked_on(), "the worker's end")
    runs.delete(ws, run_id)
    assert not ws.sandbox.path("runs", run_id).exists()
    assert len(list((ws.sandbox.root / "trash").iterdir())) == 1
    with pytest.raises(InputError):
        runs.get_run(ws, run_id)


def test_the_history_file_lists_the_ended_run(ws, launcher, tmp_path):
    state = make_run(ws, steps=3)
    folder = RunFolder(ws.sandbox.path("runs", state.run_id))
    info = folder.info().model_copy(update={"history_dir": str(tmp_path), "dataset_hash": "abc"})
    folder.info_path.write_text(info.model_dump_json())
    queue.submit(ws, state)
    wait_for(lambda: status(ws, state.run_id) == "completed", "the run")
    wait_for((tmp_path / "run_history.json").exists, "the history")
    [entry] = read_json(tmp_path / "run_history.json")
    assert (entry["run_id"], entry["status"], entry["dataset_hash"]) == (state.run_id, "completed", "abc")
    assert entry["loss_history"] == [[1, 2.0], [2, 1.0], [3, 2.0 / 3]]


def test_following_a_run_gives_every_step_once(ws):
    run_id = submit_run(ws, name="slow", steps=20)
    steps = [
        event.body.step
        for _, events in runs.follow(ws, run_id)
        for event in events
        if isinstance(event.body, Metrics)
    ]
    assert steps == list(range(1, 21))


def test_the_journal_of_a_killed_worker_reads_without_a_gap(ws):
    run_id = submit_run(ws, name="dies-in-the-middle")
    wait_for(lambda: status(ws, run_id) == "interrupted", "the death")
    reader = JournalReader(RunFolder(ws.sandbox.path("runs", run_id)).journal_path)
    assert [event.seq for event in reader.read_all()] == [1, 2, 3, 4]


def test_a_paused_run_waits_at_a_step_and_goes_on_when_asked(ws):
    run_id = submit_run(ws, name="slow", steps=40)
    wait_for(lambda: runs.get_run(ws, run_id).step >= 2, "two steps")
    runs.pause(ws, run_id)
    wait_for(lambda: status(ws, run_id) == "paused", "the pause")
    step = runs.get_run(ws, run_id).step
    assert runs.get_run(ws, run_id).step == step
    runs.unpause(ws, run_id)
    wait_for(lambda: status(ws, run_id) == "completed", "the end")
    assert runs.get_run(ws, run_id).step == 40


def test_a_paused_run_can_be_stopped(ws):
    run_id = submit_run(ws, name="slow", steps=1000)
    wait_for(lambda: runs.get_run(ws, run_id).step >= 1, "a step")
    runs.pause(ws, run_id)
    wait_for(lambda: status(ws, run_id) == "paused", "the pause")
    runs.stop(ws, run_id)
    wait_for(lambda: status(ws, run_id) == "stopped", "the stop")


def test_a_stopped_run_resumes_as_its_next_attempt_without_a_doubled_step(ws):
    run_id = submit_run(ws, name="slow", steps=30)
    wait_for(lambda: runs.get_run(ws, run_id).step >= 2, "two steps")
    runs.stop(ws, run_id)
    wait_for(lambda: status(ws, run_id) == "stopped", "the stop")
    folder = RunFolder(ws.sandbox.path("runs", run_id))
    wait_for(lambda: not folder.is_worked_on(), "the worker's end")
    runs.resume(ws, run_id)
    wait_for(lambda: status(ws, run_id) == "completed", "the end")
    assert runs.get_run(ws, run_id).attempt == 2
    assert [point.step for point in runs.series(ws, run_id)] == list(range(1, 31))


def test_a_completed_run_is_not_resumed(ws):
    run_id = submit_run(ws)
    wait_for(lambda: status(ws, run_id) == "completed", "the run")
    with pytest.raises(StateError) as caught:
        runs.resume(ws, run_id)
    assert caught.value.code == "STATE_RUN_NOT_ACTIVE"


def test_a_running_run_is_not_resumed(ws):
    run_id = submit_run(ws, name="slow", steps=1000)
    wait_for(lambda: runs.get_run(ws, run_id).step >= 1, "a step")
    with pytest.raises(StateError) as caught:
        runs.resume(ws, run_id)
    assert caught.value.code == "STATE_RUN_LOCKED"


def test_a_run_whose_data_changed_is_not_resumed(ws, tmp_path):
    (tmp_path / "rows.jsonl").write_text("now")
    state = make_run(ws)
    folder = RunFolder(ws.sandbox.path("runs", state.run_id))
    folder.info_path.write_text(
        folder.info().model_copy(update={"dataset_hash": "of-before"}).model_dump_json()
    )
    ws.database.insert(
        state.model_copy(update={"status": "interrupted", "dataset": str(tmp_path / "rows.jsonl")})
    )
    with pytest.raises(StateError) as caught:
        runs.resume(ws, state.run_id)
    assert (caught.value.code, status(ws, state.run_id)) == ("STATE_CHECKPOINT_INVALID", "interrupted")


def test_a_resumed_run_of_a_python_program_becomes_one_of_ours(ws):
    state = make_run(ws, is_detached=False)
    ws.database.insert(state.model_copy(update={"status": "interrupted"}))
    runs.resume(ws, state.run_id)
    wait_for(lambda: status(ws, state.run_id) == "completed", "the run")
    assert RunFolder(ws.sandbox.path("runs", state.run_id)).info().is_detached


def test_a_run_whose_scheduler_died_before_it_started_the_worker_does_not_stay_starting(
    ws, launcher, monkeypatch
):
    monkeypatch.setattr(scheduler, "_ADOPTED_START_S", 0.1)
    launcher.runs_scheduler = False
    lost = submit_run(ws)
    ws.database.move(lost, ("queued",), "starting")
    next_one = submit_run(ws)
    run_scheduler(ws)
    assert (status(ws, lost), status(ws, next_one)) == ("interrupted", "completed")


def test_a_worker_that_dies_at_each_start_is_launched_once_per_wish_and_never_by_itself(ws, launcher):
    run_id = submit_run(ws, name="dies-at-once")
    for attempt in range(1, 11):
        wait_for(lambda: status(ws, run_id) == "interrupted", "the death")
        wait_for(lambda: lock_is_free(ws.scheduler_lock), "the scheduler's end")
        assert len(launcher.launches) == attempt
        if attempt < 10:
            runs.resume(ws, run_id)


@pytest.mark.parametrize("days", [-1, 365])
def test_a_clock_that_jumps_after_a_stop_changes_no_deadline(ws, monkeypatch, days):
    monkeypatch.setattr(queue, "STOP_DEADLINE_S", 0.4)
    monkeypatch.setattr(queue, "KILL_DEADLINE_S", 0.1)
    run_id = submit_run(ws, name="ignores-stop", steps=1000)
    wait_for(lambda: runs.get_run(ws, run_id).step >= 1, "a step")
    asked = datetime.now(UTC) - timedelta(days=days)
    RunFolder(ws.sandbox.path("runs", run_id)).request("stop", asked.isoformat())
    begin = time.monotonic()
    wait_for(lambda: status(ws, run_id) == "interrupted", "the kill")
    assert 0.4 <= time.monotonic() - begin < 5


def test_a_listing_starts_the_scheduler_that_was_killed_in_mid_queue(ws, launcher):
    launcher.runs_scheduler = False
    run_id = submit_run(ws)
    launcher.runs_scheduler = True
    runs.list_runs(ws)
    wait_for(lambda: status(ws, run_id) == "completed", "the run")


def test_a_store_whose_folder_refuses_locks_is_refused_with_what_to_do(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(StateError) as caught:
        Workspace.open(FakeWorkerLauncher())
    assert caught.value.code == "STATE_STORE_INVALID"
    assert caught.value.hint


def test_many_looks_at_a_waiting_run_start_one_scheduler_a_second(ws, launcher, monkeypatch):
    launcher.runs_scheduler = False
    submit_run(ws)
    spawned: list[object] = []
    monkeypatch.setattr(launcher, "spawn_scheduler", spawned.append)
    for _ in range(20):
        runs.list_runs(ws)
    assert len(spawned) <= 1
    monkeypatch.setattr(queue, "_WAKE_EVERY_S", 0.0)
    runs.list_runs(ws)
    assert spawned
