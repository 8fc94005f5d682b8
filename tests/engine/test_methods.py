"""Each way to learn: it trains, saves, loads again, and goes on from what was saved."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from backprop_core.engine.devices import Device
from backprop_core.engine.loading import held
from backprop_core.errors import BackpropagateError
from backprop_core.events.types import RunCompleted, TrainingPlanned
from tests.support.attempts import attempt, bodies, losses

IDS = torch.tensor([[1, 50, 60, 70, 80, 90]])


def planned(folder):
    return next(body for body in bodies(folder) if isinstance(body, TrainingPlanned))


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


def base_of(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


@pytest.mark.parametrize(
    "method",
    [
        {"use_dora": True},
        {"use_rslora": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa", "use_rslora": True},
        {"target_modules": "q_proj,v_proj"},
        {"optim": "adamw_torch", "weight_decay": 0.1, "lr_scheduler": "linear"},
    ],
    ids="-".join,
)
def test_a_method_learns_and_its_adapter_loads_in_plain_peft(train, tiny_model, method):
    folder = train(steps=8, **method)
    seen = losses(folder)
    assert seen[-1] < seen[0] - 0.05
    plain = logits(base_of(tiny_model))
    tuned = PeftModel.from_pretrained(base_of(tiny_model), folder.adapter)
    assert not torch.allclose(logits(tuned), plain, atol=1e-3)


def test_a_pissa_adapter_is_a_plain_one_of_twice_the_rank_for_the_untouched_base(train, tiny_model, tmp_path):
    folder = train(steps=4, init_lora_weights="pissa")
    config = json.loads((folder.adapter / "adapter_config.json").read_text())
    assert (config["init_lora_weights"], config["r"]) == (True, 8)
    assert not (folder.path / "adapter-beginning").exists()


def test_a_pissa_run_without_learning_leaves_the_model_as_it_was(train, tiny_model):
    folder = train(steps=1, init_lora_weights="pissa", learning_rate=1e-12)
    tuned = PeftModel.from_pretrained(base_of(tiny_model), folder.adapter)
    assert torch.allclose(logits(tuned), logits(base_of(tiny_model)), atol=1e-3)


def test_full_mode_trains_every_weight_and_writes_a_model(train, tiny_model):
    folder = train(steps=6, mode="full", learning_rate=1e-3)
    seen = losses(folder)
    assert seen[-1] < seen[0] - 0.3
    tuned = AutoModelForCausalLM.from_pretrained(folder.path / "model")
    assert planned(folder).trainable_parameters == sum(value.numel() for value in tuned.parameters())
    assert planned(folder).lora_r == 0
    assert tuned.dtype == torch.bfloat16
    assert tuned.config.use_cache
    assert next(body for body in bodies(folder) if isinstance(body, RunCompleted)).artifact == "model"
    assert (folder.path / "model" / "run_id").is_file()


def test_full_mode_learns_at_a_tenth_of_the_rate_unless_told(train):
    assert train.new(mode="full", learning_rate=None).spec().learning_rate == 2e-5
    assert train.new(mode="full", learning_rate=1e-3).spec().learning_rate == 1e-3


def test_a_full_run_goes_on_bit_for_bit(train, own_home, monkeypatch):
    from backprop_core.engine import callbacks

    spec = {"mode": "full", "steps": 4, "learning_rate": 1e-3}
    folder = train.new(**spec)
    real = callbacks.StepReporter.on_step_begin

    def ordered(reporter, args, state, control, **rest):
        real(reporter, args, state, control, **rest)
        if state.global_step == 1:
            reporter._context.control.ordered.set()

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepReporter, "on_step_begin", ordered)
        attempt(folder, own_home)
    attempt(folder, own_home)
    assert losses(folder) == losses(train(**spec))


def test_a_run_goes_on_from_an_earlier_adapter(train):
    first = train(steps=8, lora_r=4)
    second = train(steps=2, from_adapter=str(first.adapter), lora_r=256)
    assert planned(second).lora_r == 4
    assert losses(second)[0] < losses(first)[0] - 0.1
    config = json.loads((second.adapter / "adapter_config.json").read_text())
    assert config["r"] == 4


def test_a_pickled_adapter_is_never_opened(train, tmp_path):
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(BackpropagateError) as caught:
        train(from_adapter=str(folder))
    assert caught.value.code == "INPUT_ADAPTER_INVALID"


def test_a_pickle_under_the_name_of_safetensors_is_refused(train, tmp_path):
    first = train(steps=1)
    (first.adapter / "adapter_model.safetensors").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(BackpropagateError) as caught:
        train(from_adapter=str(first.adapter))
    assert caught.value.code == "INPUT_ADAPTER_INVALID"


def test_an_adapter_of_another_shape_is_refused(train):
    first = train(steps=1)
    path = first.adapter / "adapter_model.safetensors"
    save_file({name: value[..., :1].contiguous() for name, value in load_file(path).items()}, path)
    with pytest.raises(BackpropagateError) as caught:
        train(from_adapter=str(first.adapter))
    assert caught.value.code == "INPUT_ADAPTER_INVALID"
    assert "does not fit" in caught.value.message


def test_weights_in_4bit_are_nf4_with_double_quantization():
    config = held(Device(torch.device("cpu"), "cpu", "bf16"), "4bit")["quantization_config"]
    assert (config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == ("nf4", True)
    assert config.bnb_4bit_compute_dtype == torch.bfloat16


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_quantized_weights_are_refused_on_a_processor(train, quantization):
    with pytest.raises(BackpropagateError) as caught:
        train(quantization=quantization)
    assert caught.value.code == "INPUT_VALIDATION_FAILED"
    assert "CUDA" in caught.value.message


@pytest.fixture
def in_fp16(monkeypatch):
    """Compute in the precision of a card without bf16."""
    from backprop_core.engine import run_sft

    device = Device(torch.device("cpu"), "played card", "fp16")
    monkeypatch.setattr(run_sft, "select_device", lambda _: device)


def test_fp16_learns_as_fp32_does(train, in_fp16, monkeypatch):
    scaled = losses(train(steps=6))
    monkeypatch.undo()
    assert scaled == pytest.approx(losses(train(steps=6)), abs=0.02)


def test_a_gradient_that_overflows_costs_its_step_and_lowers_the_scale(train, in_fp16, monkeypatch):
    from backprop_core.engine import trainer
    from tests.support.attempts import metrics

    monkeypatch.setattr(trainer, "_FP16_SCALE", 2.0**40)
    folder = train(steps=40)
    steps = metrics(folder)
    dropped = [step.grad_norm is None for step in steps]
    assert dropped[0] and not dropped[-1]
    assert dropped == sorted(dropped, reverse=True)
    assert bodies(folder)[-1].type == "run.completed"
