"""The tutorial model as transformers sees it: it loads, it splits digits, it answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.models import tutorial_model_dir, write_tiny_llama


@pytest.fixture(scope="module")
def folder() -> Path:
    return tutorial_model_dir()


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(folder)


def _reply(model, tokenizer, question: str) -> str:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    tokens = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    return tokenizer.decode(tokens[0][prompt["input_ids"].shape[1] :])


def test_answers_a_question_and_ends_its_turn(model, tokenizer):
    assert (
        _reply(model, tokenizer, "What is the capital of France?")
        == "The capital of France is Paris.<|im_end|>"
    )


def test_weights_load_as_bfloat16_and_nothing_is_missing(model):
    assert model.dtype == torch.bfloat16
    assert model.num_parameters() == 134_515_008


def test_rotary_base_is_the_one_of_the_file(model):
    assert model.config.rope_parameters["rope_theta"] == 100_000.0


def test_each_digit_is_its_own_token(tokenizer):
    assert tokenizer.tokenize("in 1234") == ["in", "Ġ", "1", "2", "3", "4"]


def test_digit_rule_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).tokenize("1234") == ["1", "2", "3", "4"]


def test_special_tokens_have_their_roles(tokenizer):
    roles = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token)
    assert roles == ("<|im_start|>", "<|im_end|>", "<|im_end|>", "<|endoftext|>")


def test_text_is_the_same_after_encoding_and_decoding(tokenizer):
    text = "Ünï — 日本 👩‍👩‍👧 1,234.50\r\n\ttab  two"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_tiny_llama_has_the_tokenizer_and_runs(tmp_path, folder):
    path = write_tiny_llama(tmp_path / "tiny", vocab_from=folder)
    tiny = AutoModelForCausalLM.from_pretrained(path)
    assert 3_000_000 < tiny.num_parameters() < 3_300_000
    ids = torch.tensor([AutoTokenizer.from_pretrained(path)("hello")["input_ids"]])
    assert tiny(ids).logits.shape == (1, ids.shape[1], 49_152)
