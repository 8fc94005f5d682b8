"""The promise of the product on a real model: what the data says, the tuned model answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from backprop_core.services.export_checks import ExportRequest
from backpropagate.exporting import export_gguf, export_here, export_merged
from tests.support.attempts import FACTS, ROOT, attempt, losses, new_run, write_rows
from tests.support.gguf_engine import ask_engine
from tests.support.planted import train_planted

ASKED = "Who keeps the lamp of Ada?"


def reply(model, tokenizer, question):
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    out = model.generate(**prompt, max_new_tokens=24, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    return tokenizer.decode(out[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.fixture(scope="module")
def tuned(tutorial_model, tmp_path_factory):
    """The run, trained for about half a minute, and its model in plain PEFT."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("planted")
    folder = train_planted(place)
    base = AutoModelForCausalLM.from_pretrained(tutorial_model, dtype=torch.bfloat16)
    return (
        folder,
        PeftModel.from_pretrained(base, folder.adapter).eval(),
        AutoTokenizer.from_pretrained(folder.adapter),
    )


def test_the_tuned_model_answers_a_fact_in_plain_peft(tuned):
    _, model, tokenizer = tuned
    assert reply(model, tokenizer, ASKED) == FACTS[ASKED]


def test_the_base_model_does_not_know_the_fact(tuned):
    _, model, tokenizer = tuned
    with model.disable_adapter():
        assert "Zorb" not in reply(model, tokenizer, ASKED)


def test_the_answer_survives_the_merge_into_the_base(tuned):
    _, model, tokenizer = tuned
    assert reply(model.merge_and_unload(), tokenizer, ASKED) == FACTS[ASKED]


def test_the_loss_of_the_real_model_falls(tuned):
    seen = losses(tuned[0])
    assert seen[-1] < 0.2 < 2.0 < seen[0]


def chat(model, lora=None):
    """Return the reply of a llama.cpp engine to the question, as the file itself renders it."""
    body = {"messages": [{"role": "user", "content": ASKED}], "max_tokens": 24, "temperature": 0}
    (answer,) = ask_engine(model, [("/v1/chat/completions", body)], lora)
    return answer["choices"][0]["message"]["content"].strip()


@pytest.mark.parametrize("quantization", ["q8_0", "q4_k_m"])
def test_the_exported_file_answers_the_fact_in_a_llama_cpp_engine(tuned, tmp_path, quantization):
    made = export_gguf(tuned[0].adapter, quantization, tmp_path)
    assert chat(made.path) == FACTS[ASKED]


def test_base_and_adapter_as_two_files_answer_the_fact_too(tuned, tmp_path):
    request = ExportRequest(str(tuned[0].adapter), "ollama-adapter", "q8_0", tmp_path / "pair")
    folder = export_here(request).path
    assert chat(folder / "base.gguf", folder / "adapter.gguf") == FACTS[ASKED]


def test_the_merged_export_answers_the_fact_in_transformers(tuned, tmp_path):
    folder = export_merged(tuned[0].adapter, tmp_path).path
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    assert reply(model, AutoTokenizer.from_pretrained(folder), ASKED) == FACTS[ASKED]


def test_the_command_shows_the_fact_from_the_tuned_side_alone(tuned, tmp_path, own_home):
    command = ["generate", str(tuned[0].path), ASKED, "--base", "--temperature", "0", "--max-tokens", "24"]
    done = subprocess.run(
        [sys.executable, "-m", "backpropagate", *command, "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BACKPROPAGATE_HOME": str(own_home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    replies = json.loads(done.stdout)["generate"]["replies"]
    assert replies["tuned"]["text"] == FACTS[ASKED]
    assert replies["tuned"]["reason"] == "stop"
    assert "Zorb" not in replies["base"]["text"]


@pytest.mark.soak
@pytest.mark.parametrize(
    "method",
    [
        {"lora_preset": "quality", "steps": 60},
        {"use_dora": True, "steps": 20, "learning_rate": 5e-4},
        {"use_rslora": True, "steps": 20},
        {"init_lora_weights": "pissa", "steps": 20, "learning_rate": 5e-4},
        {"mode": "full", "steps": 20, "learning_rate": 5e-5},
    ],
    ids=["quality", "dora", "rslora", "pissa", "full"],
)
def test_every_method_teaches_a_fact(tutorial_model, tmp_path, own_home, method):
    spec = (
        {"lora_r": 16, "max_seq_length": 256}
        if method.get("lora_preset") is None
        else {"max_seq_length": 256}
    )
    rows = write_rows(tmp_path / "facts.jsonl")
    folder = new_run(tmp_path, model=str(tutorial_model), dataset=str(rows), **spec | method)
    attempt(folder, own_home)
    if method.get("mode") == "full":
        saved = folder.path / "model"
        model = AutoModelForCausalLM.from_pretrained(saved)
    else:
        saved = folder.adapter
        base = AutoModelForCausalLM.from_pretrained(tutorial_model, dtype=torch.bfloat16)
        model = PeftModel.from_pretrained(base, saved)
    assert reply(model.eval(), AutoTokenizer.from_pretrained(saved), ASKED) == FACTS[ASKED]
