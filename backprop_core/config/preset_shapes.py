"""The part of each preset's `config.json` that decides its size, so that a plan needs no download.

Facts published with the models; a test holds them against the parameter counts of the presets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


def _decoder(
    model_type: str,
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    kv_heads: int,
    vocabulary: int,
    *,
    is_tied: bool,
) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "tie_word_embeddings": is_tied,
    }


PRESET_CONFIGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "qwen2.5-7b": _decoder("qwen2", 3584, 18944, 28, 28, 4, 152064, is_tied=False),
    "qwen2.5-3b": _decoder("qwen2", 2048, 11008, 36, 16, 2, 151936, is_tied=True),
    "phi-4-mini-3.8b": _decoder("phi3", 3072, 8192, 32, 24, 8, 200064, is_tied=True),
    "smollm3-3b": _decoder("smollm3", 2048, 11008, 36, 16, 4, 128256, is_tied=True),
    "llama-3.2-3b": _decoder("llama", 3072, 8192, 28, 24, 8, 128256, is_tied=True),
    "llama-3.2-1b": _decoder("llama", 2048, 8192, 16, 32, 8, 128256, is_tied=True),
    "mistral-7b": _decoder("mistral", 4096, 14336, 32, 32, 8, 32768, is_tied=False),
    "smollm2-135m": _decoder("llama", 576, 1536, 30, 9, 3, 49152, is_tied=True),
}
