from __future__ import annotations

import logging
import os
import signal
import threading
from datetime import UTC, datetime

import pytest

from backprop_core.errors import RunError
from backprop_core.events import types as ev
from backprop_core.events.journal import JournalReader
from backprop_core.ports import SystemClock
from backpropagate.callback import TrainingCallback
from backpropagate.inprocess import Hooks, ObservedJournal, graceful_interrupt


class Recorder(TrainingCallback):
    def __init__(self, stop_at=None):
        self.calls = []
        self.stop_at = stop_at
        self.step = 0

    def on_step(self, step, metrics):
        self.step = step
        self.calls.append(("step", step, metrics["loss"]))

    def on_epoch(self, epoch):
        self.calls.append(("epoch", epoch))

    def on_checkpoint(self, step, path):
        self.calls.append(("checkpoint", step, path))

    def on_error(self, error):
        self.calls.append(("error", error.code))

    def should_stop(self):
        return self.step == self.stop_at


class Broken(TrainingCallback):
    def on_step(self, step, metrics):
        raise ValueError("the user's own mistake")

    def should_stop(self):
        raise ValueError("and another")


def stepped(step, epoch, loss=1.0):
    body = ev.Metrics(
        step=step,
        total_steps=4,
        epoch=epoch,
        loss=loss,
        learning_rate=1e-4,
        grad_norm=1.0,
        tokens=10,
        supervised_tokens=5,
        tokens_per_s=100.0,
        step_s=0.1,
        memory_bytes=1,
    )
    return ev.Event(step, datetime.now(UTC), 0.0, body)


def hooks_of(callback, stops):
    return Hooks(callback, "11111111-run", lambda: stops.append(1))


def test_each_step_is_told_with_its_metrics():
    recorder = Recorder()
    hooks_of(recorder, []).tell(stepped(1, 0.5, loss=2.5))
    assert recorder.calls == [("step", 1, 2.5)]


def test_an_epoch_is_told_once_when_it_is_complete():
    recorder = Recorder()
    hooks = hooks_of(recorder, [])
    for step, epoch in enumerate((0.6, 1.2, 1.8, 2.0), start=1):
        hooks.tell(stepped(step, epoch))
    assert [call for call in recorder.calls if call[0] == "epoch"] == [("epoch", 1), ("epoch", 2)]


def test_epochs_of_earlier_attempts_are_not_told_again():
    recorder = Recorder()
    Hooks(recorder, "11111111-run", lambda: None, epochs_told=1).tell(stepped(5, 2.0))
    assert [call for call in recorder.calls if call[0] == "epoch"] == [("epoch", 2)]


def test_a_checkpoint_is_told_with_its_path():
    recorder = Recorder()
    body = ev.CheckpointSaved(step=3, path="checkpoints/step-000003", size_bytes=1, seconds=0.1)
    hooks_of(recorder, []).tell(ev.Event(1, datetime.now(UTC), 0.0, body))
    assert recorder.calls == [("checkpoint", 3, "checkpoints/step-000003")]


def test_should_stop_asks_for_a_stop_at_its_step_only():
    stops = []
    hooks = hooks_of(Recorder(stop_at=2), stops)
    hooks.tell(stepped(1, 0.1))
    assert stops == []
    hooks.tell(stepped(2, 0.2))
    assert stops == [1]


def test_a_hook_that_raises_is_logged_with_the_run_and_goes_no_further(caplog):
    stops = []
    with caplog.at_level(logging.ERROR):
        hooks_of(Broken(), stops).tell(stepped(1, 0.1))
    assert [record.getMessage() for record in caplog.records] == [
        "run 11111111-run: the hook on_step raised an exception",
        "run 11111111-run: the hook should_stop raised an exception",
    ]
    assert stops == []


def test_an_error_is_told():
    recorder = Recorder()
    hooks_of(recorder, []).fail(RunError("RUNTIME_GPU_OOM", "Memory ran out."))
    assert recorder.calls == [("error", "RUNTIME_GPU_OOM")]


def test_an_event_is_in_the_journal_before_anybody_is_told(tmp_path):
    path = tmp_path / "events.jsonl"
    seen = []

    def tell(event):
        seen.append((event.seq, len(list(JournalReader(path).read_all()))))

    with ObservedJournal(path, SystemClock(), tell) as journal:
        journal.append(ev.Notice(message="one"))
        journal.append(ev.Notice(message="two"))
    assert seen == [(1, 1), (2, 2)]


def test_the_first_ctrl_c_asks_for_a_stop_and_the_second_raises():
    stops = []
    with pytest.raises(KeyboardInterrupt), graceful_interrupt(lambda: stops.append(1)):
        os.kill(os.getpid(), signal.SIGINT)
        assert stops == [1]
        os.kill(os.getpid(), signal.SIGINT)
    assert stops == [1]


def test_ctrl_c_means_what_it_meant_before_once_the_block_is_over():
    before = signal.getsignal(signal.SIGINT)
    with graceful_interrupt(lambda: None):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_than_the_main_one_runs_the_block_as_it_is():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with graceful_interrupt(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
