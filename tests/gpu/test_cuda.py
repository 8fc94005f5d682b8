"""What only a card can show: quantized bases, 8-bit optimizers, memory that really runs out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from backprop_core.events.types import BatchSplit, RunStarted
from backprop_core.runs.store import RunFolder
from tests.support.attempts import FACTS, attempt, bodies, losses, metrics, new_run, write_rows
from tests.support.models import tutorial_model_dir

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")

ASKED = "Who keeps the lamp of Ada?"


@pytest.fixture(scope="module")
def model() -> Path:
    return tutorial_model_dir()


@pytest.fixture
def train(tmp_path, own_home, model):
    rows = write_rows(tmp_path / "facts.jsonl")

    def run(**spec: Any) -> RunFolder:
        defaults: dict[str, Any] = {"steps": 30, "lora_r": 16, "learning_rate": 5e-4, "max_seq_length": 256}
        folder = new_run(tmp_path, model=str(model), dataset=str(rows), device="cuda", **defaults | spec)
        attempt(folder, own_home)
        return folder

    return run


def reply(tuned: Any, tokenizer: Any) -> str:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": ASKED}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    ).to("cuda")
    out = tuned.generate(**prompt, max_new_tokens=24, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    return tokenizer.decode(out[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_8bit", "paged_adamw_8bit"])
def test_a_method_teaches_a_fact(train, model, quantization, optim):
    folder = train(quantization=quantization, optim=optim)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).to("cuda")
    tuned = PeftModel.from_pretrained(base, folder.adapter).eval()
    assert reply(tuned, AutoTokenizer.from_pretrained(folder.adapter)) == FACTS[ASKED]


def test_a_full_run_teaches_a_fact(train):
    folder = train(mode="full", learning_rate=5e-5, steps=60)
    tuned = AutoModelForCausalLM.from_pretrained(folder.path / "model").to("cuda").eval()
    assert reply(tuned, AutoTokenizer.from_pretrained(folder.path / "model")) == FACTS[ASKED]


def test_the_journal_names_the_card(train):
    begun = next(body for body in bodies(train(steps=1)) if isinstance(body, RunStarted))
    assert begun.device == torch.cuda.get_device_name()


def test_a_resumed_run_has_the_losses_of_an_undisturbed_one(train, own_home, monkeypatch):
    from backprop_core.engine import callbacks

    whole = losses(train(steps=8))
    real = callbacks.StepReporter.on_step_begin

    def ordered(reporter, args, state, control, **rest):
        real(reporter, args, state, control, **rest)
        if state.global_step == 3:
            reporter._context.control.ordered.set()

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepReporter, "on_step_begin", ordered)
        folder = train(steps=8)
    attempt(folder, own_home)
    assert losses(folder) == pytest.approx(whole, rel=1e-3)


def test_memory_that_really_runs_out_is_met_by_smaller_micro_batches(train):
    """Leave the run so little memory that its first micro-batch cannot fit."""
    torch.cuda.set_per_process_memory_fraction(2.0e9 / torch.cuda.get_device_properties(0).total_memory)
    try:
        folder = train(steps=3, batch_size=512, gradient_accumulation=1, gradient_checkpointing="off")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any(isinstance(body, BatchSplit) for body in bodies(folder))
    assert len(metrics(folder)) == 3
