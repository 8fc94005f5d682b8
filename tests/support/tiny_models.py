"""Random models of every exported architecture, 256 wide, built by transformers in under a second each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.checkpoints import VOCABULARY, byte_tokenizer

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0 + number / 100 for number in range(24)],
    "long_factor": [1.0 + number / 4 for number in range(24)],
    "original_max_position_embeddings": 512,
}
# Engines choose long or short factors by the size of their context, transformers by the length of the text;
# both take the short ones up to 512.
_STRETCHED = {
    "rope_parameters": _LONGROPE,
    "original_max_position_embeddings": 512,
    "max_position_embeddings": 1024,
}
_DELTA_NET = {
    "head_dim": 64,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
        "mrope_section": [3, 3, 2],
    },
}

# Name: transformers' model class, its configuration class, and what differs from the common shape.
ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", {"rope_parameters": _LLAMA3_ROPE}),
    "llama-tied": ("LlamaForCausalLM", "LlamaConfig", {"tie_word_embeddings": True}),
    "mistral": ("MistralForCausalLM", "MistralConfig", {"sliding_window": None, "head_dim": 64}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {}),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {"head_dim": 64}),
    "smollm3": ("SmolLM3ForCausalLM", "SmolLM3Config", {}),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", _STRETCHED),
    "qwen35": ("Qwen3_5ForCausalLM", "Qwen3_5TextConfig", _DELTA_NET),
}


def build_model(name: str) -> Any:
    """Return a random float32 model whose logits have a standard deviation near one."""
    import torch
    import transformers

    model_class, config_class, changes = ARCHITECTURES[name]
    config = getattr(transformers, config_class)(**{**_COMMON, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, model_class)(config).float().eval()
        for key, weight in model.named_parameters():
            _randomize(key, weight.data)
    return model


def write_model(folder: Path, name: str) -> Any:
    """Write a random model with the byte tokenizer to `folder` and return it."""
    model = build_model(name)
    model.save_pretrained(folder)
    write_byte_tokenizer(folder)
    return model


def write_byte_tokenizer(folder: Path) -> None:
    """Write the byte tokenizer as a transformers tokenizer folder has it."""
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer()))
    roles = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(roles))


def _randomize(key: str, weight: Any) -> None:
    """Give norms, biases and decays values that a wrong export would show."""
    import torch

    if key.endswith("norm.weight"):
        weight.add_(torch.randn_like(weight) * 0.1)
    elif key.endswith((".bias", "dt_bias", "A_log")):
        weight.copy_(torch.randn_like(weight) * 0.3)
    else:
        weight.copy_(torch.randn_like(weight) * 0.08)
