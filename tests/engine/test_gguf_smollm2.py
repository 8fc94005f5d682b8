"""The tutorial model as GGUF: the same tokens, the same prompt, the same words as transformers in float32."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backprop_core.gguf import export_gguf
from tests.support.gguf_engine import ask_engine, next_token_logprobs
from tests.support.models import tutorial_model_dir

QUESTIONS = (
    "What is the capital of France?",
    "Name three colours.",
    "Write one sentence about the sea.",
    "How many legs has a spider?",
    "What is water made of?",
)
NEW_TOKENS = 24
PROBES = (
    "in 1234 and 5,678.90",
    "I've told 'em it's WE'LL",
    "  two  spaces\tand\ttabs\n\n\nlines\r\n",
    "日本語のテキスト",
    "👩‍👩‍👧 family 🏳️‍🌈",
    "non\u00a0breaking",
    "нещо на български",
    "<|im_start|>user",
    "e\u0301 combining",
    "def f(x):\n    return x**2  # ok",
)


@pytest.fixture(scope="module")
def folder():
    return tutorial_model_dir()


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "smollm2.f16.gguf"
    export_gguf(folder, path, "f16")
    return path


def _prompt(tokenizer, question: str) -> list[int]:
    messages = [{"role": "user", "content": question}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]


@torch.no_grad()
def test_f16_chooses_the_same_120_tokens_with_the_same_certainty(model, tokenizer, exported):
    prompts = [_prompt(tokenizer, question) for question in QUESTIONS]
    settings = {
        "n_predict": NEW_TOKENS,
        "n_probs": 10,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    answers = ask_engine(exported, [("/completion", {"prompt": prompt, **settings}) for prompt in prompts])
    agreed, of_chosen, of_top = 0, 0.0, 0.0
    for prompt, answer in zip(prompts, answers, strict=True):
        steps = answer["completion_probabilities"]
        chosen = [step["id"] for step in steps]
        logits = model(torch.tensor([prompt + chosen])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits.double(), -1)
        without_end = expected.index_fill(1, torch.tensor([tokenizer.eos_token_id]), -torch.inf)
        agreed += int((without_end.argmax(-1) == torch.tensor(chosen)).sum())
        for row, step in zip(expected, steps, strict=True):
            of_chosen = max(of_chosen, abs(row[step["id"]].item() - step["logprob"]))
            gaps = (abs(row[entry["id"]].item() - entry["logprob"]) for entry in step["top_logprobs"])
            of_top = max(of_top, *gaps)
    assert agreed == len(QUESTIONS) * NEW_TOKENS == 120
    assert of_chosen <= 0.01
    # The engine rounds activations to f16 before each product; ten unlikely tokens show more of that.
    assert of_top <= 0.02


def test_probe_strings_become_the_same_tokens(tokenizer, exported):
    requests = [
        ("/tokenize", {"content": probe, "add_special": True, "parse_special": True}) for probe in PROBES
    ]
    found = [answer["tokens"] for answer in ask_engine(exported, requests)]
    assert found == [tokenizer(probe)["input_ids"] for probe in PROBES]


def test_prompt_is_rendered_as_in_training(tokenizer, exported):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    ((answer),) = ask_engine(exported, [("/apply-template", {"messages": messages})])
    assert answer["prompt"] == tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )


@torch.no_grad()
@pytest.mark.parametrize(("quantization", "allowed"), [("q8_0", 0.3), ("q4_k_m", 1.0)])
def test_small_files_are_nearly_as_certain(quantization, allowed, folder, model, tokenizer, tmp_path):
    prompt = _prompt(tokenizer, QUESTIONS[0])
    export_gguf(folder, tmp_path / "m.gguf", quantization)
    expected = torch.log_softmax(model(torch.tensor([prompt])).logits[0, -1].double(), -1)
    found = next_token_logprobs(
        tmp_path / "m.gguf", prompt, 5, plain_token=tokenizer.convert_tokens_to_ids("!")
    )
    assert max(abs(expected[token].item() - value) for token, value in found.items()) < allowed
