"""An attempt that goes on from a checkpoint is the attempt that was never broken off."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from backprop_core.config.specs import TrainSpec
from backprop_core.engine import callbacks, devices
from backprop_core.engine.keeping import config_sha256
from backprop_core.errors import BackpropagateError
from backprop_core.events.types import CheckpointSaved, RunInterrupted, RunResumed
from tests.support.attempts import FACTS, attempt, bodies, losses, metrics, new_run, types, write_rows

STEPS = 8


class PowerLoss(BaseException):
    """The attempt ends without a word, as in a kill."""


@pytest.fixture
def interrupted(train, own_home, monkeypatch):
    """Return a function that breaks a run off after some steps and returns its folder."""

    def run(after: int, **spec):
        folder = train.new(steps=STEPS, **spec)
        real = callbacks.StepReporter.on_step_end

        def dying(reporter, args, state, control, **rest):
            real(reporter, args, state, control, **rest)
            if state.global_step == after:
                raise PowerLoss

        with monkeypatch.context() as patch:
            patch.setattr(callbacks.StepReporter, "on_step_end", dying)
            with pytest.raises(PowerLoss):
                attempt(folder, own_home)
        return folder

    return run


def weights(folder):
    return load_file(folder.adapter / "adapter_model.safetensors")


def last_attempt(folder):
    """Return the journalled step of each number, later attempts replacing earlier ones."""
    return {step.step: step for step in metrics(folder)}


EXACT = {
    "lora_dropout": 0.1,
    "batch_size": 2,
    "gradient_accumulation": 2,
    "checkpoint_every": 1,
    "warmup_ratio": 0.3,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_model):
    """A run that nothing disturbs."""
    place = tmp_path_factory.mktemp("whole")
    rows = write_rows(place / "facts.jsonl")
    spec = {"lora_r": 4, "learning_rate": 1e-2, "max_seq_length": 128}
    folder = new_run(place, model=str(tiny_model), dataset=str(rows), steps=STEPS, **spec, **EXACT)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "cpu_has_bf16", lambda: False)
        attempt(folder, place / "home")
    return folder


@pytest.mark.parametrize("after", range(1, STEPS))
def test_a_run_broken_off_anywhere_ends_bit_for_bit_as_if_it_was_not(whole, interrupted, own_home, after):
    broken = interrupted(after, **EXACT)
    attempt(broken, own_home)
    assert [body.step for body in bodies(broken) if isinstance(body, RunResumed)] == [after]
    once, twice = last_attempt(whole), last_attempt(broken)
    for name in ("loss", "grad_norm", "learning_rate", "tokens", "supervised_tokens", "epoch"):
        assert [getattr(once[step], name) for step in once] == [getattr(twice[step], name) for step in once]
    expected, found = weights(whole), weights(broken)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_checkpoint_is_written_every_so_many_steps(train):
    folder = train(steps=7, checkpoint_every=2)
    assert [body.step for body in bodies(folder) if isinstance(body, CheckpointSaved)] == [2, 4, 6]


def test_only_the_newest_three_checkpoints_stay(train):
    folder = train(steps=7, checkpoint_every=1)
    kept = sorted(path.name for path in folder.checkpoints.iterdir())
    assert kept == ["step-000004", "step-000005", "step-000006"]


def test_a_damaged_checkpoint_is_passed_over_and_named(train, interrupted, own_home):
    folder = interrupted(4, checkpoint_every=2)
    damaged = folder.checkpoints / "step-000004" / "optimizer.safetensors"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    attempt(folder, own_home)
    resumed = next(body for body in bodies(folder) if isinstance(body, RunResumed))
    assert resumed.step == 2
    assert resumed.note == "The checkpoint step-000004 cannot be used: optimizer.safetensors is damaged."
    expected, found = weights(train(steps=STEPS, checkpoint_every=2)), weights(folder)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_without_a_checkpoint_the_run_begins_anew_and_says_so(interrupted, own_home):
    folder = interrupted(2, checkpoint_every=5)
    attempt(folder, own_home)
    resumed = next(body for body in bodies(folder) if isinstance(body, RunResumed))
    assert (resumed.step, resumed.path) == (0, "")
    assert types(folder)[-1] == "run.completed"


def test_other_data_is_refused(interrupted, own_home, rows):
    folder = interrupted(2, checkpoint_every=1)
    write_rows(rows, {**FACTS, "One more?": "One more."})
    with pytest.raises(BackpropagateError) as caught:
        attempt(folder, own_home)
    assert caught.value.code == "STATE_CHECKPOINT_INVALID"
    assert "data file changed" in caught.value.message


def test_a_field_that_a_later_version_adds_changes_no_older_run():
    class Later(TrainSpec):
        invented: int = 3

    stored = TrainSpec(model="m").model_dump()
    assert config_sha256(Later.model_validate(stored)) == config_sha256(TrainSpec.model_validate(stored))


def test_other_settings_are_refused(interrupted, own_home):
    folder = interrupted(2, checkpoint_every=1)
    value = json.loads(folder.spec_path.read_text())
    value["spec"]["lora_r"] = 8
    folder.spec_path.write_text(json.dumps(value))
    with pytest.raises(BackpropagateError, match="settings of the run changed"):
        attempt(folder, own_home)


def test_another_base_model_is_refused(interrupted, own_home, tmp_path, tiny_model):
    import shutil

    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    folder = interrupted(2, checkpoint_every=1, model=str(copy))
    config = copy / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    with pytest.raises(BackpropagateError, match="base model changed"):
        attempt(folder, own_home)


def test_a_stopped_run_goes_on_where_it_stopped(train, own_home):
    folder = train.new(steps=4)
    folder.request("pause", "now")

    import threading
    import time

    def stop():
        while "run.paused" not in types(folder):
            time.sleep(0.01)
        folder.request("stop", "now")

    watcher = threading.Thread(target=stop)
    watcher.start()
    attempt(folder, own_home)
    watcher.join()
    assert types(folder)[-1] == "run.stopped"
    folder.clear_request()
    attempt(folder, own_home)
    assert [step.step for step in metrics(folder)] == [1, 2, 3, 4]
    expected, found = weights(train(steps=4)), weights(folder)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_an_order_of_the_system_leaves_a_checkpoint_of_the_last_step(train, own_home, monkeypatch):
    folder = train.new(steps=6)
    real = callbacks.StepReporter.on_step_begin

    def ordered(reporter, args, state, control, **rest):
        real(reporter, args, state, control, **rest)
        if state.global_step == 2:
            reporter._context.control.ordered.set()

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepReporter, "on_step_begin", ordered)
        attempt(folder, own_home)
    last = bodies(folder)[-1]
    assert isinstance(last, RunInterrupted) and last.step == 3
    assert [body.step for body in bodies(folder) if isinstance(body, CheckpointSaved)][-1] == 3
    assert not folder.adapter.exists()
    attempt(folder, own_home)
    assert losses(folder) == losses(train(steps=6))


def test_a_full_disk_ends_the_run_with_its_code_and_keeps_the_older_checkpoint(train, own_home, monkeypatch):
    from backprop_core.engine import training_state

    folder = train.new(steps=6, checkpoint_every=2)
    real = training_state.save_optimizer

    def full(optimizer, target):
        if target.name.startswith("step-000004"):
            raise OSError(28, "No space left on device")
        return real(optimizer, target)

    with monkeypatch.context() as patch:
        patch.setattr(training_state, "save_optimizer", full)
        with pytest.raises(BackpropagateError) as caught:
            attempt(folder, own_home)
    assert caught.value.code == "RUNTIME_DISK_FULL"
    assert [path.name for path in folder.checkpoints.iterdir()] == ["step-000002"]
    attempt(folder, own_home)
    assert types(folder)[-1] == "run.completed"


def test_a_fourth_attempt_is_possible_when_each_moves_forward(interrupted, own_home):
    folder = interrupted(2, checkpoint_every=1)
    attempt(folder, own_home)
    assert sorted(last_attempt(folder)) == list(range(1, STEPS + 1))
