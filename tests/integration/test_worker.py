"""The worker as a process: its lock, its launch id, and what is left when it is ended."""

from __future__ import annotations

import os
import signal

import pytest

from backprop_core.platform import FileLock
from backprop_core.runs.store import RunFolder
from tests.support.attempts import bodies, metrics, new_run, start_worker, types, write_rows
from tests.support.models import write_tiny_llama
from tests.support.stores import wait_for


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def new(tmp_path, tiny_model):
    rows = write_rows(tmp_path / "facts.jsonl")

    def make(**spec) -> RunFolder:
        values = {"model": str(tiny_model), "dataset": str(rows), "lora_r": 4, "max_seq_length": 128}
        return new_run(tmp_path, **values | spec)

    return make


@pytest.fixture
def start(own_home):
    started = []

    def begin(folder, **options):
        process = start_worker(folder, own_home, **options)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_a_worker_trains_to_the_end_and_announces_itself_first(new, start):
    folder = new(steps=2)
    assert start(folder).wait(120) == 0
    assert types(folder)[-1] == "run.completed"
    first_line = folder.log_path.read_text().splitlines()[0]
    assert first_line == f"run_started run_id={folder.path.name}"


def test_the_attempt_names_its_process(new, start):
    folder = new(steps=1)
    process = start(folder)
    process.wait(120)
    begun = bodies(folder)[0]
    assert (begun.attempt, begun.pid) == (1, process.pid)
    assert begun.process_token


def test_an_order_of_the_system_ends_the_run_at_a_step_boundary(new, start):
    folder = new(steps=100_000)
    process = start(folder)
    wait_for(lambda: len(metrics(folder)) >= 2, "two steps", 120)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 130
    assert types(folder)[-1] == "run.interrupted"
    assert bodies(folder)[-1].step == metrics(folder)[-1].step


def test_an_order_of_the_system_before_training_ends_the_run_at_once(new, start):
    folder = new(steps=100_000)
    process = start(folder)
    wait_for(lambda: bool(bodies(folder)), "the first event", 120)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 130
    assert types(folder)[-1] == "run.interrupted"


def test_a_killed_worker_leaves_whole_lines_and_a_free_lock(new, start):
    folder = new(steps=100_000)
    process = start(folder)
    wait_for(lambda: len(metrics(folder)) >= 2, "two steps", 120)
    process.kill()
    process.wait()
    assert not folder.is_worked_on()
    steps = [step.step for step in metrics(folder)]
    assert steps == list(range(1, len(steps) + 1))


def test_a_second_start_on_a_running_folder_is_refused_and_changes_nothing(new, start):
    folder = new(steps=2)
    lock = FileLock(folder.lock_path)
    assert lock.acquire()
    before = {path.name for path in folder.path.iterdir()} | {folder.log_path.name}
    assert start(folder).wait(60) == 3
    lock.release()
    assert {path.name for path in folder.path.iterdir()} == before


def test_a_worker_takes_no_run_that_was_launched_for_another(new, start):
    folder = new(steps=2)
    assert start(folder, launch_id="someone-else").wait(60) == 3
    assert not folder.journal_path.exists()


def test_a_run_waits_for_the_device_and_can_be_stopped_meanwhile(new, start, own_home):
    own_home.mkdir(parents=True, exist_ok=True)
    slot = FileLock(own_home / "slot.lock")
    assert slot.acquire()
    folder = new(steps=2)
    process = start(folder)
    wait_for(lambda: any(getattr(body, "phase", "") == "waiting" for body in bodies(folder)), "the wait", 60)
    folder.request("stop", "now")
    assert process.wait(30) == 0
    slot.release()
    assert types(folder) == ["run.stopped"]


def test_a_killed_worker_is_continued_by_the_next_one(new, start):
    folder = new(steps=200, checkpoint_every=1)
    process = start(folder)
    wait_for(lambda: "checkpoint.saved" in types(folder), "a checkpoint", 120)
    process.kill()
    process.wait()
    reached = metrics(folder)[-1].step
    assert start(folder).wait(240) == 0
    resumed = next(body for body in bodies(folder) if body.type == "run.resumed")
    assert 1 <= resumed.step <= reached
    assert sorted({step.step for step in metrics(folder)}) == list(range(1, 201))
    assert types(folder)[-1] == "run.completed"
