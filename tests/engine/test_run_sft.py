"""The recipe on a tiny random model: what it learns, what it journals, what it leaves behind."""

from __future__ import annotations

import json
import threading
import time

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer import base_trainer

from backprop_core.engine import devices
from backprop_core.engine import run_sft as recipe
from backprop_core.engine.trainer import RunTrainer
from backprop_core.errors import BackpropagateError
from backprop_core.events.types import RunCompleted, RunFailed, RunStopped, TrainingPlanned
from tests.support.attempts import attempt, bodies, losses, metrics, types

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def weights(folder):
    return load_file(folder.adapter / "adapter_model.safetensors")


def first(folder, kind):
    return next(body for body in bodies(folder) if isinstance(body, kind))


def test_the_loss_falls(train):
    seen = losses(train(steps=12))
    assert len(seen) == 12
    assert seen[-1] < seen[0] - 0.3


def test_a_run_tells_its_life_in_order(train):
    folder = train(steps=2)
    assert types(folder) == ["run.started", "training.planned", "run.completed"]
    assert first(folder, RunCompleted).artifact == "adapter"
    assert first(folder, RunCompleted).step == 2


def test_the_plan_names_what_was_derived(train):
    plan = first(train(steps=3, batch_size=2, gradient_accumulation=3, lora_r=8), TrainingPlanned)
    assert (plan.total_steps, plan.micro_batch, plan.accumulation) == (3, 2, 3)
    assert (plan.rows, plan.epochs, plan.lora_r, plan.lora_alpha) == (6, 3.0, 8, 16.0)


def test_tokens_are_counted_over_the_run(train):
    folder = train(steps=3, batch_size=3, gradient_accumulation=2)
    plan, steps = first(folder, TrainingPlanned), metrics(folder)
    assert [step.tokens for step in steps] == [plan.tokens, 2 * plan.tokens, 3 * plan.tokens]
    assert steps[-1].supervised_tokens == 3 * plan.supervised_tokens


def test_every_step_has_a_learning_rate(train):
    rates = [step.learning_rate for step in metrics(train(steps=10, warmup_ratio=0.2, learning_rate=1e-2))]
    assert rates[0] == pytest.approx(1e-2 / 3)
    assert max(rates) == pytest.approx(1e-2)
    assert rates[-1] > 0


def test_the_same_seed_gives_the_same_adapter(train):
    first_run, second_run = weights(train(lora_dropout=0.1)), weights(train(lora_dropout=0.1))
    assert all(torch.equal(first_run[name], second_run[name]) for name in first_run)


def test_another_seed_gives_another_adapter(train):
    first_run, second_run = weights(train(seed=1)), weights(train(seed=2))
    assert any(not torch.equal(first_run[name], second_run[name]) for name in first_run)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("batch_size, accumulation", [(1, 6), (2, 3), (6, 1)])
def test_the_gradient_does_not_depend_on_how_a_step_is_cut(train, batch_size, accumulation, packing):
    whole = metrics(train(steps=1, batch_size=6, gradient_accumulation=1, packing=False))[0]
    spec = {"batch_size": batch_size, "gradient_accumulation": accumulation, "packing": packing}
    cut = metrics(train(steps=1, **spec))[0]
    assert cut.loss == pytest.approx(whole.loss, abs=1e-5)
    assert cut.grad_norm == pytest.approx(whole.grad_norm, rel=1e-5)


def test_a_batch_larger_than_the_data_trains(train):
    folder = train(steps=2, batch_size=16)
    assert [step.epoch for step in metrics(folder)] == [
        pytest.approx(16 / 6, abs=1e-3),
        pytest.approx(32 / 6, abs=1e-3),
    ]


def test_the_adapter_loads_in_plain_peft(train, tiny_model):
    folder = train()
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, folder.adapter)
    ids = AutoTokenizer.from_pretrained(folder.adapter)("hello", return_tensors="pt").input_ids
    with torch.no_grad():
        changed = tuned(ids).logits
        with tuned.disable_adapter():
            plain = tuned(ids).logits
    assert not torch.allclose(changed, plain)


def test_the_adapter_folder_carries_the_run_id_and_no_foreign_readme(train):
    folder = train()
    assert (folder.adapter / "run_id").read_text() == folder.path.name + "\n"
    assert not (folder.adapter / "README.md").exists()
    config = json.loads((folder.adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == folder.spec().model
    assert (folder.adapter / "chat_template.jinja").is_file()


def test_no_half_result_is_left(train):
    folder = train()
    assert not list(folder.path.glob("*.partial"))


def test_the_adapter_is_published(train, tmp_path, own_home):
    target = tmp_path / "output" / "lora"
    for _ in range(2):
        folder = train.new(publish_to=target)
        attempt(folder, own_home)
    assert (target / "run_id").read_text().strip() == folder.path.name
    assert [path.name for path in target.parent.iterdir()] == ["lora"]


def test_a_folder_of_others_is_never_replaced(train, tmp_path, own_home):
    target = tmp_path / "lora"
    target.mkdir()
    (target / "thesis.txt").write_text("mine")
    folder = train.new(publish_to=target)
    with pytest.raises(BackpropagateError) as caught:
        attempt(folder, own_home)
    assert caught.value.code == "INPUT_OUTPUT_DIR_NOT_OURS"
    assert [path.name for path in target.iterdir()] == ["thesis.txt"]
    assert (folder.adapter / "adapter_model.safetensors").is_file()


def test_a_stop_ends_the_run_at_a_step_boundary_and_keeps_the_adapter(train, own_home):
    folder = train.new(steps=500)

    def stop_after_two_steps():
        while len(metrics(folder)) < 2:
            time.sleep(0.01)
        folder.request("stop", "now")

    watcher = threading.Thread(target=stop_after_two_steps)
    watcher.start()
    attempt(folder, own_home)
    watcher.join()
    stopped = first(folder, RunStopped)
    assert 2 <= stopped.step < 500
    assert stopped.step == metrics(folder)[-1].step
    assert (folder.path / stopped.artifact / "adapter_model.safetensors").is_file()


def test_a_stop_before_the_first_step_ends_the_run_without_an_adapter(train, own_home):
    folder = train.new()
    folder.request("stop", "now")
    attempt(folder, own_home)
    assert types(folder) == ["run.started", "run.stopped"]
    assert first(folder, RunStopped).artifact == ""


def test_a_pause_holds_the_step_until_the_run_continues(train, own_home):
    folder = train.new(steps=3)
    folder.request("pause", "now")

    def go_on():
        while "run.paused" not in types(folder):
            time.sleep(0.01)
        assert len(metrics(folder)) == 1
        folder.request("continue", "now")

    watcher = threading.Thread(target=go_on)
    watcher.start()
    attempt(folder, own_home)
    watcher.join()
    told = types(folder)
    assert told == ["run.started", "training.planned", "run.paused", "run.continued", "run.completed"]
    assert len(metrics(folder)) == 3


def test_three_steps_without_a_finite_loss_end_the_run(train, own_home, monkeypatch):
    real = RunTrainer.rows_loss

    def poisoned(trainer, rows):
        loss = real(trainer, rows)
        return loss * float("nan") if trainer.state.global_step >= 2 else loss

    monkeypatch.setattr(RunTrainer, "rows_loss", poisoned)
    folder = train.new(steps=20)
    with pytest.raises(BackpropagateError) as caught:
        attempt(folder, own_home)
    assert caught.value.code == "RUNTIME_LOSS_NOT_FINITE"
    assert first(folder, RunFailed).error["code"] == "RUNTIME_LOSS_NOT_FINITE"
    assert losses(folder)[2:] == [None, None, None]


def test_a_step_without_a_finite_loss_leaves_the_weights_as_they_are(train, own_home, monkeypatch):
    real = RunTrainer.rows_loss

    def poisoned(trainer, rows):
        loss = real(trainer, rows)
        return loss * float("inf") if trainer.state.global_step == 1 else loss

    monkeypatch.setattr(RunTrainer, "rows_loss", poisoned)
    folder = train.new(steps=3)
    attempt(folder, own_home)
    assert losses(folder)[1] is None
    assert all(tensor.isfinite().all() for tensor in weights(folder).values())


def test_an_unknown_layer_name_is_refused_by_name(train):
    with pytest.raises(BackpropagateError) as caught:
        train(target_modules="q_projj")
    assert caught.value.code == "INPUT_VALIDATION_FAILED"
    assert "q_projj" in caught.value.message


def test_data_without_an_answer_is_refused(train, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "hello"}]}\n')
    with pytest.raises(BackpropagateError) as caught:
        train(dataset=str(path))
    assert caught.value.code == "INPUT_DATASET_INVALID"


def test_an_error_of_a_library_becomes_a_code_in_the_journal(train, own_home, monkeypatch):
    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recipe, "save_result", broken)
    folder = train.new(steps=1)
    with pytest.raises(BackpropagateError):
        attempt(folder, own_home)
    failed = first(folder, RunFailed)
    assert (failed.error["code"], failed.step) == ("RUNTIME_DISK_FULL", 1)


def test_two_attempts_are_numbered(train, own_home):
    folder = train.new(dataset="/nowhere.jsonl")
    for _ in range(2):
        with pytest.raises(BackpropagateError):
            attempt(folder, own_home)
    assert [body.attempt for body in bodies(folder) if body.type == "run.started"] == [1, 2]


def test_bf16_learns_as_fp32_does(train, own_home, monkeypatch):
    exact = losses(train(steps=6))
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    assert losses(train(steps=6)) == pytest.approx(exact, abs=0.02)


def test_a_failure_in_this_process_is_logged_in_the_folder_of_the_run(train, own_home):
    folder = train.new(dataset="/nowhere.jsonl")
    with pytest.raises(BackpropagateError):
        attempt(folder, own_home)
    log = folder.log_path.read_text()
    assert "attempt 1 failed" in log
    assert "Traceback" in log


def test_a_short_run_left_to_itself_writes_no_checkpoint(train):
    assert "checkpoint.saved" not in types(train(steps=12, checkpoint_every="auto"))


def test_the_trainer_reports_to_nobody_that_it_runs(train, monkeypatch):
    sent = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(base_trainer, "send_telemetry", lambda **what: sent.append(what))
    train(steps=1)
    assert sent == []
