"""The promise of the product on a real model: what the data says, the tuned model answers."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.attempts import FACTS, attempt, losses, new_run

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
    from tests.support.attempts import write_rows

    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("planted")
    folder = new_run(
        place,
        model=str(tutorial_model),
        dataset=str(write_rows(place / "facts.jsonl")),
        steps=24,
        lora_r=16,
        learning_rate=5e-4,
        max_seq_length=256,
    )
    attempt(folder, place / "home")
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
