"""Models for tests, prepared once per machine and never inside the repository."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from backprop_core.hub.records import no_progress
from backprop_core.hub.tutorial import fetch_tutorial_model

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def test_cache_dir() -> Path:
    """Return the folder that test models share: BACKPROPAGATE_TEST_CACHE or a folder in the user's cache."""
    named = os.environ.get("BACKPROPAGATE_TEST_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "backpropagate-tests"


test_cache_dir.__test__ = False  # type: ignore[attr-defined]


def tutorial_model_dir() -> Path:
    """Return the folder of SmolLM2-135M-Instruct, fetched at the first call on a machine."""
    return fetch_tutorial_model(test_cache_dir(), no_progress)


def write_tiny_llama(path: Path, *, vocab_from: Path | None = None, seed: int = 0) -> Path:
    """Write a random Llama of 3.2 M parameters with a real tokenizer to `path` and return it.

    Hidden size 64, 2 layers, 4 query and 2 key heads, tied embeddings, bfloat16.

    Args:
        path: the folder to make.
        vocab_from: a model folder whose tokenizer is taken; the tutorial model's when not given.
        seed: of the weights; the same seed gives the same bytes.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        dtype="bfloat16",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(path)
    source = vocab_from or tutorial_model_dir()
    for name in TOKENIZER_FILES:
        shutil.copy2(source / name, path / name)
    return path
