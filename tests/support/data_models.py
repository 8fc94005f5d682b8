"""A base model folder that holds a tokenizer and a template and nothing else, for tests of data."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.datasets.families import SMOLLM2_SHAPE, small_tokenizer

_SPECIAL = ("<|im_start|>", "<|im_end|>")


def write_data_model(folder: Path) -> Path:
    """Write a model folder with the shape of SmolLM2's template and return it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    small_tokenizer(_SPECIAL).save(str(folder / "tokenizer.json"))
    named = {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>", "chat_template": SMOLLM2_SHAPE}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder


def chat_lines(count: int, question: str = "Question") -> str:
    """Return so many short rows as JSON lines."""
    rows = (
        {
            "messages": [
                {"role": "user", "content": f"{question} {n}?"},
                {"role": "assistant", "content": f"Yes {n}."},
            ]
        }
        for n in range(count)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)
